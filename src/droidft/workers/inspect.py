"""The process that answers what the Setup page asks: models, targets, data, adapters, the machine.

    python -m droidft.workers.inspect

Started by the server (`server/inspect.py`), which never imports mlx itself. Nothing here loads the weights of a
model. The protocol is that of `channel`; every request names the home folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.channel.inner import Call, Handler, serve
from droidft.config import LoraRouters, Optimizer, TrainingConfig
from droidft.errors import AdapterError, ConfigError, DownloadError, ModelError, NotFound
from droidft.home import Home
from droidft.support.stamps import Stamp, stamps
from droidft.workers import inspected

if TYPE_CHECKING:
    from droidft.data.report import CheckReport
    from droidft.engine.model.describe import Shape
    from droidft.experiments.runs.folder import Experiment
    from droidft.support.progress import Progress


def main() -> None:
    """Answer until the server is gone."""
    serve(HANDLERS)


def warm(call: Call) -> None:
    """Import what answers about models need, before somebody waits for it."""
    from droidft.engine.machine import device

    device.prepare(_home(call).cache)
    for name in ("engine.model.describe", "engine.model.loading", "data.check"):
        import_module(f"droidft.{name}")


def models(call: Call) -> list[dict[str, Any]]:
    """Models of the home folder, of the hub's cache, and the embedded one, first of all."""
    from droidft.models import embedded
    from droidft.models.catalog import list_models

    found = [
        {
            "ref": model.name,
            "source": model.source,
            "installed": True,
            "model_type": model.model_type,
            "bytes": model.bytes,
            "quantization": model.quantization,
            "problem": model.problem,
            "note": "",
        }
        for model in list_models(_home(call).models)
    ]
    own = next((model for model in found if model["ref"] == embedded.NAME and model["source"] == "home"), None)
    bundled = own or {
        "ref": embedded.NAME,
        "installed": False,
        "model_type": "llama",
        "bytes": embedded.WEIGHT_BYTES,
        "quantization": "",
        "problem": "",
    }
    size = f"{embedded.WHEEL_BYTES / 1e6:.0f} MB to fetch, {embedded.WEIGHT_BYTES / 1e6:.0f} MB on disk"
    note = f"SmolLM2-135M-Instruct, a small real chat model (135 million parameters, Apache-2.0); {size}"
    return [bundled | {"source": "embedded", "note": note}, *(model for model in found if model is not own)]


def targets(call: Call) -> dict[str, Any]:
    """A model's shape, and what each preset would train of it."""
    from droidft.engine.machine import device, host

    home, params = _home(call), call.params
    found = device.prepare(home.cache)
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
    if found.kind is not device.DeviceKind.CPU:
        available = (
            min(found.memory_bytes, available) if found.kind is device.DeviceKind.METAL else found.memory_bytes
        )
    return {
        "model": params["model"],
        "path": str(path),
        "hidden_size": shape.hidden_size,
        "cache_bytes_per_token": shape.estimator.cache_per_token,
        "context_length": catalog.context_length(shape.config),
        "code": catalog.code_files(path),
        "memory_available": available,
        "learning_rate": asdict(describe.suggest_rate(described.model_type, shape.hidden_size)),
        **inspected.described(described, available),
    }


def data_key(call: Call) -> Any:
    """What a check of this data depends on besides its settings: the files as they are, and the tokenizer.

    None where it is not known, such as a hub data set that is not here yet.
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

    What the structure is like is told before tokens are counted. A model that is not here leaves it at that.
    """
    from droidft.data.check import check_data as check

    config, report = _config(call), call.report
    found: list[CheckReport] = []

    def notice(structure: CheckReport) -> None:
        found.append(structure)
        call.emit({"check": inspected.checked(structure)})
        report("loading the tokenizer", 0, 0)

    tokenizer = partial(_tokenizer, config, _home(call)) if call.params["with_model"] else None
    try:
        return inspected.checked(
            check(config, tokenizer, progress=report, notice=notice, rewards=_home(call).rewards)
        )
    except (NotFound, ModelError, DownloadError) as error:
        if not found:
            raise
        return inspected.checked(found[0]) | {"token_problem": error.as_dict()}


def view_rows(call: Call) -> dict[str, Any]:
    """Some rows, token by token."""
    from droidft.data.view import view_rows as view
    from droidft.support.faults import InvalidData

    config = _config(call)
    tokenizer, limit = _tokenizer(config, _home(call))
    try:
        rows = view(config, tokenizer, rows=call.params["rows"], context_length=limit)
    except InvalidData as error:
        return inspected.sendable({"rows": [], "faults": [asdict(fault) for fault in error.faults]})
    return inspected.sendable({"rows": [asdict(row) for row in rows], "faults": []})


def adapters(call: Call) -> list[dict[str, Any]]:
    """Every adapter folder."""
    from droidft.adapters.folder import list_adapters

    folder = _home(call).adapters
    while True:
        with suppress(FileNotFoundError):  # one was removed just then
            found = [inspected.entry(each.path, each.info, each.problem) for each in list_adapters(folder)]
            return inspected.sendable(found)


def adapter(call: Call) -> dict[str, Any]:
    """One adapter with all that is doubtful about it, alone or on a model; what keeps it from loading is said too."""
    from droidft.adapters.diagnostics import diagnose
    from droidft.adapters.folder import CONFIG, parse_which, read_adapter
    from droidft.engine.model.adapter_weights import judge

    home, ref = _home(call), call.params["model"]
    folder = home.adapter(call.params["name"])
    try:
        info = read_adapter(folder, parse_which(call.params["which"]))
    except AdapterError as error:
        code = "unusable" if (folder / CONFIG).is_file() else "config_missing"
        warnings = [{"code": code, "message": inspected.whole(error)}]
        return inspected.sendable({"entry": inspected.entry(folder, None, error.message), "warnings": warnings})
    try:
        found = (
            judge(info, ref, models_dir=home.models, cache_dir=home.cache, offline=True) if ref else diagnose(info)
        )
        warnings = [asdict(each) for each in found]
    except AdapterError as error:
        warnings = [
            {"code": "does_not_fit", "message": inspected.whole(error)},
            *(asdict(each) for each in diagnose(info)),
        ]
    return inspected.sendable({"entry": inspected.entry(folder, info, ""), "warnings": warnings})


def adapter_files(call: Call) -> dict[str, str]:
    """The files behind an adapter that loads: what is given away when it is downloaded."""
    from droidft.adapters.folder import CONFIG, parse_which, read_adapter

    info = read_adapter(_home(call).adapter(call.params["name"]), parse_which(call.params["which"]))
    return {
        "adapter_config.json": str((info.path / CONFIG).resolve()),
        "adapters.safetensors": str(info.file.resolve()),
    }


def pull(call: Call) -> dict[str, Any]:
    """Fetch a hub model, or the embedded one. Says first whether there was anything of it before."""
    from droidft.models import catalog, embedded, hub

    home, ref = _home(call), call.params["model"]
    if ref == embedded.NAME:
        embedded.install(home.model(ref), cache_dir=home.cache, progress=_in_bytes(call, 4))
        return {"model": ref}
    call.emit({"existed": hub.is_known(ref)})
    catalog.pull(ref, progress=call.report)
    return {"model": ref}


def forget(call: Call) -> None:
    """Remove what a download that was called off has left of a model that was not here before."""
    from droidft.models import hub

    hub.forget(call.params["model"])


def import_model(call: Call) -> dict[str, Any]:
    """Make a model folder (by a link) or a GGUF file (converted) known under a name."""
    from droidft.models import catalog
    from droidft.models.gguf.convert import import_gguf

    source, target = Path(call.params["path"]), _home(call).model(call.params["name"])
    if target.exists() or target.is_symlink():
        hint = "choose another name"
        raise ConfigError(f"there is already a model named {target.name!r}", hint=hint, field="name")
    if source.is_file():
        import_gguf(source, target, progress=_in_bytes(call, 2))
    else:
        catalog.import_folder(source, target)
    return {"model": target.name}


def experiment(call: Call) -> dict[str, Any]:
    """What an experiment has found so far."""
    from droidft.experiments.findings.analysis import analyse

    found = analyse(_experiment(call))
    return inspected.sendable(found.model_dump(mode="json"))


def experiment_report(call: Call) -> str:
    """The same as one file: `html`, `json` or `md`."""
    from droidft.experiments.findings.analysis import analyse, measurements
    from droidft.experiments.report.page import render

    found = _experiment(call)
    return render(analyse(found), call.params["form"], measured=measurements(found))


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
        "findings": [asdict(finding) for finding in doctor.storage(root)],
        "memory_total": memory.total,
        "memory_available": memory.available,
        "disk_free": host.disk_free(root),
    }


HANDLERS: Mapping[str, Handler] = {
    handler.__name__: handler
    for handler in (
        warm, models, targets, data_key, check_data, view_rows, adapters, adapter, adapter_files, pull, forget,
        import_model, experiment, experiment_report, system, storage,
    )
}  # fmt: skip


def _home(call: Call) -> Home:
    return Home(Path(call.params["home"]))


def _experiment(call: Call) -> Experiment:
    from droidft.experiments.runs import folder

    return folder.find(_home(call), call.params["experiment"])


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
