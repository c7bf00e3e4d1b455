"""An export goes to a hub: looked at, agreed to, sent. The terminal calls these; the server asks a process of them:

    python -m droidft.workers.push

It lives for one push, so that one which is called off in the middle of a request to the hub takes nothing along.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from droidft.adapters.exports import pushing
from droidft.adapters.exports.card import Subject
from droidft.adapters.exports.certificate import Certificate
from droidft.adapters.exports.forms import ExportRequest
from droidft.adapters.exports.licence import licence_in, licence_of, metadata
from droidft.adapters.exports.pushing import PushRequest
from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter
from droidft.adapters.record import without_place
from droidft.errors import DroidError, UploadError
from droidft.home import Home
from droidft.models import upload
from droidft.models.hub import REPO_ID, card_metadata
from droidft.models.upload import Destination, Repository
from droidft.runs.record import record_of
from droidft.support.channel import Call, serve
from droidft.support.durable import sha256
from droidft.support.progress import Progress


def main() -> None:
    """Answer requests until the server has ended."""
    serve({"push": push})


def reach(request: PushRequest, progress: Progress | None = None) -> Repository:
    """The repository, if it may be written to. Raises as `upload.reach`."""
    return upload.reach(
        request.repo_id,
        private=request.private,
        revision=request.revision,
        overwrite=request.overwrite,
        progress=progress,
    )


def destination(folder: Path, repository: Repository, home: Home) -> Destination:
    """What pushing the export in `folder` would do. Raises as `pushing.destination`."""
    judged = pushing.pushable(folder)
    return pushing.destination(folder, repository, _subject(folder, judged, home), places=[home.root])


def look(call: Call) -> dict[str, Any]:
    """What a push would do, or why it is refused. Parameters: `home`, `name` of the export, `request`."""
    try:
        found = _looked_at(call)
    except DroidError as error:
        return {"plan": None, "refusal": error.as_dict()}
    there = found.repository
    plan = {
        "repo_id": there.repo_id,
        "user": there.user,
        "exists": there.exists,
        "private": there.private,
        "files": dict(found.files),
        "bytes": found.bytes,
        "removed": list(found.removed),
        "others": list(there.others),
        "question": found.question(),
    }
    return {"plan": plan, "refusal": None}


def push(call: Call) -> dict[str, Any]:
    """Send what was agreed to. Parameters as for `look`, and `agreed`, the question that was answered with yes.

    Events report progress.

    Raises:
        UploadError: another question would be asked now; or as `upload.push`.
    """
    found = _looked_at(call)
    if found.question() != call.params["agreed"]:
        hint = "look at what would be done now, and agree to that"
        raise UploadError(f"the export or {found.repository.repo_id} was changed since you were asked", hint=hint)
    return asdict(pushing.push(found, call.report))


def _looked_at(call: Call) -> Destination:
    home, request = Home(Path(call.params["home"])), PushRequest.model_validate(call.params["request"])
    folder = home.export(call.params["name"])
    pushing.pushable(folder)  # before the hub hears of it
    call.report("asking the hub", 0, 0)
    return destination(folder, reach(request, call.report), home)


def _subject(folder: Path, judged: Certificate, home: Home) -> Subject | None:
    """What the model card is about; None where the adapter is gone or is another one by now.

    Then the card goes as it was written with the export.
    """
    request = ExportRequest.of_command(judged.command)
    info = _adapter(request, judged, home) if request is not None else None
    if request is None or info is None:
        return None
    base = request.into or request.model or info.base
    named = without_place(str(metadata(folder / "README.md").get("base_model") or base or ""))
    licence = licence_of(folder)
    if not licence.known and REPO_ID.fullmatch(named):
        licence = licence_in(card_metadata(named))
    return Subject(
        title=folder.name,
        base=named,
        licence=licence,
        adapter=info,
        record=record_of(home, info),
        file=next((file.name for file in sorted(folder.glob("*.gguf"))), None),
    )


def _adapter(request: ExportRequest, judged: Certificate, home: Home) -> AdapterInfo | None:
    with suppress(DroidError):
        info = read_adapter(*find_adapter(request.adapter, adapters_dir=home.adapters))
        if sha256(info.file) == judged.hashes.adapter:
            return info
    return None


if __name__ == "__main__":
    main()
