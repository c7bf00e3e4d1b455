"""The certificate of an export: base, base + adapter and the exported files read the same unseen rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from droidft.adapters.exports import certificate as certificates
from droidft.adapters.exports import readers
from droidft.adapters.exports.certificate import Certificate, Circumstances, Hashes
from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.evidence import Evidence, collect
from droidft.adapters.exports.forms import Form
from droidft.adapters.exports.readers.reading import Reading, Request, Subject
from droidft.adapters.folder import AdapterInfo, read_adapter
from droidft.adapters.imports.gguf_lora import GgufLora
from droidft.adapters.imports.peft import PeftFolder
from droidft.home import Home
from droidft.models import catalog
from droidft.models.fingerprint import fingerprint
from droidft.models.gguf.write import write_gguf
from droidft.runs.record import record_of
from droidft.support.durable import hidden_folder, sha256
from droidft.support.progress import Progress
from droidft.workers.export_plan import Plan, run_config

if TYPE_CHECKING:
    from droidft.engine.evaluation.unseen import Draw, Unseen


_GGUF_TYPES = {"F32": "F32", "BF16": "BF16"}
"""Types that a GGUF file keeps as they are stored."""


class _About(TypedDict):
    """What rows of a run and those of a file are chosen by."""

    context_length: int | None
    data_hash: str | None
    most: int


@dataclass(frozen=True, eq=False)
class Measured:
    """What base and adapter make of the rows, before anything is written."""

    request: Request
    base: Reading
    trained: Reading
    data_sha256: str
    notes: tuple[str, ...]


def measure(plan: Plan, home: Home, report: Progress, should_stop: Callable[[], bool]) -> Measured:
    """Read base and base + adapter; the model is freed before the export is written.

    Raises:
        InvalidData, DataError, DownloadError: they cannot be read.
    """
    from droidft.engine.evaluation import certify
    from droidft.engine.model import adapter_weights, loading

    report("loading the base model", 0, 0)
    model, config = loading.load_model(plan.base)
    tokenizer = loading.load_tokenizer(plan.base)

    def draw(prompts: list[list[int]]) -> list[list[int]]:
        adapter_weights.apply(model, plan.info)
        try:
            return certify.greedy(model, tokenizer, prompts, max_tokens=certify.ANSWER_TOKENS)
        finally:
            adapter_weights.remove(model)

    unseen = _rows(plan, home, tokenizer, catalog.context_length(config), draw)
    request = certify.request_of(unseen.tokens, tokenizer, vocabulary=certify.logits_of(model))

    def reading(what: str) -> Reading:
        return certify.read(
            model,
            tokenizer,
            request,
            should_stop=should_stop,
            progress=lambda done, total: report(f"reading {what}", done, total),
        )

    base = reading("the base model")
    adapter_weights.apply(model, plan.info)
    return Measured(request, base, reading("base and adapter"), unseen.tokens.sha256(), unseen.notes)


def _rows(plan: Plan, home: Home, tokenizer: Any, longest: int | None, draw: Draw) -> Unseen:
    from droidft.engine.evaluation import unseen

    run, record = run_config(plan.info, home), record_of(home, plan.info)
    about: _About = {
        "context_length": longest,
        "data_hash": record.data_hash if record is not None else None,
        "most": plan.request.row_count,
    }
    if plan.request.rows is not None:
        return unseen.rows_of_file(plan.request.rows, tokenizer, config=run, draw=draw, **about)
    assert run is not None, "plan_export refuses an export without rows"
    return unseen.rows_of_run(run, tokenizer, draw=draw, **about)


def certify(
    plan: Plan, part: Path, measured: Measured, home: Home, report: Progress, should_stop: Callable[[], bool]
) -> Certificate:
    """Read the exported files in `part` back, and judge."""
    from droidft.engine.machine import host

    files = certificates.hash_files(part)
    evidence = _evidence(plan, part, measured, report, should_stop)
    about = Circumstances(
        form=plan.request.form.value,
        quantisation=plan.request.quantised,
        hashes=Hashes(
            base=catalog.fingerprint(plan.base, cache=home.cache / "fingerprints.json")["weights_sha256"],
            adapter=sha256(plan.info.file),
            data=measured.data_sha256,
            files=files,
        ),
        versions=host.versions(),
        command=plan.request.command,
        notes=[*measured.notes, *(evidence.exported.notes if evidence.exported is not None else ())],
    )
    return certificates.judge(evidence, about)


def _evidence(
    plan: Plan, part: Path, measured: Measured, report: Progress, should_stop: Callable[[], bool]
) -> Evidence:
    def told(what: str, done: int, total: int) -> None:
        report(f"reading the export with {what}", done, total)

    with hidden_folder(part.parent / "-reading") as scratch:  # no export can have this name
        return collect(
            plan.request.form.value,
            _subjects(plan, part, scratch, report),
            measured.request,
            base=measured.base,
            trained=measured.trained,
            read_back=lambda: _read_by_ours(plan, part, scratch, measured.request, report, should_stop),
            scratch=scratch,
            should_stop=should_stop,
            progress=told,
        )


def _subjects(plan: Plan, part: Path, scratch: Path, report: Progress) -> list[Subject]:
    """What the reader reads: the base, where it reads the same weights as ours, and the export."""
    same = plan.into == plan.base
    match plan.request.form:
        case Form.PEFT:
            base = [Subject(model=plan.into)] if same else []
            return [*base, Subject(model=plan.into, adapter=part)]
        case Form.MERGED | Form.MLX:
            base = [Subject(model=plan.into)] if same else []
            return [*base, Subject(model=part)]
        case Form.GGUF | Form.OLLAMA:
            return [Subject(model=_gguf(part), tokenizer=plan.into)]
        case Form.GGUF_ADAPTER:
            whole = scratch / "base.gguf"
            if readers.choose(plan.request.form.value) is not None:
                # Any file of the base will do to see what the adapter adds to it.
                made = Checkpoint(plan.into, [])
                kind = _GGUF_TYPES.get(made.stored[made.names[0]].dtype, "F16")
                write_gguf(plan.into, made, whole, kind=kind, progress=report)
            base = [Subject(model=whole)] if same else []
            return [*base, Subject(model=whole, adapter=_gguf(part))]


def _gguf(part: Path) -> Path:
    """The GGUF file of an export that has one."""
    (file,) = part.glob("*.gguf")
    return file


def _taken_back(plan: Plan, part: Path, folder: Path) -> AdapterInfo:
    """The exported adapter as an import makes it ours again."""
    from droidft.engine.model.foundation import foundation

    source = PeftFolder(part) if plan.request.form is Form.PEFT else GgufLora(_gguf(part))
    source.on(foundation(plan.into), fingerprint(plan.into))
    folder.mkdir()
    source.write(folder)
    return read_adapter(folder)


def _read_by_ours(
    plan: Plan, part: Path, scratch: Path, request: Request, report: Progress, should_stop: Callable[[], bool]
) -> Reading:
    from droidft.engine.evaluation import certify
    from droidft.engine.model import adapter_weights, loading
    from droidft.models.gguf.convert import import_gguf

    folder = plan.into
    match plan.request.form:
        case Form.MERGED | Form.MLX:
            folder = part
        case Form.GGUF | Form.OLLAMA:
            folder = scratch / "model"
            import_gguf(_gguf(part), folder, dtype="float32", progress=report)
    model, _ = loading.load_model(folder)
    if plan.request.form.alone:
        adapter_weights.apply(model, _taken_back(plan, part, scratch / "adapter"))
    return certify.read(
        model,
        loading.load_tokenizer(folder),
        request,
        should_stop=should_stop,
        progress=lambda done, total: report("reading the export", done, total),
    )
