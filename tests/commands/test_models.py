from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_hub_download

from droidft.cli import main
from droidft.config import TrainingConfig
from droidft.events import Stopped
from droidft.home import Home
from droidft.models import hub
from droidft.runs import folder as runs
from droidft.runs.writer import EventLog
from tests.models.gguf.files import write_llama
from tests.models.hub_server import serve
from tests.tiny import write_chat, write_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "no models yet" in capsys.readouterr().err
    write_model(home / "models" / "tiny")
    (home / "models" / "broken").mkdir()
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "the folder is empty" in " ".join(out.split())
    broken, tiny = run_json(capsys, "models", "list")
    assert (tiny["name"], tiny["model_type"], tiny["source"]) == ("tiny", "llama", "home")
    assert broken["problem"]


def test_import_a_gguf_file(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_llama(tmp_path / "Tiny model.Q4_1.gguf", quant="Q4_1").path
    result = run_json(capsys, "models", "import", str(file))
    assert result["model"] == "Tiny-model.Q4_1"
    assert result["quants"] == ["Q4_1", "F32"]
    assert (home / "models" / "Tiny-model.Q4_1" / "model.safetensors").is_file()
    assert main(["models", "import", str(file), "--name", "again", "--dtype", "float32"]) == 0
    assert "again is imported" in capsys.readouterr().out
    assert main(["models", "import", str(file), "--name", "again"]) == 1
    assert "already" in capsys.readouterr().err


def test_import_a_folder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_model(tmp_path / "source")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    assert main(["models", "import", str(source), "--name", "linked"]) == 0
    assert main(["models", "import", str(source), "--name", "copied", "--copy"]) == 0
    assert (home / "models" / "linked").is_symlink()
    assert not (home / "models" / "copied").is_symlink()
    assert (home / "models" / "copied" / "README.md").is_file(), "the licence is in it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "/nowhere"], "there is no /nowhere"),
        (["import", ".", "--name", "../x"], "cannot be the name of a model"),
        (["pull", "acme/tiny"], "HF_HUB_OFFLINE=1"),
        (["inspect", "nothing"], "there is no model 'nothing'"),
        (["inspect", "acme/tiny", "--offline"], "offline is set"),
        (["inspect", ".", "--rank", "0"], "rank is 0"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) in (1, 2)
    assert message in capsys.readouterr().err
    assert main(["models", *words, "--json"]) in (1, 2)
    assert message in json.loads(capsys.readouterr().out)["error"]["message"]


def test_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_model(tmp_path / "source")
    with serve(acme__tiny={path.name: path.read_bytes() for path in source.iterdir()}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        # Read from the environment once, when the library is first imported.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert main(["models", "pull", "acme/tiny"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("acme/tiny is in ")
    (listed,) = run_json(capsys, "models", "list")
    assert listed["source"] == "hub cache"


def test_a_run_fetches_what_the_cache_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_model(tmp_path / "source")
    data = write_chat(tmp_path / "chat.jsonl")
    with serve(acme__tiny={path.name: path.read_bytes() for path in source.iterdir()}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):  # as transformers leaves a cache
            hf_hub_download("acme/tiny", name, cache_dir=hub.cache_dir(), endpoint=server.url)
        words = ["train", "--model-path", "acme/tiny", "--train-data-path", str(data), "--iterations", "1"]
        assert main(words) == 0, capsys.readouterr().err
    assert "finished  1 step" in capsys.readouterr().out


def test_inspect(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(home / "models" / "tiny")
    (folder / "modeling_tiny.py").write_text("")
    assert main(["models", "inspect", "tiny", "--rank", "4"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 + len(str(folder))
    assert "modeling_tiny.py (is not run)" in out
    for expected in ("llama, 2 blocks", "self_attn.q_proj", "2 x 32 -> 16", "full-layer", "about"):
        assert expected in out
    found = run_json(capsys, "models", "inspect", "tiny", "--rank", "4")
    full = next(preset for preset in found["presets"] if preset["preset"] == "full-layer")
    assert full["trainable"] == 2 * 4 * (64 + 48 + 48 + 64 + 96 * 3)
    assert sum(key["trainable"] for key in full["keys"]) == full["trainable"]
    assert full["memory"]["total"] > 0
    assert found["context_length"] == 512
    assert f"{full['trainable']:,}" in out


@pytest.mark.parametrize("by", ["name", "path"])
def test_inspect_needs_no_weights_and_answers_do(home: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
    folder = write_model(home / "models" / "bare")
    (folder / "model.safetensors").unlink()
    ref = "bare" if by == "name" else str(folder)
    assert run_json(capsys, "models", "inspect", ref)["presets"][0]["trainable"] > 0
    assert main(["chat", "--model", ref, "--prompt", "hello"]) == 1
    assert "it has no model*.safetensors" in " ".join(capsys.readouterr().err.split())


def test_the_embedded_model_is_pulled_by_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", "smollm2-135m-instruct"]) == 1
    assert "fetch it: `droidft models pull smollm2-135m-instruct` (93 MB)" in " ".join(
        capsys.readouterr().err.split()
    )
    folder = write_model(home / "models" / "smollm2-135m-instruct")
    found = run_json(capsys, "models", "pull", "smollm2-135m-instruct")
    assert (found["model"], found["path"]) == ("smollm2-135m-instruct", str(folder)), "one that is here stays"


def test_delete_removes_folders_and_of_links_the_link_alone(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_model(tmp_path / "source")
    assert main(["models", "import", str(source), "--name", "linked"]) == 0
    write_model(home / "models" / "a")
    write_model(home / "models" / "odd name (1)")
    assert main(["models", "delete", "a", "linked", "nothing", "--yes"]) == 1
    assert "there is no model 'nothing'" in capsys.readouterr().err
    assert (home / "models" / "a").is_dir()  # all or none
    size = sum(path.stat().st_size for path in (home / "models" / "a").iterdir())
    deleted = run_json(capsys, "models", "delete", "a", "linked", "odd name (1)", "--yes")
    assert [(each["model"], each["bytes"]) for each in deleted] == [
        ("a", size),
        ("linked", 0),
        ("odd name (1)", size),
    ]
    assert [path.name for path in (home / "models").iterdir()] == []
    assert (source / "model.safetensors").is_file()


def test_delete_asks_and_keeps_what_nobody_answers_for(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(home / "models" / "a")
    for answer, status in ((None, 1), ("n", 1), ("y", 0)):
        monkeypatch.setattr("sys.stdin", io.StringIO("" if answer is None else f"{answer}\n"))
        assert main(["models", "delete", "a"]) == status
        shown = capsys.readouterr()
        assert "Delete a (" in shown.out + shown.err
        assert folder.exists() is (answer != "y")


@pytest.mark.parametrize("named", ["a", "path"])
def test_a_model_that_a_run_needs_is_not_deleted(home: Path, capsys: pytest.CaptureFixture[str], named: str) -> None:
    folder = write_model(home / "models" / "a")
    run = runs.create(
        Home.find(), TrainingConfig(model_path="a" if named == "a" else str(folder), train_data_path="d")
    )
    assert main(["models", "delete", "a", "--yes"]) == 1
    assert f"run {run.id} waits to begin with the model 'a'" in capsys.readouterr().err
    log = EventLog(run)
    assert main(["models", "delete", "a", "--yes"]) == 1
    assert f"run {run.id} is training on the model 'a'" in capsys.readouterr().err
    log.append(Stopped(step=1))
    log.close()
    assert main(["models", "delete", "a", "--yes"]) == 0


def test_a_model_of_the_cache_is_deleted_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in write_model(tmp_path / "files").iterdir()}
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with serve(acme__tiny=files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["models", "pull", "acme/tiny"]) == 0
    capsys.readouterr()
    assert main(["models", "delete", "acme/tiny", "--yes"]) == 0
    assert "deleted acme/tiny (" in capsys.readouterr().out
    assert not (tmp_path / "hub" / "models--acme--tiny").exists()
