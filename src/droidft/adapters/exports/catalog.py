"""The exports of the home folder: found, described, deleted. Nothing but their small files is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from droidft.adapters.exports import certificate as certificates
from droidft.adapters.exports.certificate import Certificate
from droidft.adapters.exports.usage import Way, ways
from droidft.adapters.folder import shown
from droidft.errors import DamagedFile, DroidError, NotFound
from droidft.support import stored
from droidft.support.durable import hidden_folder, storage_errors, sweep_parts
from droidft.support.names import NAME
from droidft.support.shapes import shape

PEFT_CONFIG = "adapter_config.json"


@shape
class ExportEntry:
    """An export in the list; `problem` says why it cannot be used."""

    name: str
    path: str
    """Its folder."""
    bytes: int
    made: float
    """Seconds since the epoch."""
    problem: str
    certificate: Certificate | None
    usage: list[Way]
    """What to type in other programs; empty where the certificate failed."""

    @property
    def usable(self) -> bool:
        """Whether nothing speaks against using it."""
        return not self.problem and self.certificate is not None and not self.certificate.failed


def list_exports(exports: Path) -> list[ExportEntry]:
    """Every export in the folder `exports`, newest first. A damaged one is listed with its problem."""
    try:
        names = [entry.name for entry in os.scandir(exports) if not entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return []
    entries = []
    for name in names:
        with suppress(FileNotFoundError):  # one was removed just then
            entries.append(_entry(exports / name))
    return sorted(entries, key=lambda entry: (-entry.made, entry.name))


def find_export(exports: Path, name: str) -> ExportEntry:
    """One export.

    Raises:
        NotFound: there is none of that name.
    """
    try:
        return _entry(_folder(exports, name))
    except FileNotFoundError:
        raise _missing(name) from None


def delete_export(exports: Path, name: str) -> None:
    """Remove an export. It is out of sight at once, and what a crash leaves of it goes at the next sweep.

    Raises:
        NotFound: there is none of that name.
        StorageError: it cannot be removed.
    """
    folder = _folder(exports, name)
    with storage_errors(folder):
        if folder.is_symlink():
            folder.unlink()
            return
        with hidden_folder(folder) as aside:
            os.rename(folder, aside / folder.name)


def sweep_exports(exports: Path) -> None:
    """Remove what exports that were killed have left half-written; those under way are left alone."""
    with suppress(OSError):  # what cannot be looked at cannot be cleaned, and hinders nobody
        sweep_parts(exports)


def files_of(folder: Path) -> dict[str, Path]:
    """The files of an export by their names in it; links and hidden files are left out."""
    return {path.relative_to(folder).as_posix(): path for path in _files(folder)}


def _entry(folder: Path) -> ExportEntry:
    """What is to be known of one. Raises FileNotFoundError when it is removed meanwhile."""
    made = folder.stat().st_mtime
    certificate, usage, problem = None, list[Way](), ""
    try:
        _refuse_name(folder)
        certificate = certificates.read(folder)
        made = (folder / certificates.FILE).stat().st_mtime
        _refuse_incomplete(folder, certificate)
        if not certificate.failed:
            usage = _usage(folder, certificate)
    except DroidError as error:
        problem = f"{error.message}; {error.hint}" if error.hint else error.message
    return ExportEntry(
        shown(folder), str(folder.parent / shown(folder)), _size(folder), made, problem, certificate, usage
    )


def _refuse_name(folder: Path) -> None:
    if not NAME.fullmatch(folder.name):
        raise DamagedFile(
            f"the folder {shown(folder)!r} has a name that no export can have",
            hint="rename it: 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit",
        )


def _refuse_incomplete(folder: Path, certificate: Certificate) -> None:
    if missing := [name for name in sorted(certificate.hashes.files) if not (folder / name).is_file()]:
        raise DamagedFile(f"{missing[0]} is missing, which the certificate is about", hint="export again")


def _usage(folder: Path, certificate: Certificate) -> list[Way]:
    base, dora, rank = "", False, None
    if certificate.form == "peft":
        config = stored.mapping(folder / PEFT_CONFIG, hint="export again")
        base, dora = str(config.get("base_model_name_or_path", "")), bool(config.get("use_dora"))
        rank = given if isinstance(given := config.get("r"), int) else None
    file = next((name for name in sorted(certificate.hashes.files) if name.endswith(".gguf")), None)
    return list(ways(certificate.form, base, str(folder), file, dora=dora, rank=rank))


def _size(folder: Path) -> int:
    total = 0
    for path in _files(folder):
        with suppress(OSError):  # removed just then
            total += path.stat().st_size
    return total


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file() and not path.is_symlink():
                yield path


def _folder(exports: Path, name: str) -> Path:
    folder = exports / name
    if not NAME.fullmatch(name) or not folder.is_dir():
        raise _missing(name)
    return folder


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no export {name!r}", hint="it may have been deleted")
