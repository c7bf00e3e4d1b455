"""Paths that clients send: data files and model folders, resolved and confined to the folders that the user allows.

A path is allowed if it lies, with links followed, below the home folder (except for the server's own secrets) or
below one of `Options.roots`. Names and hub ids are not paths; they are checked by pattern. A model's name in the home
folder's `models/` is allowed wherever it leads: whoever imported that model could read it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.adapters.exports.forms import ExportRequest
from droidft.config import TrainingConfig
from droidft.config.training import NO_ADAPTER
from droidft.data.readers import SUFFIXES
from droidft.data.sources import HUB
from droidft.errors import AdapterError, ConfigError, ForbiddenPath, NotFound
from droidft.experiments.plan.written import Plan
from droidft.home import NAME, REFERENCES
from droidft.models import embedded
from droidft.models.hub import REPO_ID

if TYPE_CHECKING:
    from droidft.server.options import Options

LONGEST = 4096
HUB_DATA = re.compile(rf"{HUB}{REPO_ID.pattern}(?:/[\w.=-]{{1,128}}){{0,8}}", re.ASCII)
ADAPTER = re.compile(rf"({NAME.pattern})(?:@(?:latest|best|[0-9]{{1,9}}))?", re.ASCII)
SECRETS = ("server",)
"""Folders of the home folder that hold no data and no models."""


def model_ref(options: Options, text: str, *, field: str = "model_path") -> str:
    """`text` as the engine may take it: a model's name, a hub id, or the resolved path of an allowed folder.

    Raises:
        NotFound: a path where nothing is.
        ConfigError: not a name, a hub id or an absolute path; or not a folder.
        ForbiddenPath: it leads outside the allowed folders.
    """
    _refuse_odd(text, field)
    home = options.home
    if NAME.fullmatch(text) or Path(text).parent == home.models:
        name = Path(text).name
        # The engine also looks for a folder of that name in its working folder: the home folder's has to win.
        return text if not _is_shadowed(text) else str(home.models / name)
    if REPO_ID.fullmatch(text) and not _is_shadowed(text):
        return text
    if not _is_absolute(text):
        raise ConfigError(
            f"{field} {text!r} is not a name, a hub id or a full path",
            hint="choose a model from the list, write a hub id such as org/name, or a full path, starting with /",
            field=field,
        )
    folder = confined(options, text, field=field)
    with _readable(text, field):
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise ConfigError(f"{text} is not a model folder", hint="import a GGUF file first", field=field)
        _refuse_links_out(options, folder, text, field, lambda name: True)
    return str(folder)


def data_ref(options: Options, text: str, *, field: str = "train_data_path") -> str:
    """`text` as the engine may take it: `hub:org/name…`, or the resolved path of an allowed file or folder.

    A bare name is one of the home folder's `data/`.

    Raises:
        NotFound: nothing is there.
        ConfigError: neither a reference nor a path, or it is a pipe or a device.
        ForbiddenPath: it, or a data file in the folder, leads outside the allowed folders.
    """
    _refuse_odd(text, field)
    if text.startswith(HUB):
        if not HUB_DATA.fullmatch(text):
            hint = "write hub:org/name or hub:org/name/file.jsonl"
            raise ConfigError(f"{text!r} is not a hub data set", hint=hint, field=field)
        return text
    if not _is_absolute(text) and (os.path.basename(text) != text or text.startswith(".")):
        hint = "upload the file, or give its full path, starting with /"
        raise ConfigError(f"{text!r} is not a full path", hint=hint, field=field)
    path = confined(options, text if _is_absolute(text) else str(options.home.data / text), field=field)
    with _readable(text, field):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            _refuse_links_out(options, path, text, field, is_data_name)
        elif not stat.S_ISREG(mode):
            hint = "write its content to a file first"
            raise ConfigError(f"{text} is a pipe or a device, not a file", hint=hint, field=field)
    return str(path)


def import_ref(options: Options, text: str) -> Path:
    """The model folder or GGUF file that is to be imported, resolved. Raises as `model_ref`."""
    _refuse_odd(text, "path")
    if not _is_absolute(text):
        raise ConfigError(f"{text!r} is not a full path", hint="give a full path, starting with /", field="path")
    if text.endswith(".gguf"):
        file = confined(options, text, field="path")
        with _readable(text, "path"):
            if not stat.S_ISREG(file.stat().st_mode):
                raise ConfigError(f"{text} is not a file", hint="give a GGUF file or a model folder", field="path")
        return file
    return Path(model_ref(options, text))


def pull_ref(text: str) -> str:
    """`text`, if it may be fetched: a hub id, or the name of the embedded model.

    Raises:
        ConfigError: it is neither.
    """
    if text == embedded.NAME or REPO_ID.fullmatch(text):
        return text
    raise ConfigError(f"{text[:80]!r} is not a hub id", hint="a hub id looks like org/name", field="model")


def adapter_ref(options: Options, text: str, *, field: str = "adapter") -> str:
    """`text`, if it is the name of an adapter of the home folder, possibly with `@best`, `@latest` or `@200`.

    Raises:
        AdapterError: it has another form.
        NotFound: there is no adapter of that name.
    """
    named = ADAPTER.fullmatch(text)
    if named is None:
        raise AdapterError(
            f"{text[:80]!r} is not an adapter",
            hint="write its name, or name@best, name@latest, name@200",
            field=field,
        )
    if not (options.home.adapters / named[1]).is_dir():
        raise NotFound(f"there is no adapter {named[1]!r}", hint="choose one from the list", field=field)
    return text


def start_ref(options: Options, text: str, *, field: str) -> str:
    """`text` as the engine may take it: as `adapter_ref`, or the resolved path of an adapter's folder or file.

    Raises:
        AdapterError, NotFound: as `adapter_ref`; nothing is at the path.
        ForbiddenPath: it, or a file in the folder, leads outside the allowed folders.
    """
    _refuse_odd(text, field)
    if not _is_absolute(text):
        return adapter_ref(options, text, field=field)
    where, at, which = (text, "", "") if os.path.lexists(text) else text.partition("@")
    path = confined(options, where, field=field)
    with _readable(where, field):
        if stat.S_ISDIR(path.stat().st_mode):
            _refuse_links_out(options, path, where, field, lambda name: True)
        elif not stat.S_ISREG(path.stat().st_mode):
            hint = "give an adapter's folder, or a file that `droidft adapters import` takes"
            raise ConfigError(f"{where} is a pipe or a device, not a file", hint=hint, field=field)
    return f"{path}{at}{which}"


def confine(options: Options, config: TrainingConfig) -> TrainingConfig:
    """`config` with every reference in it checked, and paths resolved.

    Raises:
        DroidError: as the functions for single references; `field` names the setting.
    """
    changes = {
        "model_path": model_ref(options, config.model_path),
        "train_data_path": data_ref(options, config.train_data_path),
    }
    if config.val_data_path is not None:
        changes["val_data_path"] = data_ref(options, config.val_data_path, field="val_data_path")
    if config.init_adapter is not None:
        changes["init_adapter"] = start_ref(options, config.init_adapter, field="init_adapter")
    if config.reference_adapter not in (None, NO_ADAPTER):
        changes["reference_adapter"] = start_ref(options, config.reference_adapter, field="reference_adapter")
    return config.model_copy(update=changes)


def confine_export(options: Options, request: ExportRequest) -> ExportRequest:
    """`request` with every reference in it checked, and paths resolved.

    Raises:
        DroidError: as the functions for single references; `field` names the parameter.
    """
    changes: dict[str, str] = {"adapter": adapter_ref(options, request.adapter)}
    for name in ("model", "into"):
        if (ref := getattr(request, name)) is not None:
            changes[name] = model_ref(options, ref, field=name)
    if request.rows is not None:
        changes["rows"] = data_ref(options, request.rows, field="rows")
    return request.model_copy(update=changes)


def confine_plan(options: Options, plan: Plan) -> Plan:
    """`plan` with every reference in it checked, and paths resolved. Raises as `confine`."""
    settings, measurement = dict(plan.settings), plan.measurement
    first, *_ = plan.all_arms()
    checked = confine(options, plan.config(first, seed=plan.seeds[0]))
    for name in REFERENCES:
        if settings.get(name) is not None:
            settings[name] = getattr(checked, name)
    for arm in plan.all_arms().values():
        for name in ("init_adapter", "reference_adapter"):
            if (start := arm.settings.get(name)) is not None and (name, start) != ("reference_adapter", NO_ADAPTER):
                start_ref(options, str(start), field=name)
    changes: dict[str, Any] = {
        name: data_ref(options, value, field=name)
        for name in ("test_data_path", "general_data_path")
        if (value := getattr(measurement, name)) is not None
    }
    if measurement.harness is not None and (include := measurement.harness.include) is not None:
        path = str(confined(options, include, field="include"))
        changes["harness"] = measurement.harness.model_copy(update={"include": path})
    return plan.model_copy(update={"settings": settings, "measurement": measurement.model_copy(update=changes)})


def confined(options: Options, text: str, *, field: str | None = None) -> Path:
    """The place that the absolute path `text` leads to, links followed; it need not exist.

    Raises:
        ForbiddenPath: it lies outside the allowed folders.
    """
    _refuse_odd(text, field)
    path = Path(os.path.realpath(os.path.expanduser(text)))
    if not is_allowed(options, path):
        raise _outside(text, field)
    return path


def is_allowed(options: Options, resolved: Path) -> bool:
    """Whether a path without links in it lies below an allowed folder."""
    home = Path(os.path.realpath(options.home.root))
    if any(resolved.is_relative_to(home / name) for name in SECRETS):
        return False
    return any(resolved.is_relative_to(os.path.realpath(root)) for root in (home, *options.roots))


def data_folders(options: Options) -> list[Path]:
    """Where data may lie: what clients may name, what the hub's library keeps, and what this package brings."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return [options.home.root, *options.roots, Path(HF_HUB_CACHE), Path(__file__).parents[1]]


def secret_folders(options: Options) -> list[Path]:
    """Folders below those that hold no data."""
    return [options.home.root / name for name in SECRETS]


def is_data_name(name: str) -> bool:
    """Whether the reader of data takes a file of this name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _refuse_odd(text: str, field: str | None) -> None:
    """Refuse odd paths: empty, overlong, with control characters or half characters, in another user's home."""
    if not text or len(text) > LONGEST:
        raise ConfigError(f"a path has 1 to {LONGEST} characters, not {len(text)}", field=field)
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise ConfigError("the path holds a control character or half of one", hint="rename the file", field=field)
    if text.startswith("~") and not text.startswith("~/"):
        raise _outside(text, field)


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "~/")) or os.path.isabs(text)


def _is_shadowed(text: str) -> bool:
    return os.path.lexists(text)


def _refuse_links_out(options: Options, folder: Path, text: str, field: str, matters: Callable[[str], bool]) -> None:
    """Refuse a folder with a file in it that is a link to somewhere outside."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and matters(entry.name):
                where = Path(os.path.realpath(entry.path))
                if not is_allowed(options, where):
                    raise _outside(f"{text}/{entry.name}", field)


@contextmanager
def _readable(text: str, field: str) -> Iterator[None]:
    """Turn the operating system's refusals into errors for the user."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {text}", hint="check the path", field=field) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{text} cannot be read: {reason}", hint="check the path", field=field) from None


def _outside(text: str, field: str | None) -> ForbiddenPath:
    return ForbiddenPath(
        f"{text!r} lies outside the folders that this server may read",
        hint="upload the file, or start the server with `droidft serve --allow FOLDER`",
        field=field,
    )
