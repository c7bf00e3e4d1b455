"""The tokenizer inside a GGUF file, as `tokenizer.json` and `tokenizer_config.json`.

Two kinds are covered: byte-level BPE (`gpt2`), whose splitting into words is named by `tokenizer.ggml.pre`, and
SentencePiece BPE (`llama`, Gemma's and Phi-3's as well), where merges follow from the pieces' scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from droidft.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")

# Values of `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_TURN_ENDS = ("<end_of_turn>", "<|end|>", "<|eot_id|>", "<|im_end|>")
"""Tokens that end an answer in every model that has them; most files name the end of the text only."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LETTERS = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s"
_SHORTENED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_CASED = (_LETTERS % ("*", "+"), _LETTERS % ("+", "*"))
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = {
    "llama-bpe": _WORDS.format(digits=r"\p{N}{1,3}"),
    "dbrx": _WORDS.format(digits=r"\p{N}{1,3}"),
    "qwen2": _WORDS.format(digits=r"\p{N}"),
    "gpt-4o": "|".join(words + _SHORTENED for words in _CASED) + r"|\p{N}{1,3}" + _REST,
    "tekken": "|".join(_CASED) + r"|\p{N}" + _REST,
}
_WHOLE_WORDS_FIRST = ("llama-bpe", "tekken")
"""Kinds that look a whole word up before they merge its bytes; where nothing is said, texts begin with a token."""
_ALIASES = {"default": "gpt-2", "gpt2": "gpt-2", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}
_KINDS = ("gpt-2", "smollm", *_PATTERNS)


def build(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `metadata` describes.

    Raises:
        ModelError: a kind of tokenizer or word splitting that is not known, or lists that do not belong together.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level(metadata)
    elif kind == "llama":
        tokenizer = _sentencepiece(metadata)
    else:
        raise ModelError(
            f"the file's tokenizer is of kind {kind!r}, which cannot be imported",
            hint="kinds 'gpt2' (byte-level BPE) and 'llama' (SentencePiece) can",
        )
    _add_special_tokens(tokenizer, metadata)
    _add_bos(tokenizer, metadata)
    return tokenizer


def config(metadata: Mapping[str, Any], context_length: int) -> dict[str, Any]:
    """`tokenizer_config.json`: special tokens, context length, chat template."""
    tokens = _tokens(metadata)
    named = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for short, name in named.items():
        token_id = metadata.get(f"tokenizer.ggml.{short}_token_id")
        if token_id is not None:
            settings[name] = _token(tokens, token_id, short)
    settings["model_max_length"] = context_length
    if isinstance(template := metadata.get("tokenizer.chat_template"), str) and template:
        settings["chat_template"] = template
    return settings


def eos_token_ids(metadata: Mapping[str, Any]) -> list[int]:
    """Every token that ends an answer: end of sequence, end of turn, end of message."""
    ends = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    pairs = zip(_tokens(metadata), _types(metadata), strict=True)
    ends += [
        index for index, (token, kind) in enumerate(pairs) if token in _TURN_ENDS and kind in (CONTROL, USER_DEFINED)
    ]
    return list(dict.fromkeys(token_id for token_id in ends if isinstance(token_id, int)))


def _tokens(metadata: Mapping[str, Any]) -> list[str]:
    if not (tokens := _list(metadata, "tokens", str)):
        raise ModelError("the file holds no vocabulary", hint="use a file made with the tokenizer included")
    return tokens


def _types(metadata: Mapping[str, Any]) -> list[int]:
    tokens = _tokens(metadata)
    types = _list(metadata, "token_type", int) or [1] * len(tokens)
    if len(types) != len(tokens):
        raise ModelError(f"the file has {len(tokens)} tokens but {len(types)} token types")
    return types


def _list(metadata: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    """The list `tokenizer.ggml.<name>`, empty where there is none."""
    items = metadata.get(f"tokenizer.ggml.{name}", [])
    if not isinstance(items, list) or not all(isinstance(item, kind) for item in items):
        raise ModelError(f"the file is damaged: tokenizer.ggml.{name} is no list of {kind.__name__}")
    return items


def _token(tokens: list[str], token_id: Any, what: str) -> str:
    if not isinstance(token_id, int) or not 0 <= token_id < len(tokens):
        raise ModelError(f"the {what} token is {token_id}, but the vocabulary has {len(tokens)} tokens")
    return tokens[token_id]


def _byte_level(metadata: Mapping[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    given = str(metadata.get("tokenizer.ggml.pre", "default"))
    kind = _ALIASES.get(given, given)
    if kind not in _KINDS:
        raise ModelError(
            f"the file splits words in the manner of {given!r}, which cannot be imported",
            hint=f"known are {', '.join(_KINDS)}; use the model's safetensors folder instead",
        )
    vocabulary = {token: index for index, token in enumerate(_tokens(metadata))}
    merges = [_merge(line, vocabulary) for line in _list(metadata, "merges", str)]
    if not merges:
        raise ModelError("the file's byte-level vocabulary has no merges", hint="use a newer conversion of the model")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=kind in _WHOLE_WORDS_FIRST))
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_splitters(kind))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merge(line: str, vocabulary: Mapping[str, int]) -> tuple[str, str]:
    left, _, right = line.partition(" ")
    if left + right not in vocabulary or left not in vocabulary or right not in vocabulary:
        raise ModelError(f"the file is damaged: the merge {line!r} uses tokens that the vocabulary lacks")
    return left, right


def _splitters(kind: str) -> list[Any]:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Split

    match kind:
        case "gpt-2":
            return [ByteLevel(add_prefix_space=False, use_regex=True)]
        case "smollm":
            return [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
        case _:
            words = Split(Regex(_PATTERNS[kind]), behavior="isolated")
            return [words, ByteLevel(add_prefix_space=False, use_regex=False)]


def kind_of(state: Mapping[str, Any]) -> str | None:
    """The `tokenizer.ggml.pre` of the byte-level tokenizer in a parsed tokenizer.json; None where it has none."""
    from tokenizers.pre_tokenizers import Sequence

    splits, whole_first = _flat(state.get("pre_tokenizer")), bool(state["model"].get("ignore_merges"))
    for kind in _KINDS:
        ours = json.loads(Sequence(_splitters(kind)).__getstate__())
        if _flat(ours) == splits and (kind in _WHOLE_WORDS_FIRST) == whole_first:
            return kind
    return None


def _flat(splitter: Any) -> list[tuple[Any, ...]]:
    """The steps of a pre-tokenizer in tokenizer.json, with what decides on their result."""
    if not isinstance(splitter, dict):
        return []
    match splitter["type"]:
        case "Sequence":
            return [step for each in splitter["pretokenizers"] for step in _flat(each)]
        case "ByteLevel":
            return [("ByteLevel", splitter["add_prefix_space"], splitter.get("use_regex", True))]
        case "Split":
            # What is left of a text after its words have been cut out, where they cover all of it, are the words.
            how = (str(splitter["behavior"]), bool(splitter["invert"]))
            words = how in (("Isolated", False), ("Removed", True))
            return [("Split", json.dumps(splitter["pattern"], sort_keys=True), words or how)]
        case "Digits":
            return [("Digits", splitter["individual_digits"])]
    return [(json.dumps(splitter, sort_keys=True),)]


def _sentencepiece(metadata: Mapping[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens, types = _pieces(metadata), _types(metadata)
    scores = _list(metadata, "scores", float)
    if len(scores) != len(tokens):
        raise ModelError(f"the file has {len(tokens)} tokens but {len(scores)} scores")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == UNKNOWN), None)
    normal = {token: scores[index] for token, index in vocabulary.items() if types[index] == NORMAL}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges_by_score(normal),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=BYTE in types,
        )
    )
    prefixed = metadata.get("tokenizer.ggml.add_space_prefix", True)
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space] if prefixed else [space])
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefixed else steps)
    return tokenizer


def _pieces(metadata: Mapping[str, Any]) -> list[str]:
    """The vocabulary, symbols of its own as a text has them: older converters write ▁ for Gemma's runs of spaces."""
    pairs = zip(_tokens(metadata), _types(metadata), strict=True)
    return [token.replace("▁", " ") if kind == USER_DEFINED else token for token, kind in pairs]


def _merges_by_score(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbours whose union scores highest, so the merges are the splits in that order."""
    merges = [
        (-score, index, piece[:cut], piece[cut:])
        for index, (piece, score) in enumerate(scores.items())
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return [(left, right) for _, _, left, right in sorted(merges, key=lambda entry: entry[:2])]


def _add_special_tokens(tokenizer: Tokenizer, metadata: Mapping[str, Any]) -> None:
    from tokenizers import AddedToken

    sentencepiece = metadata.get("tokenizer.ggml.model") == "llama"
    pairs = list(zip(_pieces(metadata) if sentencepiece else _tokens(metadata), _types(metadata), strict=True))
    # Phi-3's markers take the white space behind them along, which GGUF does not say.
    greedy = sentencepiece and metadata.get("general.architecture") == "phi3"

    def added(token: str, *, special: bool) -> AddedToken:
        strips = greedy and token not in ("<unk>", "<s>", "<|endoftext|>")
        return AddedToken(token, special=special, normalized=False, rstrip=strips)

    tokenizer.add_special_tokens([added(token, special=True) for token, kind in pairs if kind in (CONTROL, UNKNOWN)])
    tokenizer.add_tokens([added(token, special=False) for token, kind in pairs if kind == USER_DEFINED])


def _add_bos(tokenizer: Tokenizer, metadata: Mapping[str, Any]) -> None:
    """Put the begin-of-sequence token before every text, where the model was trained so."""
    from tokenizers.processors import TemplateProcessing

    kind, pre = metadata.get("tokenizer.ggml.model"), str(metadata.get("tokenizer.ggml.pre", ""))
    usual = kind == "llama" or _ALIASES.get(pre, pre) in _WHOLE_WORDS_FIRST
    token_id = metadata.get("tokenizer.ggml.bos_token_id")
    if token_id is None or not metadata.get("tokenizer.ggml.add_bos_token", usual):
        return
    bos = _token(_tokens(metadata), token_id, "bos")
    if ":" in bos or bos.startswith("$"):
        raise ModelError(f"the bos token {bos!r} cannot be put into a tokenizer's template")
    special = [(bos, token_id)]
    tokenizer.post_processor = TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", "$B:1"], special_tokens=special
    )
