"""The process that answers what the Setup page asks: models, targets, data, adapters, the machine.

    python -m droidft.workers.inspect

Started by the server (`server/asking/inspect.py`), which never imports mlx itself. Nothing here loads the weights of
a model. The protocol is that of `channel`; every request names the home folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.config import LoraRouters, Optimizer, TrainingConfig
from droidft.errors import AdapterError, ConfigError, DownloadError, DroidError, ModelError, NotFound
from droidft.home import Home
from droidft.support.channel import Call, Handler, serve
from droidft.support.stamps import Stamp, stamps
from droidft.workers.accept import refuse_unacceptable

if TYPE_CHECKING:
    from droidft.adapters.exports.forms import ExportRequest, Form
    from droidft.adapters.folder import AdapterEntry
    from droidft.data.report import CheckReport
    from droidft.engine.model.describe import PresetDescription, Shape
    from droidft.experiments.findings.results import Analysis
    from droidft.experiments.runs.folder import Experiment
    from droidft.models.catalog import ModelEntry
    from droidft.support.progress import Progress

FITS = 0.8
"""Share of the memory that is free up to which an estimate fits."""


def main() -> None:
    """Answer requests until the server has ended."""
    serve(HANDLERS)


def warm(call: Call) -> None:
    """Import what answers about models need, before somebody waits for it."""
    from droidft.engine.machine import device

    device.prepare(_home(call).cache)
    for name in ("engine.model.describe", "engine.model.loading", "data.check"):
        import_module(f"droidft.{name}")


def models(call: Call) -> list[ModelEntry]:
    """Models of the home folder, of the hub's cache, and the embedded one, first of all."""
    from droidft.models.catalog import choices

    return choices(_home(call).models)


def targets(call: Call) -> dict[str, Any]:
    """A model's shape, and what each preset would train of it."""
    from droidft.engine.machine import device, host

    home, params = _home(call), call.params
    machine = device.prepare(home.cache)
    from droidft.engine.model import describe
    from droidft.models import catalog

    if params["num_layers"] == 0:
        raise ConfigError("num_layers is 0", hint="use -1 for all blocks, or 1 and more", field="lora_num_layers")
    path = catalog.find_config(params["model"], models_dir=home.models, offline=params["offline"])
    shape = _shape(path, stamps(path / "config.json", *catalog.weight_files(path)))
    described = shape.describe(
        rank=params["rank"],
        batch_size=params["batch_size"],
        seq_length=params["seq_length"],
        num_layers=params["num_layers"],
        routers=LoraRouters(params["routers"]),
        keys=params["keys"],
        grad_checkpoint=params["grad_checkpoint"],
        optimizer=Optimizer(params["optimizer"]),
        dora=params["dora"],
    )
    available = host.memory().available
    if machine.kind is not device.DeviceKind.CPU:
        available = (
            min(machine.memory_bytes, available) if machine.kind is device.DeviceKind.METAL else machine.memory_bytes
        )
    return {
        "model": params["model"],
        "path": str(path),
        "hidden_size": shape.hidden_size,
        "cache_bytes_per_token": shape.estimator.cache_per_token,
        "context_length": catalog.context_length(shape.config),
        "code": catalog.code_files(path),
        "warnings": list(shape.warnings),
        "memory_available": available,
        "learning_rate": describe.suggest_rate(described.model_type, shape.hidden_size),
        "model_type": described.model_type,
        "blocks": described.blocks,
        "parameters": described.parameters,
        "quantization": described.quantization,
        "rank": described.rank,
        "batch_size": described.batch_size,
        "seq_length": described.seq_length,
        "presets": [_preset(preset, available) for preset in described.presets],
    }


def verdict(needed: int, available: int) -> str:
    """`fits` up to 80 % of the memory that is free now, `tight` up to all of it, else `does not fit`.

    The estimate leaves out the allocator's cache and what the system adds, hence the margin.
    """
    if needed <= FITS * available:
        return "fits"
    return "tight" if needed <= available else "does not fit"


def _preset(preset: PresetDescription, available: int) -> dict[str, Any]:
    """What a preset adapts and takes, judged against the memory that is available."""
    memory = preset.memory
    return {
        "preset": preset.preset,
        "keys": [
            {"key": key.key, "kind": key.kind, "modules": key.modules, "trainable": key.trainable}
            for key in preset.keys
        ],
        "trainable": preset.trainable,
        "share": preset.share,
        "adapter_bytes": memory.adapter if memory else 0,
        "notes": preset.notes,
        "memory": asdict(memory) | {"total": memory.total} if memory else None,
        "verdict": verdict(memory.total, available) if memory else None,
        "problem": preset.problem,
    }


def data_key(call: Call) -> Any:
    """What a check of this data depends on besides its settings: the files as they are, and the tokenizer.

    None where that is unknown, as for a hub data set that is not on this machine yet.
    """
    from droidft.data.sources import fetch_dataset, locate
    from droidft.errors import DataError
    from droidft.models import catalog

    config = _config(call)
    try:
        files = [path for part in locate(config, lambda ref: fetch_dataset(ref, offline=True)) for path in part]
        if call.params["with_model"]:
            folder = catalog.find_config(config.model_path, models_dir=_home(call).models, offline=True)
            files += _tokenizer_files(folder)
        return stamps(*files)
    except (DataError, DownloadError, NotFound, ModelError, OSError):
        return None


def check_data(call: Call) -> dict[str, Any]:
    """Structure, then tokens where there is a model, then how long the run would be.

    The structure is reported before tokens are counted. Without the model on this machine that is all.
    """
    from droidft.data.check import check_data as check

    config, report = _config(call), call.report
    first: list[CheckReport] = []

    def notice(structure: CheckReport) -> None:
        first.append(structure)
        call.emit({"check": _checked(structure)})
        report("loading the tokenizer", 0, 0)

    tokenizer = partial(_tokenizer, config, _home(call)) if call.params["with_model"] else None
    try:
        return _checked(check(config, tokenizer, progress=report, notice=notice, rewards=_home(call).rewards))
    except (NotFound, ModelError, DownloadError) as error:
        if not first:
            raise
        return _checked(first[0]) | {"token_problem": error.as_dict()}


def _checked(report: CheckReport) -> dict[str, Any]:
    # A check knows no widths: they are chosen for the rows that a run draws.
    plan = report.plan.model_dump(exclude={"type", "widths", "padding"}) if report.plan is not None else None
    return {**vars(report), "ok": not report.fault_count, "token_problem": None, "plan": plan}


def view_rows(call: Call) -> dict[str, Any]:
    """Some rows, token by token."""
    from droidft.data.view import view_rows as view
    from droidft.support.faults import InvalidData

    config = _config(call)
    tokenizer, limit = _tokenizer(config, _home(call))
    try:
        rows = view(config, tokenizer, rows=call.params["rows"], context_length=limit)
    except InvalidData as error:
        return {"rows": [], "faults": error.faults}
    return {"rows": rows, "faults": []}


def accept(call: Call) -> list[str]:
    """Warnings about a new run. Raises what keeps it from being accepted."""
    return refuse_unacceptable(_config(call), _home(call))


def adapters(call: Call) -> list[AdapterEntry]:
    """Every adapter folder."""
    from droidft.adapters.folder import entry, list_adapters

    folder = _home(call).adapters
    while True:
        with suppress(FileNotFoundError):  # one was removed just then
            return [entry(each.path, each.info, each.problem) for each in list_adapters(folder)]


def adapter(call: Call) -> dict[str, Any]:
    """One adapter with all its warnings, alone or on a model; what keeps it from loading is one of them."""
    from droidft.adapters.diagnostics import AdapterWarning, diagnose
    from droidft.adapters.folder import CONFIG, entry, parse_which, read_adapter
    from droidft.engine.model.adapter_weights import judge

    home, ref, which = _home(call), call.params["model"], call.params["which"]
    folder = home.adapter(call.params["name"])
    try:
        info = read_adapter(folder, parse_which(which))
    except AdapterError as error:
        code = "unusable" if (folder / CONFIG).is_file() else "config_missing"
        warnings = [AdapterWarning(code, _whole(error))]
        return {"entry": entry(folder, None, error.message), "which": which, "warnings": warnings}
    try:
        warnings = (
            judge(info, ref, models_dir=home.models, cache_dir=home.cache, offline=True) if ref else diagnose(info)
        )
    except AdapterError as error:
        warnings = [AdapterWarning("does_not_fit", _whole(error)), *diagnose(info)]
    return {"entry": entry(folder, info), "which": which, "warnings": warnings}


def adapter_file(call: Call) -> str:
    """Name of the weights in the folder of an adapter that loads: they are given away when it is downloaded."""
    from droidft.adapters.folder import parse_which, read_adapter

    return read_adapter(_home(call).adapter(call.params["name"]), parse_which(call.params["which"])).file.name


def export_plan(call: Call) -> dict[str, Any]:
    """What an export would make, or why it is refused and which forms would not be. Nothing is fetched."""
    from droidft.adapters.exports.forms import ExportRequest
    from droidft.workers.export_plan import facts, plan_export

    home, request = _home(call), ExportRequest.model_validate(call.params["request"])
    try:
        plan = plan_export(request, home, offline=True)
    except DroidError as error:
        instead = [] if error.field in ("name", "rows") else _other_forms(request, home)
        return {"plan": None, "refusal": error.as_dict(), "instead": instead}
    return {"plan": facts(plan, _gflops()), "refusal": None, "instead": []}


def push_plan(call: Call) -> dict[str, Any]:
    """What pushing an export would do, or why it is refused. The hub is asked, nothing is sent."""
    from droidft.workers.push import look

    return look(call)


def _other_forms(request: ExportRequest, home: Home) -> list[Form]:
    """The forms in which the same adapter could leave, each of them checked."""
    from droidft.adapters.exports.forms import Form
    from droidft.workers.export_plan import plan_export

    able = []
    for form in Form:
        changes = {"form": form, "type": None, "name": None, "replace": True}
        with suppress(DroidError):
            plan_export(request.model_copy(update=changes), home, offline=True)
            able.append(form)
    return able


@lru_cache(maxsize=1)
def _gflops() -> float:
    from droidft.engine.machine import device

    return device.measure_gflops()


def pull(call: Call) -> str:
    """Fetch a hub model, or the embedded one. Says first whether there was anything of it before."""
    from droidft.models import catalog, embedded, hub

    home = _home(call)
    ref: str = call.params["model"]
    if ref == embedded.NAME:
        embedded.install(home.models, cache_dir=home.cache, progress=_in_bytes(call, 4))
        return ref
    call.emit({"existed": hub.is_known(ref)})
    _examine(call, catalog.pull(ref, progress=call.report))
    return ref


def forget(call: Call) -> None:
    """Remove what a download that was called off has left of a model that was not here before."""
    from droidft.models import hub

    hub.forget(call.params["model"])


def import_model(call: Call) -> dict[str, Any]:
    """Make a model folder (by a link) or a GGUF file (converted) known under a name; with what is lost on the way."""
    from droidft.models import catalog
    from droidft.models.folder import gguf_file
    from droidft.models.gguf.convert import import_gguf

    source, target = Path(call.params["path"]), _home(call).model(call.params["name"])
    if target.exists() or target.is_symlink():
        hint = "choose another name"
        raise ConfigError(f"there is already a model named {target.name!r}", hint=hint, field="name")
    if gguf_file(source):
        imported = import_gguf(source, target, progress=_in_bytes(call, 2))
        return {"model": target.name, "warnings": list(imported.warnings)}
    notes = _examine(call, catalog.usable(source.absolute()))
    catalog.import_folder(source, target)
    return {"model": target.name, "warnings": list(notes)}


def _examine(call: Call, folder: Path) -> tuple[str, ...]:
    """What is to be known of a model; one that cannot be loaded is refused before anybody counts on it."""
    from droidft.engine.machine import device

    device.prepare(_home(call).cache)
    from droidft.engine.model.loading import examine

    return examine(folder)


def experiment(call: Call) -> Analysis:
    """The results of an experiment so far."""
    from droidft.experiments.findings.analysis import analyse

    return analyse(_experiment(call))


def experiment_report(call: Call) -> str:
    """The same as one file: `html`, `json` or `md`."""
    from droidft.experiments.findings.analysis import analyse, measurements
    from droidft.experiments.report.page import render

    experiment = _experiment(call)
    return render(analyse(experiment), call.params["form"], measured=measurements(experiment))


def system(call: Call) -> dict[str, Any]:
    """All of `droidft doctor`, speed included."""
    from droidft.engine.machine.doctor import examine

    return examine(_home(call).root).as_dict()


def storage(call: Call) -> dict[str, Any]:
    """Memory and disk as they are now."""
    from droidft.engine.machine import doctor, host

    root = _home(call).root
    memory = host.memory()
    return {
        "findings": list(doctor.storage(root)),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "disk_free": host.disk_free(root),
    }


HANDLERS: Mapping[str, Handler] = {
    handler.__name__: handler
    for handler in (
        warm, models, targets, data_key, check_data, accept, view_rows, adapters, adapter, adapter_file, export_plan,
        push_plan,
        pull, forget, import_model, experiment, experiment_report, system, storage,
    )
}  # fmt: skip


def _home(call: Call) -> Home:
    return Home(Path(call.params["home"]))


def _experiment(call: Call) -> Experiment:
    from droidft.experiments.runs import folder

    return folder.find(_home(call), call.params["experiment"])


def _whole(error: AdapterError) -> str:
    """An error in one sentence, its hint included."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _config(call: Call) -> TrainingConfig:
    return TrainingConfig.model_validate(call.params["config"])


def _in_bytes(call: Call, bytes_per_weight: int) -> Progress:
    """`call.report` in bytes: an import counts weights."""

    def report(what: str, done: int, total: int) -> None:
        factor = bytes_per_weight if what == "importing" else 1
        call.report(what, done * factor, total * factor)

    return report


@lru_cache(maxsize=8)
def _shape(path: Path, stamp: tuple[Stamp, ...]) -> Shape:
    """The model's shape; `stamp` makes sure that a changed folder is looked at again."""
    from droidft.engine.model.describe import open_shape

    del stamp
    return open_shape(path)


def _tokenizer(config: TrainingConfig, home: Home) -> tuple[Any, int | None]:
    from droidft.engine.machine import device

    device.prepare(home.cache)
    from droidft.models import catalog

    folder = catalog.find_config(config.model_path, models_dir=home.models, offline=config.offline)
    return _load_tokenizer(folder, stamps(*_tokenizer_files(folder)))


def _tokenizer_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".model", ".jinja", ".tiktoken", ".txt")
    )


@lru_cache(maxsize=4)
def _load_tokenizer(folder: Path, stamp: tuple[Stamp, ...]) -> tuple[Any, int | None]:
    from droidft.engine.model import loading
    from droidft.models import catalog

    del stamp
    return loading.load_tokenizer(folder), catalog.context_length(catalog.load_config(folder))


if __name__ == "__main__":
    main()
