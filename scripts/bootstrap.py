"""Make a virtual environment with Droid FineTuning in it, and see to a C++ compiler. Called by the Makefile.

    python3 scripts/bootstrap.py .venv          what the program needs
    python3 scripts/bootstrap.py .venv --dev    also what its tests and checks need
    python3 scripts/bootstrap.py .venv-interop --interop    torch, PEFT, llama.cpp and the tests that need them

Standard library only, and no syntax newer than Python 3.7: it has to start there to say that 3.11 is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig

NEEDED = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONSTRAINTS = os.path.join(ROOT, "constraints.txt")


def main() -> None:
    """Set up the environment named on the command line."""
    if sys.version_info < NEEDED:
        use_newer_python()
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    venv, dev, interop = sys.argv[1], "--dev" in sys.argv[2:], "--interop" in sys.argv[2:]
    python = os.path.join(venv, "bin", "python")
    if not works(python, "-m", "pip", "--version"):
        make_venv(venv)
    more = " with its development tools" if dev else " with torch, PEFT and llama.cpp" if interop else ""
    print(f"Installing Droid FineTuning{more} ...", flush=True)
    extras, groups = ("[torch,gguf]", group("interop")) if interop else ("", group("dev") if dev else [])
    install(python, "--editable", ROOT + extras, *groups)
    if sys.platform.startswith("linux"):
        find_compiler(python)
    if not interop:
        find_node(python)
    if dev:
        find_browser()


def use_newer_python() -> None:
    """Start again under a Python that is new enough, if there is one."""
    for minor in (14, 13, 12, 11):
        newer = shutil.which(f"python3.{minor}")
        if newer and works(newer, "--version"):
            os.execv(newer, [newer, *sys.argv])
    version = sys.version.split()[0]
    sys.exit(f"Python 3.11 or newer is needed; this is {version}. Try: make PYTHON=/path/to/python3.11")


def make_venv(venv: str) -> None:
    """Create the virtual environment; Debian ships `venv` without pip, in a package of its own."""
    package = f"python3.{sys.version_info[1]}-venv"
    if not works(sys.executable, "-c", "import ensurepip") and not apt_install(package):
        sys.exit(f"Python's venv module lacks pip here. Install it with: apt-get install {package}")
    subprocess.check_call([sys.executable, "-m", "venv", "--clear", venv])


def install(python: str, *what: str) -> None:
    """Install packages in the versions that this release was tested with."""
    subprocess.check_call([python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *what])


def group(name: str) -> list[str]:
    """A group of pyproject.toml: pip learnt to read them after the versions that Python 3.11 brings."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        requirements: list[str] = tomllib.load(file)["dependency-groups"][name]
    return requirements


def find_compiler(python: str) -> None:
    """Kernels are compiled at run time: take the compiler that is here, or Debian's, or one from the registry."""
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        apt_install(f"python3.{sys.version_info[1]}-dev")
    if os.environ.get("CXX") or any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return
    if apt_install("g++") or works(python, "-c", "import ziglang"):
        return
    print("No C++ compiler found: installing ziglang, whose first use takes a minute ...", flush=True)
    try:
        install(python, "ziglang")
    except subprocess.CalledProcessError:
        print("warning: no C++ compiler. Everything works, but training is slower. Install g++ to fix that.")


def find_node(python: str) -> None:
    """The front end is built with Node: take the one that is here, or one from the registry."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import build_frontend

    code = "import build_frontend, sys; sys.exit(build_frontend.node_environment() is None)"
    if not works(python, "-c", f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); {code}"):
        print("No Node 20.19 or newer found: installing it ...", flush=True)
        install(python, build_frontend.NODE_PACKAGE)


def find_browser() -> None:
    """The browser tests drive Chromium; without one they are skipped, and say so."""
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        apt_install("chromium")


def apt_install(package: str) -> bool:
    """Install a Debian package if this is root on Debian or its like, and say whether it worked."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"Installing {package} ...", flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        if subprocess.call(["apt-get", "--quiet=2", *command], env=environment, stdout=subprocess.DEVNULL):
            return False
    return True


def works(*command: str) -> bool:
    """Whether a command can be run and succeeds."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
