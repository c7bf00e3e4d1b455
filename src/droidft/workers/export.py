"""An export from request to folder: checked before anything is written, written out of sight, certified, published.

    plan = plan_export(request, home)      # everything that can be refused is refused here
    done = export(plan, home, report)      # a folder in `exports/`, with its certificate

A failed certificate leaves the folder too, marked as failed; whoever shows an export says so first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from droidft.adapters.exports import certificate as certificates
from droidft.adapters.exports.card import Subject, write_card
from droidft.adapters.exports.certificate import Certificate
from droidft.adapters.exports.forms import Form
from droidft.adapters.exports.licence import licence_of
from droidft.adapters.exports.merged import write_merged
from droidft.adapters.exports.ollama import write_ollama
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.usage import Way, ways
from droidft.home import Home
from droidft.models import catalog, hub
from droidft.models.gguf.lora import write_gguf_lora
from droidft.models.gguf.write import write_gguf
from droidft.runs.record import record_of
from droidft.support.durable import folder_hidden_until_whole, storage_errors
from droidft.support.progress import Progress
from droidft.support.shapes import shape
from droidft.support.words import count
from droidft.workers.certify import certify, measure
from droidft.workers.export_plan import Plan, checkpoint, pairs, plan_export, refuse_taken

__all__ = ["Exported", "Plan", "export", "plan_export"]


@shape
class Exported:
    """A finished export."""

    name: str
    path: Path
    form: Form
    bytes: int
    seconds: float
    certificate: Certificate
    usage: list[Way]
    """What to type in other programs."""
    warnings: list[str]


def export(plan: Plan, home: Home, report: Progress, should_stop: Callable[[], bool] = lambda: False) -> Exported:
    """Write, certify and publish what `plan_export` allowed.

    `report` may raise to call it off; nothing is left then.

    Raises:
        StorageError: the disk.
        ConfigError: an export of that name was made meanwhile, or is being made.
        InvalidData, DataError, ConfigError: the rows for the certificate cannot be used.
    """
    began = time.perf_counter()
    with _reserved(plan) as part:
        measured = measure(plan, home, report, should_stop)
        with storage_errors(plan.target):
            warnings = [*plan.warnings, *_write(plan, part, report)]
            made = certify(plan, part, measured, home, report, should_stop)
            certificates.write(part, made)
            write_card(part, made, _subject(plan, home, part))
            size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    file = _gguf(plan.target)
    base, dora = hub.repo_id_of(plan.into) or str(plan.into), plan.info.fine_tune_type == "dora"
    return Exported(
        plan.target.name,
        plan.target,
        plan.request.form,
        size,
        time.perf_counter() - began,
        made,
        list(ways(plan.request.form.value, base, str(plan.target), file, dora=dora, rank=plan.info.rank)),
        warnings,
    )


@contextmanager
def _reserved(plan: Plan) -> Iterator[Path]:
    """The hidden folder that becomes the export; for as long as it is there, no other may have its name."""
    with ExitStack() as stack:
        with storage_errors(plan.target):
            part = stack.enter_context(folder_hidden_until_whole(plan.target, replace=plan.request.replace))
        refuse_taken(plan.target, replace=plan.request.replace, part=part)
        yield part


def _subject(plan: Plan, home: Home, part: Path) -> Subject:
    """What the model card is about."""
    return Subject(
        title=plan.target.name,
        base=hub.repo_id_of(plan.into) or plan.request.into or plan.request.model or plan.info.base or "",
        licence=licence_of(plan.into),
        adapter=plan.info,
        record=record_of(home, plan.info),
        file=_gguf(part),
    )


def _gguf(folder: Path) -> str | None:
    """Name of the GGUF file of an export, if it has one."""
    return next((each.name for each in sorted(folder.glob("*.gguf"))), None)


def _write(plan: Plan, part: Path, report: Progress) -> list[str]:
    """Fill `part`; sentences about what came out otherwise than asked."""
    from droidft.engine.model.foundation import foundation
    from droidft.engine.model.merging import write_mlx

    match plan.request.form:
        case Form.PEFT:
            model_type = catalog.load_config(plan.into)["model_type"]
            write_peft(
                pairs(plan),
                part,
                base=plan.base_name,
                model_type=model_type,
                dropout=plan.info.dropout,
                tied=foundation(plan.into).tied,
            )
        case Form.MERGED:
            write_merged(checkpoint(plan), part, report)
        case Form.MLX:
            bits = int(plan.request.type) if plan.request.type else None
            write_mlx(plan.into, plan.info, part, bits=bits, progress=report)
        case Form.GGUF | Form.OLLAMA:
            return _write_gguf(plan, part, report)
        case Form.GGUF_ADAPTER:
            made = write_gguf_lora(plan.into, pairs(plan), part / f"{plan.target.name}.gguf", progress=report)
            return list(made.warnings)
    return []


def _write_gguf(plan: Plan, part: Path, report: Progress) -> list[str]:
    from droidft.engine.model.loading import load_tokenizer

    # What ends answers here ends them there too: a template's end of turn may be declared nowhere.
    ends = sorted(load_tokenizer(plan.into).eos_token_ids)
    kind, name, more = plan.request.chosen_type, plan.target.name, []
    assert kind is not None
    if plan.request.form is Form.OLLAMA:
        variables = plan.info.record.get("chat_template_kwargs")
        folder = write_ollama(
            plan.into,
            checkpoint(plan),
            part,
            kind=kind,
            name=name,
            ends=ends,
            variables=variables if isinstance(variables, dict) else None,
            progress=report,
        )
        made, more = folder.gguf, folder.warnings
    else:
        made = write_gguf(plan.into, checkpoint(plan), part / f"{name}.gguf", kind=kind, ends=ends, progress=report)
    if made.fallen:
        larger = f"{count(len(made.fallen), 'tensor')} have rows that {kind} cannot pack, and a larger type"
        more = [*more, f"{larger} (such as {made.fallen[0]})"]
    return list(dict.fromkeys([*made.warnings, *more]))
