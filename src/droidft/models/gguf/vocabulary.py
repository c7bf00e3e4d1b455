"""A model folder's tokenizer, chat templates and end tokens as the metadata of a GGUF file.

The tokenizer is the one that transformers opens, since rows are trained with that. Two kinds can be written, those
that `tokenizer.py` reads: byte-level BPE whose splitting into words llama.cpp has a name for, and SentencePiece BPE.
What was written is read back, and has to give the same tokens on texts of many kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from droidft.errors import ModelError
from droidft.models.files import read_json
from droidft.models.gguf import tokenizer as reading
from droidft.models.gguf.hyperparameters import Value
from droidft.models.gguf.tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from droidft.models.templates import DEFAULT, chat_templates, rendered

_ADDED_SCORE, _PADDING_SCORE = -1000.0, -10000.0
_ENDS_BY_NAME = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>", "<EOT>",
)  # fmt: skip
"""Tokens that llama.cpp takes for the end of an answer by their names."""
_PHI3S = frozenset({"<unk>", "<s>", "</s>", "<|endoftext|>"})
"""Tokens without which llama.cpp does not open a model that is called phi-3."""
_DOUBLED = (
    "the tokenizer puts a space before a text that has none, and llama.cpp before every text: texts that begin with "
    "a space get one token more"
)
_PREFIX = "tokenizer.ggml.add_space_prefix"
_OPTIONS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
_PROBES = (
    "Hello world, it's 1999 and I'LL pay $3.50 (or 1234567)!",
    "  two  spaces\n\n\ttabs\r\n and   more \n\n\n",
    "def f(x):\n    return x**2  # 99.5%\n\n\nprint(f(3))",
    "naïve café – “quotes” … Größe, señor, ÀÉ'S",
    "日本語とрусский текст и العربية ភាសាខ្មែរ 한국어",
    "🙂👍🏽 ----===== ''''\"\"\"\"......!!!!??? <tag attr=1/>",
    "a",
    " a b",
)
"""Composed characters only: llama.cpp never normalises what a tokenizer's NFC would."""
_BARE = tuple(probe for probe in _PROBES if not probe.startswith(" "))


@dataclass
class Vocabulary:
    """Keys `tokenizer.*` of a GGUF file."""

    metadata: dict[str, Value]
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Every token that ends an answer."""
    strips: bool = False
    """Whether markers take the white space behind them along, which llama.cpp does for models called phi-3."""
    prefix: str = "never"
    """Which texts get a space before them: `never`, `each` piece between special tokens, each `bare` one, that begins
    with none, or the `first` of those."""
    warnings: list[str] = field(default_factory=list)


def vocabulary(base: Path, rows: int, ends: Iterable[int] = ()) -> Vocabulary:
    """The tokenizer of the model folder `base`, for an embedding of `rows` rows.

    Args:
        ends: tokens that end answers besides those that the folder declares.

    Raises:
        ModelError: a tokenizer that a GGUF file cannot hold, or one with more tokens than rows.
    """
    opened = _open(base)
    state = json.loads(opened.backend_tokenizer.to_str())
    _refuse_options(state["model"])
    made = _byte_level(state) if _is_byte_level(state) else _sentencepiece(state)
    _add_tokens(state, rows, made)
    strips = any(token["rstrip"] for token in state["added_tokens"])
    made.strips = strips and _PHI3S.issubset(made.tokens) and made.metadata["tokenizer.ggml.model"] == "llama"
    _add_ends(base, opened, ends, made)
    _add_special(base, opened, made)
    _add_template(base, made)
    made.metadata |= {"tokenizer.ggml.tokens": made.tokens, "tokenizer.ggml.token_type": made.types}
    _check_read_back(base, opened, made)
    return made


def _open(base: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        opened = AutoTokenizer.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        if not hasattr(opened, "backend_tokenizer"):
            raise ValueError("it is no fast tokenizer")
    except (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise ModelError(f"the tokenizer of {base} cannot be opened for GGUF: {reason}") from error
    return opened


def _refuse_options(model: Mapping[str, Any]) -> None:
    if model["type"] != "BPE":
        raise _unwritable(f"is a {model['type']} model, not BPE")
    if named := [name for name in _OPTIONS if model.get(name)]:
        raise _unwritable(f"sets {named[0]} to {model[named[0]]!r}")


def _unwritable(what: str) -> ModelError:
    return ModelError(
        f"the tokenizer {what}, which a GGUF file cannot hold",
        hint="byte-level BPE as in Llama 3, Qwen and SmolLM, and SentencePiece BPE as in Llama 2, Gemma and Phi-3 "
        "can be written; export the model as merged or peft instead",
    )


def _steps(state: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    """The steps of the normalizer or pre-tokenizer, sequences unpacked."""

    def unpacked(step: Any) -> list[dict[str, Any]]:
        if not isinstance(step, dict):
            return []
        inner = step.get("normalizers") or step.get("pretokenizers") or []
        return [each for one in inner for each in unpacked(one)] if step["type"] == "Sequence" else [step]

    return unpacked(state.get(part))


def _is_byte_level(state: Mapping[str, Any]) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(state, "pre_tokenizer"))


def _byte_level(state: Mapping[str, Any]) -> Vocabulary:
    pre = reading.kind_of(state)
    if pre is None:
        steps = [step["type"] for step in _steps(state, "pre_tokenizer")]
        raise _unwritable(f"splits words ({', '.join(steps)}) in a way that llama.cpp has no name for here")
    if odd := [step["type"] for step in _steps(state, "normalizer") if step["type"] != "NFC"]:
        raise _unwritable(f"normalises text with {odd[0]}")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    return Vocabulary({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.merges": merges})


def _sentencepiece(state: Mapping[str, Any]) -> Vocabulary:
    made = Vocabulary({"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default"})
    known = {"Prepend", "Replace"}
    normal, splits = _steps(state, "normalizer"), _steps(state, "pre_tokenizer")
    meta = [step for step in splits if step["type"] == "Metaspace"]
    spaced = meta or [step for step in normal if step["type"] == "Replace" and step["content"] == "▁"]
    odd = [step["type"] for step in normal if step["type"] not in known]
    # Gemma's splits a text at spaces that its normalizer has replaced before: at none.
    odd += [step["type"] for step in splits if step["type"] not in ("Metaspace", "Split")]
    if odd or not spaced:
        raise _unwritable(f"treats text in a way of its own ({', '.join(odd) or 'no ▁ for spaces'})")
    made.prefix = _prefix(normal, meta)
    made.metadata[_PREFIX] = made.prefix in ("each", "bare")
    if made.prefix == "bare":
        made.warnings.append(_DOUBLED)
    return made


def _prefix(normal: list[dict[str, Any]], meta: list[dict[str, Any]]) -> str:
    if any(step["type"] == "Prepend" for step in normal):
        return "each"
    scheme = meta[0].get("prepend_scheme", "always") if meta else "never"
    return {"always": "bare", "first": "first"}.get(scheme, "never")


def _add_tokens(state: Mapping[str, Any], rows: int, made: Vocabulary) -> None:
    """Texts, types and (for SentencePiece) scores of all tokens; rows beyond them are named and never made."""
    model, added = state["model"], {token["id"]: token for token in state["added_tokens"]}
    by_id = {index: text for text, index in model["vocab"].items()}
    by_id |= {index: token["content"] for index, token in added.items()}
    if (most := max(by_id)) >= rows:
        raise ModelError(
            f"the tokenizer has token {most} ({by_id[most]!r}), and the embedding {rows:,} rows",
            hint="use the tokenizer that belongs to the model",
        )
    made.tokens = [by_id.get(index, f"[PAD{index}]") for index in range(rows)]
    made.types = [
        _type(text, added.get(index), model) if index in by_id else UNUSED for index, text in enumerate(made.tokens)
    ]
    if len(set(made.tokens)) < rows:
        raise _unwritable("has the same text for two tokens")
    if made.metadata["tokenizer.ggml.model"] == "llama":
        made.metadata["tokenizer.ggml.scores"] = _scores(made, model)


def _type(text: str, added: Mapping[str, Any] | None, model: Mapping[str, Any]) -> int:
    if text == model.get("unk_token"):
        return UNKNOWN
    if added is not None:
        return CONTROL if added["special"] else USER_DEFINED
    is_byte = model.get("byte_fallback") and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return BYTE if is_byte else NORMAL


def _scores(made: Vocabulary, model: Mapping[str, Any]) -> list[float]:
    """SentencePiece joins the pair whose union scores highest: a piece scores by the first merge that makes it."""
    places: dict[str, int] = {}
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        places.setdefault(left + right, len(places))
    rest = {CONTROL: _ADDED_SCORE, USER_DEFINED: _ADDED_SCORE, UNUSED: _PADDING_SCORE}
    return [
        -float(places.get(text, len(places) + index)) if kind == NORMAL else rest.get(kind, 0.0)
        for index, (text, kind) in enumerate(zip(made.tokens, made.types, strict=True))
    ]


def _add_ends(base: Path, opened: Any, more: Iterable[int], made: Vocabulary) -> None:
    """Every token that ends an answer: three have keys of their own, others llama.cpp knows by name."""
    ends = [opened.eos_token_id, *_declared(base), *more]
    made.ends = list(dict.fromkeys(end for end in ends if isinstance(end, int)))
    if beyond := [end for end in made.ends if not 0 <= end < len(made.tokens)]:
        raise ModelError(f"token {beyond[0]} ends answers, but there are {len(made.tokens):,}: the folder is damaged")
    for end in made.ends:
        if made.types[end] == USER_DEFINED:
            made.types[end] = CONTROL
    nameless = [end for end in made.ends[1:] if made.tokens[end] not in _ENDS_BY_NAME]
    for name, end in zip(("eos", "eot", "eom"), [*made.ends[:1], *nameless], strict=False):
        made.metadata[f"tokenizer.ggml.{name}_token_id"] = end
    if left := [made.tokens[end] for end in nameless[2:]]:
        made.warnings.append(f"GGUF has no place for more end tokens: give {', '.join(left)} as stop words")


def _declared(base: Path) -> list[Any]:
    """End tokens that the folder's configs name."""
    ends: list[Any] = []
    for name in ("generation_config.json", "config.json"):
        if (base / name).is_file():
            given = read_json(base / name).get("eos_token_id")
            ends += given if isinstance(given, list) else [given]
    return ends


def _add_special(base: Path, opened: Any, made: Vocabulary) -> None:
    named = {"bos": opened.bos_token_id, "unknown": opened.unk_token_id, "padding": opened.pad_token_id}
    for name, index in named.items():
        if isinstance(index, int):
            made.metadata[f"tokenizer.ggml.{name}_token_id"] = index
    around = opened("a").input_ids
    first = bool(around) and around[0] == opened.bos_token_id
    if first and _is_left_out(base, opened):
        first = False
        made.warnings.append(
            f"the tokenizer puts {opened.bos_token} before plain texts and the chat template none before "
            "conversations; readers of GGUF know one rule, and conversations have it: plain texts begin without"
        )
    made.metadata["tokenizer.ggml.add_bos_token"] = first
    made.metadata["tokenizer.ggml.add_eos_token"] = len(around) > 1 and around[-1] == opened.eos_token_id


def _is_left_out(base: Path, opened: Any) -> bool:
    """Whether conversations begin without the token that plain texts begin with."""
    template = chat_templates(base).used().get(DEFAULT)
    if template is None:
        return False
    text = rendered(template, [{"role": "user", "content": "Hello"}], opened.special_tokens_map)
    return text is not None and not text.startswith(opened.bos_token)


def _add_template(base: Path, made: Vocabulary) -> None:
    templates = chat_templates(base).used()
    if DEFAULT not in templates:
        made.warnings.append("the model has no chat template: the file continues plain text")
    for name, text in templates.items():
        key = "tokenizer.chat_template"
        made.metadata[key if name == DEFAULT else f"{key}.{name}"] = text
    if others := [name for name in templates if name != DEFAULT]:
        made.metadata["tokenizer.chat_templates"] = others


def _check_read_back(base: Path, opened: Any, made: Vocabulary) -> None:
    """Refuse a vocabulary that does not split texts as the model's own tokenizer does."""
    if made.prefix == "first":
        _settle_prefix(base, opened, made)
        return
    special = [made.tokens[end] for end in made.ends if made.types[end] == CONTROL]
    probes = _PROBES if made.prefix != "bare" else _BARE
    texts = [*probes, *(f"{marker}{probe}{marker}\n" for marker in special for probe in probes)]
    if difference := _difference(opened, made, texts):
        raise _unwritable(difference)


def _settle_prefix(base: Path, opened: Any, made: Vocabulary) -> None:
    """GGUF puts a space before each piece of a text or none: what gives conversations their tokens is taken."""
    template = chat_templates(base).used().get(DEFAULT)
    turns = [
        {"role": role, "content": probe} for role, probe in zip(("user", "assistant", "user"), _PROBES, strict=False)
    ]
    told = [rendered(template, turns[:count], opened.special_tokens_map) for count in (1, 3)] if template else []
    texts = [text for text in told if text is not None]
    for prefixed in (False, True) if texts else (True,):
        made.metadata[_PREFIX] = prefixed
        if not (difference := _difference(opened, made, texts or _BARE)):
            made.warnings += [_DOUBLED] if prefixed else []
            return
    if not texts:
        raise _unwritable(difference)
    made.warnings.append(
        "the tokenizer puts a space before the very first word of a text and nowhere else, which GGUF cannot say: it "
        f"{difference}"
    )


def _difference(opened: Any, made: Vocabulary, texts: Iterable[str]) -> str:
    """Of the tokens that the model's own tokenizer gives and those of the file, in the first text that has one."""
    architecture = {"general.architecture": "phi3"} if made.strips else {}
    copy = reading.build({**made.metadata, **architecture})
    for text in texts:
        ours = opened(text, add_special_tokens=False).input_ids
        theirs = copy.encode(text, add_special_tokens=False).ids
        if ours != theirs:
            return f"gives {len(ours)} tokens for {text!r}, and {len(theirs)} others as a GGUF file has it"
    return ""
