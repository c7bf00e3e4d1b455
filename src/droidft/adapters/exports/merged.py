"""A merged model: the checkpoint of the base with the updates added, everything else byte for byte.

Each weight file is copied as it is, then the tensors that the adapter changes are written over in the copy. So memory
holds one tensor at a time, and what is not adapted cannot differ.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.models.catalog import copied_files
from droidft.models.floats import encoded
from droidft.models.folder import weight_files
from droidft.support.durable import sync_file
from droidft.support.progress import Progress

CHUNK = 1 << 24


def write_merged(checkpoint: Checkpoint, target: Path, progress: Progress | None = None) -> None:
    """Fill the empty folder `target`.

    `progress` counts bytes: those copied, then those changed.

    Raises:
        OSError: the disk.
    """
    files = weight_files(checkpoint.base)
    changed = [checkpoint.stored[name] for name in checkpoint.changed]
    total = sum(file.stat().st_size for file in files) + sum(each.end - each.start for each in changed)
    done = 0

    def report(amount: int) -> None:
        nonlocal done
        done += amount
        if progress is not None:
            progress("merging", done, total)

    for file in copied_files(checkpoint.base):
        part = target / file.relative_to(checkpoint.base)
        part.parent.mkdir(exist_ok=True)
        if file not in files:
            shutil.copyfile(file, part)
            continue
        with file.open("rb") as source, part.open("xb") as copy:
            while chunk := source.read(CHUNK):
                copy.write(chunk)
                report(len(chunk))
        with part.open("r+b") as patched:
            for name in checkpoint.changed:
                stored = checkpoint.stored[name]
                if stored.file == file:
                    patched.seek(stored.start)
                    patched.write(encoded(checkpoint.load(name), stored.dtype))
                    report(stored.end - stored.start)
        sync_file(part)
