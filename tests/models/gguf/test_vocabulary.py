from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from droidft.errors import ModelError
from droidft.models.gguf.tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, build
from droidft.models.gguf.vocabulary import Vocabulary, vocabulary
from droidft.models.gguf.write import write_gguf
from droidft.models.templates import rendered
from tests.models.gguf.checkpoints import write_byte_level, write_folder
from tests.models.gguf.llama_cpp import ask
from tests.models.gguf.test_tokenizer import TRICKY, _metadata, _sentencepiece
from tests.models.gguf.tiny import CASES, ROWS

PRES = ["smollm", "llama-bpe", "qwen2", "gpt-2", "dbrx", "gpt-4o", "tekken"]


def _edit(folder: Path, change: Any, file: str = "tokenizer.json") -> None:
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


def write_sentencepiece(folder: Path, scratch: Path, *, own: list[str] | None = None, **more: Any) -> Any:
    """A tokenizer.json with the pieces of a trained SentencePiece model; returns that model."""
    settings = {"user_defined_symbols": own} if own else {}
    if more.get("tokenizer.ggml.add_space_prefix") is False:
        settings["add_dummy_prefix"] = False
    oracle = _sentencepiece(scratch, **settings)
    folder.mkdir(exist_ok=True)
    build(_metadata(oracle, own or (), **more)).save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named})
    )
    return oracle


@pytest.mark.parametrize("pre", PRES)
def test_the_way_of_splitting_words_is_recognised(pre: str, tmp_path: Path) -> None:
    write_byte_level(tmp_path, pre)
    made = vocabulary(tmp_path, ROWS).metadata
    assert (made["tokenizer.ggml.model"], made["tokenizer.ggml.pre"]) == ("gpt2", pre)


def test_phi_4_cuts_words_out_where_llama_3_cuts_around_them(tmp_path: Path) -> None:
    write_byte_level(tmp_path, "dbrx")

    def remove(content: dict[str, Any]) -> None:
        content["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}

    _edit(tmp_path, remove)
    assert vocabulary(tmp_path, ROWS).metadata["tokenizer.ggml.pre"] == "dbrx"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\w+|\W+"), "splits words"),
        (lambda it: it["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "splits words"),
        (lambda it: it["model"].update(ignore_merges=True), "splits words"),
        (lambda it: it.update(normalizer={"type": "Lowercase"}), "normalises text with Lowercase"),
        (lambda it: it["model"].update(dropout=0.5), r"sets dropout to 0\.5"),
        (lambda it: it.update(pre_tokenizer={"type": "Whitespace"}), "in a way of its own"),
        (
            lambda it: it.update(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, added_tokens=[]),
            "WordLevel",
        ),
    ],
)
def test_other_tokenizers_are_refused_by_name(change: Any, message: str, tmp_path: Path) -> None:
    write_byte_level(tmp_path, "qwen2")
    _edit(tmp_path, change)
    with pytest.raises(ModelError, match=message):
        vocabulary(tmp_path, ROWS)


def test_a_tokenizer_that_comes_back_as_another_is_refused(tmp_path: Path) -> None:
    write_sentencepiece(tmp_path / "model", tmp_path)

    def without_half(content: dict[str, Any]) -> None:
        # llama.cpp joins any two pieces whose union is one; here some are never joined.
        content["model"]["merges"] = content["model"]["merges"][::2]

    _edit(tmp_path / "model", without_half)
    with pytest.raises(ModelError, match=r"gives \d+ tokens for .*, and \d+ others as a GGUF file has it"):
        vocabulary(tmp_path / "model", 400)


def test_more_tokens_than_rows(tmp_path: Path) -> None:
    write_byte_level(tmp_path, "qwen2")
    with pytest.raises(ModelError, match=r"has token 261 .* and the embedding 200 rows"):
        vocabulary(tmp_path, 200)


def test_types_of_sentencepiece_tokens(tmp_path: Path) -> None:
    oracle = write_sentencepiece(tmp_path / "model", tmp_path, own=["<|user|>"])
    made = vocabulary(tmp_path / "model", 400)
    kinds = {text: made.types[index] for index, text in enumerate(made.tokens)}
    assert (kinds["<unk>"], kinds["<s>"], kinds["</s>"]) == (UNKNOWN, CONTROL, CONTROL)
    assert (kinds["<|user|>"], kinds["<0x41>"]) == (USER_DEFINED, BYTE)
    assert made.tokens[: oracle.get_piece_size()] == [oracle.id_to_piece(i) for i in range(oracle.get_piece_size())]
    # Pieces are joined in the order of SentencePiece's own scores.
    learned = [i for i in range(oracle.get_piece_size()) if oracle.get_score(i) < 0 and made.types[i] == 1]
    scores = made.metadata["tokenizer.ggml.scores"]
    pieces = [i for i in learned if len(made.tokens[i]) > 1]
    assert isinstance(scores, list)
    assert sorted(pieces, key=lambda i: -scores[i]) == sorted(pieces, key=lambda i: -oracle.get_score(i))


def _metaspace(folder: Path, scratch: Path, scheme: str) -> Vocabulary:
    write_sentencepiece(folder, scratch, **{"tokenizer.ggml.add_space_prefix": scheme == "always"})
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    _edit(folder, lambda it: it.update(normalizer=None, pre_tokenizer=pre))
    return vocabulary(folder, 400)


@pytest.mark.parametrize(("scheme", "prefixed"), [("always", True), ("first", True), ("never", False)])
def test_metaspace_says_where_a_space_is_put_before_a_text(scheme: str, prefixed: bool, tmp_path: Path) -> None:
    made = _metaspace(tmp_path / "model", tmp_path, scheme)
    assert made.metadata["tokenizer.ggml.add_space_prefix"] is prefixed
    doubled = any("begin with a space get one token more" in warning for warning in made.warnings)
    assert doubled == (scheme != "never")


@pytest.mark.parametrize(
    ("template", "prefixed", "same"),
    [
        # After a special token, there is no first word.
        ("{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}", False, True),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", True, True),
        ("{% for m in messages %}user: {{ m['content'] }}</s>{% endfor %}", True, False),
    ],
)
def test_a_space_before_the_first_word_only_is_settled_by_conversations(
    template: str, prefixed: bool, same: bool, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    made = _metaspace(tmp_path / "model", tmp_path, "first")
    assert made.metadata["tokenizer.ggml.add_space_prefix"] is prefixed
    assert any("which GGUF cannot say" in warning for warning in made.warnings) is not same


def _ends(folder: Path, **named: Any) -> Vocabulary:
    write_byte_level(folder, "qwen2")
    for file, value in named.items():
        (folder / f"{file}.json").write_text(json.dumps({"eos_token_id": value}))
    return vocabulary(folder, ROWS)


def test_every_end_has_a_place(tmp_path: Path) -> None:
    # The tokenizer's own <|im_end|> (258), then those of the configs.
    made = _ends(tmp_path, config=256, generation_config=[258, 257, 259])
    assert made.ends == [258, 257, 259, 256]
    # 256 is <|endoftext|>, which llama.cpp knows by name.
    assert [made.metadata[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "eom")] == [258, 257, 259]
    # A word that ends answers stays one: llama.cpp would cut a control token out of every text.
    assert (made.types[257], made.types[259]) == (CONTROL, NORMAL)
    assert not [warning for warning in made.warnings if "stop words" in warning]


def test_ends_beyond_three_are_told_as_stop_words(tmp_path: Path) -> None:
    made = _ends(tmp_path, generation_config=[257, 259, 260, 261])
    assert any(f"give {made.tokens[260]}, {made.tokens[261]} as stop words" in warning for warning in made.warnings)


def test_ends_that_only_the_caller_knows(tmp_path: Path) -> None:
    write_byte_level(tmp_path, "qwen2")
    assert vocabulary(tmp_path, ROWS, ends=[257]).metadata["tokenizer.ggml.eot_token_id"] == 257
    with pytest.raises(ModelError, match="token 999 ends answers"):
        vocabulary(tmp_path, ROWS, ends=[999])


@pytest.mark.parametrize("bos", [None, "<|im_start|>"])
def test_a_first_token_is_added_where_the_tokenizer_adds_one(bos: str | None, tmp_path: Path) -> None:
    write_byte_level(tmp_path, "llama-bpe", bos=bos, template=None)
    made = vocabulary(tmp_path, ROWS).metadata
    assert made["tokenizer.ggml.add_bos_token"] is (bos is not None)
    assert made["tokenizer.ggml.add_eos_token"] is False
    assert made.get("tokenizer.ggml.bos_token_id") == (None if bos is None else 257)


@pytest.mark.parametrize("written", [True, False])
def test_a_conversation_begins_as_its_template_says(written: bool, tmp_path: Path) -> None:
    """llama.cpp adds its first token to conversations too, and takes away one that the template wrote."""
    template = ("{{ bos_token }}" if written else "") + "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    write_byte_level(tmp_path, "llama-bpe", bos="<|im_start|>", template=template)
    made = vocabulary(tmp_path, ROWS)
    assert made.metadata["tokenizer.ggml.add_bos_token"] is written
    assert any("plain texts begin without" in warning for warning in made.warnings) is not written


def test_chat_templates_from_any_place(tmp_path: Path) -> None:
    write_byte_level(tmp_path, "qwen2", template=None)
    assert any("no chat template" in warning for warning in vocabulary(tmp_path, ROWS).warnings)
    (tmp_path / "chat_template.jinja").write_text("plain")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    made = vocabulary(tmp_path, ROWS).metadata
    assert made["tokenizer.chat_template"] == "plain"
    assert made["tokenizer.chat_template.tool_use"] == "tools"
    assert made["tokenizer.chat_templates"] == ["tool_use"]


@pytest.mark.parametrize("pre", PRES)
def test_llama_cpp_makes_the_same_byte_level_tokens(pre: str, tmp_path: Path) -> None:
    # transformers opens the tokenizers of a Qwen2 as Qwen2's, whatever their files say.
    weights = write_folder(CASES["qwen2" if pre == "qwen2" else "llama-biases"], tmp_path / "base")
    write_byte_level(tmp_path / "base", pre)
    # llama.cpp has no Unicode normalisation, and merges where Qwen2's composes.
    texts = [text for text in TRICKY if text and (pre != "qwen2" or "\u0301" not in text)]
    _same_tokens(tmp_path, weights, texts)


@pytest.mark.parametrize("prefixed", [True, False])
def test_llama_cpp_makes_the_same_sentencepiece_tokens(prefixed: bool, tmp_path: Path) -> None:
    weights = write_folder(CASES["gemma2"], tmp_path / "base")
    own = ["▁▁", "\n", "\n\n", "<start_of_turn>", "<end_of_turn>"]
    more = {"tokenizer.ggml.add_space_prefix": prefixed}
    write_sentencepiece(tmp_path / "base", tmp_path, own=own if not prefixed else ["<mark>"], **more)
    _grow(weights, 400)
    _edit(tmp_path / "base", lambda it: it.update(vocab_size=400), "config.json")
    texts = [
        "<start_of_turn>user\nthe  theme<end_of_turn>\n\n",
        "over   the lazy dog \n\n\n  fox",
        "<mark>quick<mark>",
    ]
    _same_tokens(tmp_path, weights, [*(text for text in TRICKY if text and "<|" not in text), *texts])


def test_llama_cpp_makes_the_same_tokens_of_conversations_with_llama_2(tmp_path: Path) -> None:
    """transformers 5 puts a space before the very first word and nowhere else, whatever tokenizer.json says."""
    weights = write_folder(CASES["llama-biases"], tmp_path / "base", eos_token_id=2, vocab_size=400)
    write_sentencepiece(tmp_path / "base", tmp_path)
    template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>assistant:"
    named = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "chat_template": template}
    _edit(tmp_path / "base", lambda it: it.update(named), "tokenizer_config.json")
    _grow(weights, 400)
    turns = [{"role": "user", "content": "the  quick fox"}, {"role": "assistant", "content": "naïve 1234"}]
    _same_tokens(tmp_path, weights, [str(rendered(template, turns, {})), "<s>lazy</s> dog"])


def test_llama_cpp_lets_phi_3s_markers_take_white_space_along(tmp_path: Path) -> None:
    weights = write_folder(CASES["phi3"], tmp_path / "base")
    own = ["<|user|>", "<|end|>", "<|endoftext|>"]
    write_sentencepiece(tmp_path / "base", tmp_path, own=own, **{"general.architecture": "phi3"})
    _grow(weights, 400)
    _edit(tmp_path / "base", lambda it: it.update(vocab_size=400), "config.json")
    _same_tokens(tmp_path, weights, ["<|user|>\nthe dog<|end|>\n", "<|user|>  the quick<|end|>\n\n"])


def _grow(weights: Any, rows: int) -> None:
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in weights.arrays:
            array = weights.arrays[name]
            weights.arrays[name] = array[[index % len(array) for index in range(rows)]]


def _same_tokens(folder: Path, weights: Any, texts: list[str]) -> None:
    from transformers import AutoTokenizer

    written = write_gguf(folder / "base", weights, folder / "model.gguf", kind="F16")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    theirs = ask(written.path, texts=texts)["tokens"]
    for text, tokens in zip(texts, theirs, strict=True):
        assert tokens == tokenizer(text, add_special_tokens=False).input_ids, text
