"""Which exports may be pushed: their certificate passed, their files are those it was made for, and no file that we
wrote names a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from droidft.adapters.exports import card, certificate
from droidft.errors import UploadError
from droidft.models import upload
from droidft.models.upload import Destination, Pushed, Repository
from droidft.support import stored
from droidft.support.progress import Progress

WRITTEN = (certificate.FILE, card.FILE, "adapter_config.json", "config.json", "Modelfile")
"""Files whose text is ours; those of a tokenizer may hold anything."""
MOST_BYTES = 1 << 24


def destination(folder: Path, repository: Repository, *, places: Iterable[Path] = ()) -> Destination:
    """What pushing the export in `folder` would do. `places` are further folders that no file may name.

    Raises:
        DamagedFile: there is no certificate, or none that can be read.
        UploadError: its certificate failed; a file is missing; a file names a folder of this machine.
        NotFound: the folder is not there.
    """
    judged = certificate.read(folder)
    if not judged.passed:
        hint = "an export that is not what was trained is kept here, and not pushed"
        raise UploadError(f"{folder.name} did not pass its check: {judged.sentence}", hint=hint)
    found = upload.destination(folder, repository)
    if missing := sorted(judged.hashes.files.keys() - found.files.keys()):
        raise UploadError(f"{missing[0]} is missing, which the certificate is about", hint="export again")
    _refuse_places(folder, [Path.home(), *places])
    return found


def push(found: Destination, progress: Progress | None = None) -> Pushed:
    """Send it, if its files are still those of the certificate. The user has agreed to `Destination.question`.

    Raises as `upload.push`.
    """
    hashes = certificate.read(found.folder).hashes.files
    return upload.push(
        found, hashes={name: digest for name, digest in hashes.items() if name != card.FILE}, progress=progress
    )


def _refuse_places(folder: Path, places: Iterable[Path]) -> None:
    named = [f"{place}/".encode() for place in places if len(place.parts) > 1]
    for name in WRITTEN:
        if not (folder / name).is_file():
            continue
        text = stored.content(folder / name, kind=UploadError, most=MOST_BYTES)
        if place := next((place for place in named if place in text), None):
            hint = "export again, and give models and data by their names"
            raise UploadError(f"{name} names a folder of this machine, {place.decode()}", hint=hint)
