"""Promises about the repository itself: layers, commands, documents, links, sizes."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import droidft.commands
from droidft import cli
from droidft.config.settings import DATA_SETTINGS
from tests.places import ROOT

FOLDERS = ("src", "tests", "scripts", "bench", "docs", "examples", ".ci")
CODE = sorted(path for folder in ("src", "tests", "scripts", "bench") for path in (ROOT / folder).rglob("*.py"))
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".jsonl", ".cpp", ".h", ".sh", ""}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 500, 60
LONG_ENOUGH_FOR_A_TEST = 80

# In pieces, so that this file does not hold what it looks for.
MACHINE_PATHS = ["/" + "work/", "/tmp" + "/lab", "/" + "root/", ".pyenv" + "/", "/ho" + "me/"]
REGISTRY_HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org"]


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    for path in sorted(files):
        if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_layers() -> None:
    done = run(Path(sys.executable).with_name("lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_documents_are_fresh() -> None:
    done = run(sys.executable, "scripts/generate_docs.py", "--check")
    assert done.returncode == 0, done.stderr


def test_every_command_module_is_a_command() -> None:
    modules = {name for _, name, _ in pkgutil.iter_modules(droidft.commands.__path__) if not name.startswith("_")}
    assert modules == {module for module, _ in cli.COMMANDS.values()}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_can_be_configured_and_is_documented(name: str) -> None:
    module = importlib.import_module(f"droidft.commands.{cli.COMMANDS[name][0]}")
    assert callable(module.configure)
    assert callable(module.run)
    assert f"\n## `droidft {name}`\n" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_no_machine_and_no_registry_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        for word in [*MACHINE_PATHS, *REGISTRY_HOSTS]
        if word in line
    ]
    assert not found, "\n".join(found)


def test_no_document_has_a_gap_left_to_fill() -> None:
    gaps = [
        path.name
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        if re.search(r"<!-- (?!Written by)|TODO|FIXME", path.read_text(encoding="utf-8"))
    ]
    assert not gaps


def test_links_in_documents_lead_somewhere() -> None:
    dead = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            file = target.split("#")[0]
            if file and "://" not in file and not (path.parent / file).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert not dead, "\n".join(dead)


def test_files_and_functions_are_short() -> None:
    long = []
    for path in CODE:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        if (lines := len(text.splitlines())) > MAX_FILE_LINES:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{name}: {node.name} has {lines} lines")
    assert not long, "\n".join(long)


def covered_elsewhere() -> dict[str, list[Path]]:
    """CONTRIBUTING's table: a pattern of modules, and the test files that cover them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Which test covers which module", 1)[1]
    rows = re.findall(r"^\| (`.+`) \| (`.+`) \|$", text.split("\n## ", 1)[0], re.MULTILINE)
    return {
        pattern: [ROOT / "tests" / name for name in re.findall(r"`([^`]+)`", tests)]
        for patterns, tests in rows
        for pattern in re.findall(r"`([^`]+)`", patterns)
    }


def test_every_module_has_a_test_that_a_reader_finds() -> None:
    elsewhere, homeless = covered_elsewhere(), []
    assert not [str(test) for tests in elsewhere.values() for test in tests if not test.exists()]
    for module in sorted((ROOT / "src" / "droidft").rglob("*.py")):
        place = module.relative_to(ROOT / "src" / "droidft")
        mirrored = ROOT / "tests" / place.parent / f"test_{place.name.lstrip('_')}"
        long = len(module.read_text(encoding="utf-8").splitlines()) > LONG_ENOUGH_FOR_A_TEST
        if long and not mirrored.exists() and not any(place.match(pattern) for pattern in elsewhere):
            homeless.append(str(place))
    assert not homeless, f"give each a test file of its name, or a row in CONTRIBUTING.md: {homeless}"


def test_every_rendering_of_a_chat_template_has_limits() -> None:
    """A template is a program of somebody else's: it may loop, or ask for all of the memory."""

    def renderings(block: ast.AST) -> set[int]:
        calls = (node for node in ast.walk(block) if isinstance(node, ast.Call))
        names = ("apply_chat_template", "render_jinja_template")
        return {call.lineno for call in calls if ast.unparse(call.func).endswith(names)}

    free = []
    for path in (ROOT / "src").rglob("*.py"):
        module = ast.parse(path.read_text())
        blocks = [node for node in ast.walk(module) if isinstance(node, ast.With)]
        limited = [renderings(block) for block in blocks if "rendering()" in ast.unparse(block.items[0])]
        free += [(path.name, line) for line in renderings(module).difference(*limited)]
    assert not free, free


def test_the_page_checks_the_data_again_after_the_settings_that_the_server_looks_at() -> None:
    text = (ROOT / "frontend/src/features/data/settings.ts").read_text()
    assert tuple(re.findall(r'^  "(\w+)",$', text, re.MULTILINE)) == DATA_SETTINGS
