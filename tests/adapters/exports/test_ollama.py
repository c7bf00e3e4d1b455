from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from droidft.adapters.exports.ollama import MODELFILE, turns_of, write_ollama
from droidft.models.templates import rendered
from tests.adapters.exports import go_template
from tests.models.gguf.checkpoints import write_folder
from tests.models.gguf.tiny import CASES

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
FAMILIES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "chatml with a system turn of its own": "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama 3": "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "llama 3.1": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n{{ told }}<|eot_id|>"
    "{% for m in turns %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "gemma 3": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set told = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ told if loop.first else '' }}{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "phi 3": "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}",
    "qwen 3 without thinking": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "plain": "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}\n{% endfor %}Assistant:",
    "with braces": "{% for m in messages %}{{ '{{' }}{{ m['role'] }}{{ '}}' }}{{ m['content'] }}{% endfor %}[a]",
}  # fmt: skip
CONVERSATIONS = [
    ["Hello"],
    ["Hello", "Hi", "How are you?"],
    ["One", "1", "Two", "2", "Three", "3", "Four"],
]


def _messages(texts: list[str], system: str | None) -> list[dict[str, str]]:
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_the_template_in_go_writes_what_jinja_writes(family: str, system: str | None) -> None:
    template, variables = FAMILIES[family], {**TOKENS, "enable_thinking": False}
    turns, why = turns_of(template, variables)
    assert turns is not None
    assert bool(why) == (family in ("gemma", "mistral"))
    for texts in CONVERSATIONS:
        messages = _messages(texts, system)
        expected = rendered(template, messages, variables)
        if expected is None:  # no system turn: it is folded into the user's
            expected = rendered(template, _messages([f"{system}\n\n{texts[0]}", *texts[1:]], None), variables)
        assert go_template.render(turns.in_go(), messages) == expected


def test_the_first_token_is_left_to_the_reader_that_adds_it() -> None:
    turns, _ = turns_of(FAMILIES["llama 3"], TOKENS, first="<s>")
    assert turns is not None
    assert "<s>" not in turns.in_go()


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m['content'] }}#{{ m['content'] }}{% endfor %}", "does not write each turn once"),
        ("{% for m in messages %}{{ messages | length }}: {{ m['content'] }}\n{% endfor %}", "in other ways"),
        (
            "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] %}"
            "{% set turns = messages[1:] %}"
            "{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}{% for m in turns %}"
            "{% if loop.last %}[{{ told }}]{% endif %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>",
            "writes",
        ),
        ('{% for m in messages %}"""{{ m.role }}"""{{ m.content }}{% endfor %}', "ends a text in a Modelfile"),
        ("{{ raise_exception('never') }}", "does not write each turn once"),
    ],
)  # fmt: skip
def test_what_go_cannot_say_is_told(template: str, why: str) -> None:
    turns, sentence = turns_of(template, {})
    assert turns is None
    assert why in sentence
    assert "no TEMPLATE" in sentence


def test_a_date_is_that_of_the_export() -> None:
    template = "{{ strftime_now('%Y') }}" + FAMILIES["chatml"]
    turns, sentence = turns_of(template, {})
    assert turns is not None
    assert re.match(r"20\d\d", turns.opening)
    assert "today's date" in sentence


def _folder(tmp_path: Path, **files: Any) -> tuple[Path, str, list[str]]:
    weights = write_folder(CASES[files.pop("case", "qwen2")], tmp_path / "base")
    for name, content in files.items():
        (tmp_path / "base" / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "made").mkdir()
    made = write_ollama(tmp_path / "base", weights, tmp_path / "made", kind="F16", name="tiny")
    text = (tmp_path / "made" / MODELFILE).read_text()
    assert text == made.modelfile
    return tmp_path / "made", text, made.warnings


def test_the_folder_has_the_file_and_how_to_use_it(tmp_path: Path) -> None:
    advice = {
        "eos_token_id": [258, 256],
        "temperature": 0.6,
        "top_p": 0.95,
        "repetition_penalty": 1.05,
        "top_k": None,
    }
    folder, text, warnings = _folder(tmp_path, generation_config=advice)
    assert sorted(path.name for path in folder.iterdir()) == [MODELFILE, "tiny.gguf"]
    lines = text.splitlines()
    assert lines[0] == "FROM ./tiny.gguf"
    assert lines[-5:] == [
        'PARAMETER stop "<|im_end|>"',
        'PARAMETER stop "<|endoftext|>"',
        "PARAMETER temperature 0.6",
        "PARAMETER top_p 0.95",
        "PARAMETER repeat_penalty 1.05",
    ]
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    messages = _messages(["Hé", "Ja", "Und?"], "Kurz.")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert go_template.render(template, messages) == expected
    assert not warnings


def test_greedy_models_get_no_advice_on_sampling(tmp_path: Path) -> None:
    _, text, _ = _folder(tmp_path, generation_config={"do_sample": False, "temperature": 0.6})
    assert "temperature" not in text


def test_a_model_without_a_template_continues_plain_text(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    _, text, _ = _folder(tmp_path, tokenizer_config=settings)
    assert 'TEMPLATE """{{ .Prompt }}"""' in text


def test_a_template_that_go_cannot_say_is_left_out_with_the_reason(tmp_path: Path) -> None:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": "{% for m in messages %}{{ messages | length }}: {{ m['content'] }}\n{% endfor %}",
    }
    _, text, warnings = _folder(tmp_path, tokenizer_config=settings)
    assert "\nTEMPLATE" not in text
    assert any("in other ways" in warning for warning in warnings)
    assert any(line.startswith("# the chat template") for line in text.splitlines())


def test_longrope_is_kept_to_the_length_that_was_trained(tmp_path: Path) -> None:
    _, text, _ = _folder(tmp_path, case="phi3-longrope")
    assert "PARAMETER num_ctx 256" in text
