"""What of an export may leave this machine, and when: its certificate passed, its files are those it was made
for, and no small file names a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from droidft.adapters.exports import card, certificate
from droidft.adapters.exports.card import Subject
from droidft.adapters.exports.certificate import Certificate
from droidft.adapters.exports.forms import ExportRequest
from droidft.adapters.folder import AdapterInfo
from droidft.adapters.record import without_places
from droidft.errors import DroidError, UploadError
from droidft.models import upload
from droidft.models.upload import Destination, Pushed, Repository
from droidft.support import stored
from droidft.support.durable import sha256
from droidft.support.progress import Progress

VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt")
"""Files that may hold any text there is, and none of ours."""
MOST_BYTES = 1 << 20
"""Of a file that is searched; larger ones are weights."""


class PushRequest(BaseModel):
    """Where an export is to go."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    repo_id: Annotated[str, Field(min_length=1, max_length=200)]
    """The repository, as `org/name`."""
    private: bool = True
    """Make a new repository private, and refuse one that is public."""
    overwrite: bool = False
    """Push to a repository that holds something else, too."""
    revision: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """The branch; `main` if it is not given."""


def standing(folder: Path, request: ExportRequest, info: AdapterInfo) -> bool:
    """Whether `folder` is what `request` asks for, made of the adapter as it is now: then pushing it is enough."""
    try:
        found = certificate.read(folder)
    except DroidError:
        return False
    return not found.failed and found.command == request.command and found.hashes.adapter == sha256(info.file)


def destination(
    folder: Path, repository: Repository, subject: Subject | None = None, *, places: Iterable[Path] = ()
) -> Destination:
    """What pushing the export in `folder` would do. `places` are further folders that no file may name.

    The certificate goes without paths of this machine, and the card, where its `subject` is given, with the
    repository in its code; the files here stay as they are.

    Raises:
        DamagedFile: there is no certificate, or none that can be read.
        UploadError: its certificate failed; a file is missing; a file names a folder of this machine.
        NotFound: the folder is not there.
    """
    judged = pushable(folder)
    shared = _without_places(judged)
    instead = {certificate.FILE: _content(judged)}
    if subject is not None:
        instead[card.FILE] = card.card(shared, replace(subject, repo_id=repository.repo_id)).encode()
    found = upload.destination(folder, repository, instead, caution="" if judged.passed else judged.sentence)
    if missing := sorted(judged.hashes.files.keys() - found.files.keys()):
        raise UploadError(f"{missing[0]} is missing, which the certificate is about", hint="export again")
    _refuse_places(found, [Path.home(), *places])
    return found


def pushable(folder: Path) -> Certificate:
    """The certificate of an export that may leave this machine.

    Raises:
        DamagedFile: there is no certificate, or none that can be read.
        UploadError: it failed.
    """
    judged = certificate.read(folder)
    if judged.failed:
        hint = "an export that is not what was trained is kept here, and not pushed"
        raise UploadError(f"{folder.name} did not pass its check: {judged.sentence}", hint=hint)
    return judged


def certificate_for(exports: Path, adapter: str) -> bytes | None:
    """The newest certificate below `exports` that passed for weights with this SHA-256, without places of here."""
    found = []
    for folder in exports.iterdir():
        with suppress(DroidError, OSError):
            judged = certificate.read(folder)
            if judged.passed and judged.hashes.adapter == adapter:
                found.append(((folder / certificate.FILE).stat().st_mtime_ns, judged))
    newest = max(found, key=lambda each: each[0], default=None)
    return _content(newest[1]) if newest is not None else None


def push(found: Destination, progress: Progress | None = None) -> Pushed:
    """Send it, if its files are still those of the certificate. The user has agreed to `Destination.question`.

    Raises as `upload.push`.
    """
    hashes = certificate.read(found.folder).hashes.files
    return upload.push(
        found, hashes={name: digest for name, digest in hashes.items() if name != card.FILE}, progress=progress
    )


def _content(judged: Certificate) -> bytes:
    return _without_places(judged).model_dump_json(indent=2).encode()


def _without_places(judged: Certificate) -> Certificate:
    texts = {"command": without_places(judged.command), "notes": [without_places(note) for note in judged.notes]}
    return judged.model_copy(update=texts)


def _refuse_places(found: Destination, places: Iterable[Path]) -> None:
    named = [f"{place}/".encode() for place in places if len(place.parts) > 1]
    for name, size in found.files.items():
        if name in VOCABULARIES or size > MOST_BYTES:
            continue
        text = found.instead.get(name)
        if text is None:
            text = stored.content(found.folder / name, kind=UploadError, most=MOST_BYTES)
        if place := next((place for place in named if place in text), None):
            hint = (
                "take it out of the model's own files, or name the model by its name; then export again (--replace)"
            )
            raise UploadError(f"{name} names a folder of this machine, {place.decode()}", hint=hint)
