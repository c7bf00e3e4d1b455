"""The names that scripts rely on: none changes without a line in the changelog, and all have types and docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from scripts.generate_docs import PUBLIC_API, not_in_changelog
from scripts.python_page import changed, public_api, unmentioned

import droidft
from tests.places import ROOT

BEFORE = "Run class\nRun.stop (self) -> None\nTrainingConfig.lora_rank field = 32\ntrain (a: int) -> Run\n"


def test_no_public_name_changes_without_a_line_in_the_changelog() -> None:
    names = changed(PUBLIC_API.read_text(encoding="utf-8"), public_api())
    missing = not_in_changelog()
    assert not names, (
        f"changed: {', '.join(names)}. "
        + (f"Name {', '.join(missing)} in CHANGELOG.md under the unreleased version, then run" if missing else "Run")
        + " `make docs`"
    )


def test_what_changed_is_found_and_looked_for_in_the_changelog() -> None:
    after = BEFORE.replace("a: int", "a: str").replace("= 32", "= 8").replace("Run.stop", "Run.halt")
    names = changed(BEFORE, after)
    assert names == ["Run.halt", "Run.stop", "TrainingConfig.lora_rank", "train"]
    assert unmentioned(names, "## 2 (unreleased)\n`Run.halt` for `Run.stop`; `lora_rank` is 8\n## 1\n`train`\n") == [
        "train"
    ]
    assert unmentioned(["train"], "## 2 (Unreleased)\ntrain takes a text\n"), "a word is no mention"
    assert not unmentioned(["train"], '## 2 (Unreleased)\n`droidft.train("m")` takes a text\n')


def test_types_are_those_of_the_module() -> None:
    stub = ast.parse((ROOT / "src/droidft/__init__.pyi").read_text(encoding="utf-8"))
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted([*filter(None, names), "__version__"]) == sorted(droidft.__all__)
    assert {*droidft.__all__} <= {*dir(droidft)}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        droidft.trian  # noqa: B018


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, droidft; print([name for name in ('mlx', 'pydantic', 'numpy', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_function_is_not_hidden_by_a_package_of_its_name() -> None:
    code = (
        "import droidft.experiments.plan.written, droidft.runs.folder, droidft; print(droidft.experiment.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "droidft.api.comparing\n"
    assert not {*droidft.__all__} & {path.name for path in (ROOT / "src/droidft").iterdir()}
