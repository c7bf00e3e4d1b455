"""Odd model folders at every entrance: used as what they are, or refused in words that name the file and the fix."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import droidft
from droidft.cli import main
from droidft.data.template import ChatTemplate
from droidft.engine.model import loading
from droidft.engine.model.adapter_weights import template_hash
from droidft.errors import DroidError, ModelError
from droidft.models import catalog, folder
from droidft.support.channel import Child, ChildError
from tests.adapters.files import write_adapter
from tests.models.odd_folders import (
    BY_FILES,
    BY_TOKENIZER,
    INDEX,
    POINTER,
    Odd,
    config,
    instead_of_weights,
    shards,
    weights,
)
from tests.tiny import llama, write_chat, write_model


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))


def names(cases: tuple[Odd, ...]) -> list[str]:
    return [case.name for case in cases]


def assert_said(error: DroidError, odd: Odd) -> None:
    assert odd.message in error.message
    assert odd.hint in error.hint
    assert error.hint
    assert "\n" not in error.message


@pytest.mark.parametrize("odd", BY_FILES, ids=names(BY_FILES))
def test_refused_by_its_files(odd: Odd, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, models = odd.make(tmp_path / "tiny"), home / "models"
    models.mkdir()
    with pytest.raises(ModelError) as found:
        catalog.find_model(str(path), models_dir=models)
    assert_said(found.value, odd)
    with pytest.raises(ModelError) as imported:
        catalog.import_folder(path, models / "odd")
    assert_said(imported.value, odd)
    assert main(["models", "import", str(path), "--name", "odd"]) in (1, 2)
    assert "is imported" not in capsys.readouterr().out
    assert list(models.iterdir()) == []
    assert main(["chat", "--model", str(path), "--prompt", "hi"]) == 1
    assert odd.message in " ".join(capsys.readouterr().err.split())
    if path.is_dir():
        (models / "odd").symlink_to(path)
        (listed,) = catalog.list_models(models)
        assert odd.message in listed.problem


@pytest.mark.parametrize("odd", BY_TOKENIZER, ids=names(BY_TOKENIZER))
def test_refused_by_its_tokenizer(odd: Odd, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = odd.make(tmp_path / "tiny")
    with pytest.raises(ModelError) as opened:
        loading.load_tokenizer(path)
    assert_said(opened.value, odd)
    assert main(["models", "import", str(path), "--name", "odd"]) in (1, 2)
    captured = capsys.readouterr()
    assert odd.message in " ".join(captured.err.split())
    assert "is imported" not in captured.out
    assert not (home / "models" / "odd").exists()


SOME = ("pointer: weights", "no tokenizer", "adapter", "shard missing")


@pytest.mark.parametrize("odd", [odd for odd in BY_FILES if odd.name in SOME], ids=sorted(SOME))
def test_every_entrance_says_the_same(
    odd: Odd, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = odd.make(tmp_path / "tiny")
    data = str(write_chat(tmp_path / "chat.jsonl"))
    write_adapter(home / "adapters" / "poet", llama())
    for words in (
        ["compare", "--model", str(path), "--adapter", "poet", "--prompt", "hi"],
        ["train", "--model-path", str(path), "--train-data-path", data, "--iterations", "1"],
    ):
        assert main(words) != 0
        captured = capsys.readouterr()
        assert odd.message in " ".join((captured.out + captured.err).split()), words[0]
    with pytest.raises(ModelError) as loaded:
        droidft.load(str(path))
    assert_said(loaded.value, odd)
    assert odd.message in asyncio.run(_imported_by_the_server(home, path))


async def _imported_by_the_server(home: Path, path: Path) -> str:
    child = Child("droidft.workers.inspect", niceness=10)
    try:
        await child.call("import_model", {"home": str(home), "path": str(path), "name": "odd"})
    except ChildError as error:
        return error.message
    finally:
        await child.close()
    return "imported"


class TestAllowed:
    """What looks odd and is a model all the same."""

    @pytest.mark.parametrize("name", ["with space", "brackets [1]", "ünïcode-模型", "a*b?", "tiny.gguf"])
    def test_any_name_of_a_folder(self, tmp_path: Path, name: str) -> None:
        path = write_model(tmp_path / name)
        assert catalog.find_model(str(path), models_dir=tmp_path) == path
        assert catalog.weight_files(path) == [path / "model.safetensors"]

    def test_a_folder_that_others_own_may_not_be_read(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        for closed, words in ((path / "config.json", "config.json may not be read"), (path, "the folder may not be")):
            mode = closed.stat().st_mode
            closed.chmod(0)
            assert words in _asked_as_nobody(path)
            closed.chmod(mode)
        assert _asked_as_nobody(path) == "None"


def _asked_as_nobody(path: Path) -> str:
    """What is said of a folder to a user without rights of their own: whoever runs the tests may be root."""
    program = (
        "import os, sys, encodings.utf_8_sig; from pathlib import Path\n"
        "from droidft.models import folder; import safetensors.numpy\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "print(folder.fault(Path(sys.argv[1])))"
    )
    parent = path.parent
    while parent != parent.parent:  # pytest's folders are private
        parent.chmod(parent.stat().st_mode | 0o055) if os.access(parent, os.W_OK) and os.geteuid() == 0 else None
        parent = parent.parent
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_other_files_are_no_gguf(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.gguf").write_text(POINTER)
    (tmp_path / "b.bin").write_bytes(b"\x80\x04N.")
    for name, words in (("a.gguf", "a.gguf is a Git LFS pointer"), ("b.bin", "it is a file, not a folder")):
        assert main(["models", "import", str(tmp_path / name)]) == 1
        assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("folder_name", "name"),
    [("with space", "with-space"), (".hidden", "hidden"), ("x" * 80, "x" * 64), ("模型 v2", "v2")],
)
def test_names_after_folders(
    home: Path, tmp_path: Path, folder_name: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "import", str(write_model(tmp_path / folder_name))]) == 0
    assert f"{name} is imported" in capsys.readouterr().out
    assert main(["models", "inspect", name]) == 0
    assert "template     tokenizer_config.json" in capsys.readouterr().out


def test_a_folder_whose_name_gives_none(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_model(tmp_path / "模型")
    assert main(["models", "import", str(source)]) in (1, 2)
    assert "--name" in capsys.readouterr().err
    assert main(["models", "import", str(source), "--name", "m"]) == 0


def test_what_generation_config_is_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(home / "models" / "tiny")
    (path / "generation_config.json").write_text('{"eos_token_id": [258, 256], "temperature": 0.6, "top_p": 0.9}')
    assert main(["models", "inspect", "tiny", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["generation"]
    assert said == "its end tokens are used; not used: temperature 0.6, top_p 0.9"
    assert loading.load_tokenizer(path).eos_token_ids == {258, 256}


class TestWhichWeights:
    def test_shards_by_their_index_or_by_their_numbers(self, tmp_path: Path) -> None:
        for index in (True, False):
            path = write_model(tmp_path / f"index-{index}")
            tensors = weights(path)
            shards(path, 3, index=index)
            assert catalog.stored_names(path) == tensors.keys()
            assert [file.name for file in catalog.weight_files(path)] == [
                f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)
            ]

    def test_one_file_counts_before_shards_beside_it(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        single = (path / "model.safetensors").read_bytes()
        shards(path, 2, index=True)
        (path / "model.safetensors").write_bytes(single)
        assert [file.name for file in catalog.weight_files(path)] == ["model.safetensors"]
        (remark,) = folder.remarks(path)
        assert "model-00001-of-00002.safetensors and 1 more beside them is not used" in remark

    def test_an_old_set_of_shards_beside_a_whole_one(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        shards(path, 2)
        (path / "model-00002-of-00003.safetensors").write_bytes(b"old")
        assert [file.name for file in catalog.weight_files(path)] == [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ]

    def test_an_index_may_name_any_file(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        mapped = dict.fromkeys(weights(path), "weights.safetensors")
        (path / "model.safetensors").rename(path / "weights.safetensors")
        (path / INDEX).write_text(json.dumps({"weight_map": mapped}))
        assert [file.name for file in catalog.weight_files(path)] == ["weights.safetensors"]
        assert catalog.find_model(str(path), models_dir=tmp_path) == path


class TestInspect:
    """`config.json` is enough, however the folder is named."""

    def test_by_name_and_by_path(self, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_model(home / "models" / "bare")
        (path / "model.safetensors").unlink()
        (path / "tokenizer.json").unlink()
        for words in ("bare", str(path)):
            assert main(["models", "inspect", words, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["model_type"] == "llama"

    @pytest.mark.parametrize("how", ["name", "path"])
    def test_what_is_there_is_whole(self, home: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_model(home / "models" / "bare")
        instead_of_weights("model.safetensors", "version https://git-lfs.github.com/spec/v1\n")(path)
        assert main(["models", "inspect", "bare" if how == "name" else str(path)]) == 1
        assert "model.safetensors is a Git LFS pointer" in " ".join(capsys.readouterr().err.split())


class TestTemplates:
    """Which of the templates in a folder is used; the rule is in `models/templates.py`."""

    DEF, TOOL, RAG = "D{{ messages[0].content }}", "T{{ messages[0].content }}", "R{{ messages[0].content }}"

    def rendered(self, path: Path) -> tuple[str | None, str | None]:
        """A question without tools, and with."""
        tokenizer = loading.load_tokenizer(path)
        if not tokenizer.has_chat_template:
            return None, None
        tool = {"type": "function", "function": {"name": "look", "description": "", "parameters": {}}}
        made = (
            tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tools=tools, tokenize=False)
            for tools in (None, [tool])
        )
        return next(made), next(made)

    def settings(self, path: Path, template: Any) -> None:
        """Put a value under `chat_template` of `tokenizer_config.json`."""
        file = path / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))

    def test_a_list_of_named_ones(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        listed = [("default", self.DEF), ("tool_use", self.TOOL), ("rag", self.RAG)]
        self.settings(path, [{"name": name, "template": text} for name, text in listed])
        assert self.rendered(path) == ("Dx", "Tx")
        assert "not used: rag" in catalog.chat_templates(path).describe()

    def test_named_ones_that_mark_the_answers(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        answer = "{% generation %}{{ m.content }}{% endgeneration %}"
        turn = f"{{% if m.role == 'assistant' %}}{answer}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
        plain = f"{{% for m in messages %}}{turn}{{% endfor %}}"
        self.settings(path, {"default": plain, "tool_use": "TOOLS:" + plain})
        template = ChatTemplate(loading.load_tokenizer(path))
        assert template.marks_generation
        messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "AB"}]
        tool = {"type": "function", "function": {"name": "look", "description": "", "parameters": {}}}
        assert template.generation_spans(messages, None) == ("abAB", [(2, 4)])
        assert template.generation_spans(messages, [tool]) == ("TOOLS:abAB", [(8, 10)])
        hashes = {
            template_hash(value) for value in (None, plain, {"default": plain}, {"default": "", "tool_use": ""})
        }
        assert len(hashes) == 4

    def test_a_file_before_the_settings(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        (path / "chat_template.jinja").write_text("\ufeff" + self.RAG, encoding="utf-8")
        assert self.rendered(path) == ("Rx", "Rx")
        assert catalog.chat_templates(path).describe() == "chat_template.jinja"

    def test_named_files_beside_the_settings(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        self.settings(path, self.DEF)
        (path / "additional_chat_templates").mkdir()
        (path / "additional_chat_templates" / "tool_use.jinja").write_text(self.TOOL)
        assert self.rendered(path) == ("Dx", "Tx")
        copied = catalog.import_folder(path, tmp_path / "models" / "copied", copy=True)
        assert self.rendered(copied) == ("Dx", "Tx")

    def test_a_processors_file_where_there_is_no_other(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        (path / "chat_template.json").write_text(json.dumps({"chat_template": self.RAG}))
        self.settings(path, self.DEF)
        assert self.rendered(path) == ("Dx", "Dx")
        self.settings(path, None)
        assert self.rendered(path) == ("Rx", "Rx")

    def test_the_only_one_whatever_its_name(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        self.settings(path, [{"name": "chatml", "template": self.DEF}])
        assert self.rendered(path) == ("Dx", "Dx")

    def test_several_and_none_is_the_default(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        self.settings(path, {"chatml": self.DEF, "rag": self.RAG})
        assert self.rendered(path) == (None, None)
        assert "chatml, rag, and none is called default" in catalog.chat_templates(path).describe()

    def test_none(self, tmp_path: Path) -> None:
        path = write_model(tmp_path / "tiny")
        for template in (None, "", " \n"):
            self.settings(path, template)
            assert self.rendered(path) == (None, None)
        assert catalog.chat_templates(path).describe().startswith("none;")


def test_a_tokenizer_that_names_code_and_a_known_class(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny")
    settings = json.loads((path / "tokenizer_config.json").read_text())
    mapped = {"AutoTokenizer": ["tokenization_tiny.TinyTokenizer", None]}
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"auto_map": mapped}))
    assert loading.load_tokenizer(path).encode("hi") == [71, 72]


@pytest.mark.parametrize("architectures", [None, [], ["LlamaForCausalLM"]])
def test_no_architectures(tmp_path: Path, architectures: list[str] | None) -> None:
    path = write_model(tmp_path / "tiny")
    config(path, architectures=architectures)
    loading.load_model(path)


def test_a_path_that_is_not_utf_8_is_refused_and_a_link_to_it_is_not(tmp_path: Path) -> None:
    odd = write_model(tmp_path / "model").rename(tmp_path / "mod\udce9")
    with pytest.raises(ModelError, match="its path is not UTF-8") as caught:
        folder.usable(odd)
    assert "give a link to it" in caught.value.hint
    (tmp_path / "link").symlink_to(odd)
    assert folder.usable(tmp_path / "link") == tmp_path / "link"
