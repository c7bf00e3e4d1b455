"""The model card: metadata that the hub reads, the certificate's figures, code that can be copied, no places."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from droidft.adapters.exports.card import Subject, card, write_card
from droidft.adapters.exports.licence import Licence, licence_of, metadata
from droidft.adapters.exports.usage import ways
from droidft.adapters.folder import AdapterInfo
from droidft.adapters.record import TrainingRecord, without_places
from tests.adapters.exports.test_certificate import certified, reading

RECORD = TrainingRecord(
    settings={"method": "sft", "lora_rank": 32, "learning_rate": 1e-4, "mask_prompt": True,
              "system_prompt": "Be kind", "train_data_path": "rows.jsonl", "beta": 0.1},
    data_hash="e" * 64, train_rows=900, val_rows=100, steps=200, best_step=150, best_loss=1.1987,
    versions={"droidft": "0.1.0"},
)  # fmt: skip
HOME = str(Path.home())


def subject(**changes: Any) -> Subject:
    info = AdapterInfo(
        name="poet", path=Path("/x/poet"), file=Path("/x/poet/adapters.safetensors"), which="best",
        fine_tune_type=changes.pop("kind", "lora"), num_layers=-1, rank=32, scale=1.0, dropout=0.0,
        keys=("self_attn.q_proj",), tensors={"model.layers.0.self_attn.q_proj.lora_a": (32, 4)}, base=None,
    )  # fmt: skip
    values = {"title": "poet", "base": "acme/tiny", "licence": Licence("apache-2.0"), "record": RECORD} | changes
    return Subject(adapter=info, **values)


def made(form: str = "merged", *, exported: float = 1.2001, quantisation: str | None = None, **changes: Any) -> str:
    certificate = certified(reading(exported), quantisation=quantisation)
    return card(certificate.model_copy(update={"form": form}), subject(**changes))


def front(text: str) -> dict[str, Any]:
    read = ModelCard(text).data.to_dict()
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize(
    ("form", "quantisation", "relation", "library"),
    [
        ("peft", None, "adapter", "peft"),
        ("gguf-adapter", None, "adapter", "gguf"),
        ("merged", None, "finetune", "transformers"),
        ("mlx", "4 bits", "quantized", "mlx"),
        ("gguf", "Q4_K_M", "quantized", "gguf"),
        ("ollama", None, "finetune", "gguf"),
    ],
)
def test_the_hub_learns_where_it_comes_from(form: str, quantisation: str | None, relation: str, library: str) -> None:
    found = front(made(form, quantisation=quantisation))
    assert (found["base_model"], found["base_model_relation"]) == ("acme/tiny", relation)
    assert (found["license"], found["library_name"], found["pipeline_tag"]) == (
        "apache-2.0",
        library,
        "text-generation",
    )
    assert {"droidft", "lora", "sft"} <= set(found["tags"])


def test_a_base_that_is_not_on_the_hub_is_named_and_not_linked() -> None:
    text = made(base="/data/maria/tiny-v2", licence=Licence())
    assert "base_model" not in front(text)
    assert front(text)["license"] == "unknown"
    assert "does not state one" in text
    assert "tiny-v2" in text
    assert "huggingface.co" not in text
    assert "maria" not in text


def test_the_figures_are_the_certificates() -> None:
    text = made()
    assert "| base | 2.1000 |\n| base + adapter, as trained | 1.2000 |\n| these files | 1.2001 |" in text
    assert (
        "**passed: the exported files have a loss of 1.2001, the trained adapter 1.2000 and the base model 2.1000"
        in text
    )
    assert f"| data | SHA-256 {'d' * 64} |" in text
    assert "did not pass" not in text


def test_an_export_that_failed_says_so_before_anything_else() -> None:
    text = made(exported=2.1)
    warning = text.index("> **This export did not pass its check.** failed: the exported files have a loss of 2.1000")
    assert warning < text.index("## How to use it")


def test_settings_are_those_of_the_run_and_the_system_prompt_is_not_told() -> None:
    text = made()
    assert "| rank | 32 |" in text
    assert "| prompts masked | yes |" in text
    assert "| rows | 900 trained on, 100 for validation |" in text
    assert "| lowest validation loss | 1.1987, at step 150 |" in text
    assert f"SHA-256 {'e' * 64} of tokens and masks" in text
    assert "trained with a system prompt of 7 characters" in text
    assert "Be kind" not in text
    assert "rows.jsonl" not in text
    assert "| beta |" not in text
    assert "| beta | 0.1 |" in made(record=RECORD.model_copy(update={"settings": {"method": "dpo", "beta": 0.1}}))
    assert "settings of the training are not known here" in made(record=None)


FORMS = ["peft", "merged", "mlx", "gguf", "gguf-adapter", "ollama"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("repo_id", ["acme/my.poet", None])
def test_the_code_is_code(form: str, repo_id: str | None) -> None:
    text = made(form, repo_id=repo_id, file="poet-Q8_0.gguf" if "gguf" in form else None)
    blocks = re.findall(r"```(python|sh)\n(.*?)\n```", text, re.DOTALL)
    assert blocks
    for language, code in blocks:
        if language == "python":
            ast.parse(code)
        else:
            assert all(shlex.split(line) for line in code.splitlines())
    assert (repo_id or "FOLDER") in "".join(code for _, code in blocks)


@pytest.mark.parametrize(("base", "found"), [("/models/tiny", "/models/tiny"), ("tiny", "path/to/tiny")])
def test_a_base_that_is_on_no_hub_is_opened_by_its_folder(base: str, found: str) -> None:
    python, serve = (way.code for way in ways("peft", base, "/exports/poet", rank=8))
    assert f"base = '{found}'\n" in python
    assert "AutoModelForCausalLM.from_pretrained(base), '/exports/poet')" in python
    assert "AutoPeft" not in python, "which looks for the base under the name in the adapter's file"
    assert serve.startswith(f"vllm serve {found} ")


def test_vllm_has_no_magnitudes() -> None:
    assert "vllm serve acme/tiny --enable-lora --lora-modules my.poet=acme/my.poet" in made(
        "peft", repo_id="acme/my.poet"
    )
    assert "vllm" not in made("peft", repo_id="acme/my.poet", kind="dora")


@pytest.mark.parametrize(
    ("rank", "flag"), [(None, ""), (8, ""), (16, ""), (17, "32"), (64, "64"), (300, "320"), (512, "512")]
)
def test_vllm_is_told_of_a_rank_above_its_default(rank: int | None, flag: str) -> None:
    [code] = [way.code for way in ways("peft", "acme/tiny", "acme/poet", rank=rank) if way.program == "vLLM"]
    assert code.partition(" --max-lora-rank ")[2] == flag
    assert not [way for way in ways("peft", "acme/tiny", "acme/poet", rank=513) if way.program == "vLLM"]


def test_blanks_and_quotes_in_a_folder_do_not_break_the_code() -> None:
    place = "/data/my 'best' \"poet\""
    for form in FORMS:
        for way in ways(form, "acme/tiny", place, "a b.gguf"):
            if way.language == "python":
                strings = [node.value for node in ast.walk(ast.parse(way.code)) if isinstance(node, ast.Constant)]
                assert place in strings
            else:
                words = [word for line in way.code.splitlines() for word in shlex.split(line)]
                assert any(place in word for word in words)


def test_nothing_of_others_becomes_markup() -> None:
    nasty = "x](http://evil) <script>alert(1)</script> | `a` **b** \n# heading\x1b[31m"
    text = made(title=nasty, base=nasty, licence=Licence("other", {"license_name": nasty}))
    body = re.sub(r"```.*?```", "", text.split("\n---\n", 1)[1], flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<script", body)
    assert not re.search(r"(?<!\\)\]\(http://evil", body)
    assert "\n# heading" not in body
    assert "\x1b" not in text
    assert front(text)["license_name"] == nasty
    record = RECORD.model_copy(update={"settings": {"optimizer": "a | b\n\n# x", "seed": {"deep": "x"}}})
    assert "| optimizer | a \\| b \\# x |" in made(record=record)


def test_no_place_of_this_machine_is_in_a_card() -> None:
    command = f"droidft export poet --model '{HOME}/my models/tiny' --data {HOME}/rows/x.jsonl -o ~/out/poet"
    certificate = certified(None, refusal=f"cannot open {HOME}/exports/poet/model.gguf", reader="llama.cpp")
    certificate = certificate.model_copy(update={"command": command, "notes": [f"base: {HOME}/models/tiny"]})
    text = card(certificate, subject(base=f"{HOME}/models/tiny", title=f"{HOME}/poet"))
    assert HOME not in text
    assert without_places(command) == "droidft export poet --model 'tiny' --data x.jsonl -o poet"
    assert without_places("see https://example.org/a/b, 1/2, and/or, /no_think; ../a/b") == (
        "see https://example.org/a/b, 1/2, and/or, /no_think; b"
    )


def write_readme(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", Licence("apache-2.0")),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", Licence("mit")),
        ("---\nlicense:\n- mit\n- other\n---\n", Licence("mit")),
        (
            "---\nlicense: other\nlicense_name: qwen\nlicense_link: LICENSE\n---\n",
            Licence("other", {"license_name": "qwen", "license_link": "LICENSE"}),
        ),
        ("---\ntags: [x]\n---\n", Licence()),
        ("---\nlicense: [\n---\n", Licence()),
        ("---\nlicense: 3\n---\n", Licence()),
        ("# no metadata\n---\nlicense: mit\n---\n", Licence()),
        ("---\n- a\n---\n", Licence()),
        ("---\nlicense: mit\n", Licence()),
        ("", Licence()),
    ],
)
def test_the_licence_is_what_the_base_states(tmp_path: Path, text: str, licence: Licence) -> None:
    assert licence_of(write_readme(tmp_path / "base", text)) == licence


def test_a_base_without_a_card_has_no_known_licence(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == Licence()
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert licence_of(tmp_path) == Licence()
    assert metadata(tmp_path) == {}


def test_it_lies_in_the_folder_and_can_be_read_back(tmp_path: Path) -> None:
    certificate = certified(reading(1.2001))
    write_card(tmp_path, certificate, subject(licence=Licence("other", {"license_name": "a: b # c"})))
    found = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
    assert found == metadata(tmp_path / "README.md")
    assert found["license_name"] == "a: b # c"
