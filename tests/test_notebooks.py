"""The notebooks run from top to bottom, and are kept without output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.places import ROOT

NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_output(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "clear all outputs, then save"
        assert cell["metadata"] == {}
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}


@pytest.mark.real
@pytest.mark.slow
def test_first_steps(home: Path, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    (home / "models").mkdir()
    (home / "models/smollm2-135m-instruct").symlink_to(smollm2, target_is_directory=True)
    monkeypatch.setenv("ITERATIONS", "6")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(ROOT / "examples/notebooks/first_steps.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "the loss is plotted"
    text = "".join(output.get("text", "") for output in outputs)
    base, adapter = [float(line.split("loss")[1]) for line in text.splitlines() if " loss " in line][-2:]
    assert adapter < 0.8 * base
