"""One file to give to a colleague: an adapter with what is needed to use it and to check that it fits.

A zip with entries as they are, since weights do not shrink; unzipped, it is a folder that mlx-lm reads.

    manifest.json          what this is, which base it needs, size and SHA-256 of every other entry
    adapter_config.json    mlx-lm's, without paths of the machine that it comes from
    adapters.safetensors   the weights that were chosen
    training.json          settings and figures of the run, if they are known
    certificate.json       of an export of these weights, if there is one

Whoever made the file may mean harm: names, kinds, sizes and hashes are held against the manifest first.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from droidft import __version__
from droidft.adapters.folder import BEST, CONFIG, LATEST, AdapterInfo
from droidft.adapters.record import FILE as TRAINING
from droidft.adapters.record import TrainingRecord, without_place
from droidft.errors import AdapterError
from droidft.support import stored
from droidft.support.durable import sha256, storage_errors, sync_file, sync_folder
from droidft.support.progress import Progress
from droidft.support.room import check_room
from droidft.support.words import size

SUFFIX = ".adapter.zip"
MANIFEST, CERTIFICATE = "manifest.json", "certificate.json"
VERSION = 1
ENTRIES = (CONFIG, LATEST, TRAINING, CERTIFICATE)
"""What a pack may hold beside its manifest; the first two it has to."""
MOST_JSON_BYTES = 1 << 24
_CHUNK = 1 << 20
_CONFIG_KEPT = ("fine_tune_type", "use_dora", "num_layers", "lora_layers", "lora_parameters")
_ONE_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that packing the same adapter again gives the same file."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Entry(BaseModel):
    """One file of a pack."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class NeededBase(BaseModel):
    """The model that an adapter was trained on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(max_length=200)] | None = None
    """Hub id, or the name of its folder."""
    config_sha256: Digest | None = None
    weights_sha256: Digest | None = None


class Manifest(BaseModel):
    """What a pack says of itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: Literal["droidft adapter"] = "droidft adapter"
    version: Annotated[int, Field(ge=1)] = VERSION
    made_by: Annotated[str, Field(max_length=200)]
    name: Annotated[str, Field(max_length=200)]
    weights: Literal["latest", "best"] | int
    base: NeededBase
    files: dict[Literal["adapter_config.json", "adapters.safetensors", "training.json", "certificate.json"], Entry]


def pack(
    info: AdapterInfo,
    record: TrainingRecord | None,
    target: Path,
    *,
    certificate: bytes | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the chosen weights of an adapter and what belongs to them to the file `target`, all of it or nothing.

    `certificate` is that of an export of these weights; without one, it is what came with the adapter itself.

    Raises:
        AdapterError: there is such a file already, or the adapter's config is damaged.
        StorageError: it cannot be written.
    """
    if os.path.lexists(target):
        raise AdapterError(f"there is a file {target} already", hint="give another name: -o FILE, or delete it")
    config = _without_places(info)
    small = {CONFIG: json.dumps(config, indent=2).encode()}
    if record is not None:
        small[TRAINING] = record.model_dump_json(indent=1).encode()
    if certificate is None and (kept := info.path / CERTIFICATE).is_file():
        certificate = stored.content(kept, kind=AdapterError, most=MOST_JSON_BYTES)
    if certificate is not None:
        small[CERTIFICATE] = certificate
    files = {name: Entry(bytes=len(content), sha256=_digest(content)) for name, content in small.items()}
    files[LATEST] = Entry(bytes=info.file.stat().st_size, sha256=sha256(info.file))
    manifest = Manifest(
        made_by=f"droidft {__version__}",
        name=info.name,
        weights=info.which,
        base=_base(config),
        files={name: files[name] for name in ENTRIES if name in files},
    )
    with storage_errors(target), _appearing(target) as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(_entry(MANIFEST), manifest.model_dump_json(indent=1))
        for name, content in small.items():
            archive.writestr(_entry(name), content)
        with info.file.open("rb") as source, archive.open(_entry(LATEST), "w", force_zip64=True) as entry:
            for _ in _copied(source, entry, files[LATEST].bytes, f"packing {info.name}", progress):
                pass
    return manifest


class Pack:
    """A packed adapter in a file; its manifest is read, and fits the names and sizes of the entries."""

    def __init__(self, file: Path) -> None:
        """Read the manifest.

        Raises:
            AdapterError: it is no pack, or one that is damaged or was tampered with.
        """
        self.file = file
        with self._opened() as archive:
            self.manifest = _manifest(file, archive)

    @property
    def name(self) -> str:
        """What the adapter was called where it comes from."""
        return self.manifest.name

    def write(self, folder: Path, progress: Progress | None = None) -> None:
        """Write the adapter into an empty `folder`; every byte is held against the manifest.

        Raises:
            AdapterError: an entry is not what the manifest says.
            StorageError: there is no room for it, or it cannot be written.
        """
        files: Mapping[str, Entry] = self.manifest.files  # type: ignore[assignment]
        hint = "free some space, or set DROIDFT_HOME to another disk"
        check_room(sum(entry.bytes for entry in files.values()), folder, what=self.file.name, hint=hint)
        with self._opened() as archive:
            for name, entry in files.items():
                with storage_errors(folder), archive.open(name) as source, (folder / name).open("xb") as target:
                    digest = hashlib.sha256()
                    told = progress if name == LATEST else None
                    for chunk in _copied(source, target, entry.bytes, f"reading {self.file.name}", told):
                        digest.update(chunk)
                if digest.hexdigest() != entry.sha256:
                    raise _tampered(self.file, f"{name} is not what its manifest says (SHA-256)")
        if self.manifest.weights == "best":
            os.symlink(LATEST, folder / BEST)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with (
                stored.reading(self.file, kind=AdapterError),
                stored.opened(self.file) as stream,
                zipfile.ZipFile(stream) as archive,
            ):
                yield archive
        except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error) as error:
            raise _tampered(self.file, f"it cannot be read as a zip file: {error}") from None


def is_pack(path: Path) -> bool:
    """Whether a file may be a packed adapter, judged by how it begins."""
    try:
        with stored.opened(path) as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _manifest(file: Path, archive: zipfile.ZipFile) -> Manifest:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if MANIFEST not in names:
        hint = "`droidft adapters pack NAME` makes one; a folder in it has to be unpacked first"
        raise AdapterError(f"{file.name} is no packed adapter: it has no {MANIFEST}", hint=hint)
    _refuse_entries(file, entries)
    with archive.open(MANIFEST) as stream:
        raw = stream.read(MOST_JSON_BYTES)
    try:
        if isinstance(said := json.loads(raw), dict) and isinstance(number := said.get("version"), int):
            _refuse_newer(file, number, said.get("made_by"))
        manifest = Manifest.model_validate_json(raw)
    except (ValidationError, ValueError, RecursionError) as error:
        fault = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise _tampered(file, f"its {MANIFEST} cannot be used: {fault}") from None
    sizes = {entry.filename: entry.file_size for entry in entries if entry.filename != MANIFEST}
    declared: dict[str, int] = {name: entry.bytes for name, entry in manifest.files.items()}
    if missing := [name for name in (CONFIG, LATEST) if name not in sizes]:
        raise _tampered(file, f"it lacks {missing[0]}")
    if sizes != declared:
        name = min(name for name in {*sizes, *declared} if sizes.get(name) != declared.get(name))
        raise _tampered(file, f"{name} is not as its manifest says (bytes)")
    return manifest


def _refuse_newer(file: Path, number: int, made_by: object) -> None:
    if number > VERSION:
        by = f" by {made_by}" if isinstance(made_by, str) else ""
        hint = "install a newer droidft"
        raise AdapterError(f"{file.name} was packed{by} in format {number}, and {VERSION} is read here", hint=hint)


def _refuse_entries(file: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Only known names, once each, as regular files, uncompressed, and no more of them than the file has bytes."""
    names = [entry.filename for entry in entries]
    if unknown := [name for name in names if name not in (MANIFEST, *ENTRIES)]:
        raise _tampered(file, f"it holds {unknown[0][:100]!r}, which no packed adapter has")
    if len(set(names)) < len(names):
        raise _tampered(file, "it holds a name twice")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _tampered(file, f"{entry.filename} is a link or a device")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise _tampered(file, f"{entry.filename} is compressed or encrypted")
        if entry.filename != LATEST and entry.file_size > MOST_JSON_BYTES:
            raise _tampered(file, f"{entry.filename} has {size(entry.file_size)}")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise _tampered(file, "its entries overlap")


def _tampered(file: Path, why: str) -> AdapterError:
    hint = "ask for the file again; `droidft adapters pack` makes it"
    return AdapterError(f"{file.name} cannot be used as a packed adapter: {why}", hint=hint)


def _without_places(info: AdapterInfo) -> dict[str, Any]:
    """The adapter's config with what is needed to load it, and no path of this machine."""
    config = stored.mapping(info.path / CONFIG, kind=AdapterError)
    kept = {name: config[name] for name in _CONFIG_KEPT if name in config}
    if info.base is not None:
        kept["model"] = without_place(info.base)
    record = dict(info.record)
    if isinstance(base := record.get("base"), dict):
        place = base.get("path")
        record["base"] = base | ({"path": without_place(place)} if isinstance(place, str) else {})
    return kept | ({"droidft": record} if record else {})


def _base(config: Mapping[str, Any]) -> NeededBase:
    base = config.get("droidft", {}).get("base")
    hashes = base if isinstance(base, dict) else {}
    try:
        return NeededBase(
            name=config.get("model"),
            config_sha256=hashes.get("config_sha256"),
            weights_sha256=hashes.get("weights_sha256"),
        )
    except ValidationError:  # others may have written that section
        return NeededBase()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ONE_TIME)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _copied(
    source: IO[bytes], target: IO[bytes], total: int, what: str, progress: Progress | None
) -> Iterator[bytes]:
    """Copy `total` bytes, piece by piece, each given on when it is written."""
    done = 0
    while chunk := source.read(min(_CHUNK, total - done)):
        target.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(what, done, total)
        yield chunk
    if done < total:
        raise AdapterError(f"{what}: the weights end after {done:,} of {total:,} bytes", hint="try again")


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file that is there under its name when it is whole."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
        sync_file(temporary)
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
