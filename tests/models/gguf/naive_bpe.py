"""Byte-level BPE written down plainly, as a check on the tokenizers that are built from GGUF files."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import regex

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_NEWER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def encode(text: str, pre: str, tokens: list[str], merges: list[str], types: list[int]) -> list[int]:
    """Token ids of `text`; special tokens (type 3) are cut out first."""
    ids = {token: index for index, token in enumerate(tokens)}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == 3]
    found: list[int] = []
    for piece in regex.split("(" + "|".join(map(regex.escape, special)) + ")", text):
        if piece in special:
            found.append(ids[piece])
            continue
        for word in _words(piece, pre):
            found += _merge(word, ids, ranks, whole=pre in ("llama-bpe", "tekken"))
    return found


def _words(text: str, pre: str) -> list[str]:
    if pre == "qwen2":
        text = unicodedata.normalize("NFC", text)
    if pre == "smollm":
        parts = [part for part in regex.split(r"(\p{N})", text) if part]
        return [word for part in parts for word in regex.findall(_GPT2, part)]
    if pre == "gpt-2":
        return list(regex.findall(_GPT2, text))
    if pre == "tekken":
        return list(regex.findall(_TEKKEN, text))
    if pre == "gpt-4o":
        return list(regex.findall(_GPT4O, text))
    number = r"\p{N}" if pre == "qwen2" else r"\p{N}{1,3}"
    return list(regex.findall(_NEWER.replace("NUMBER", number), text))


def _merge(word: str, ids: dict[str, int], ranks: dict[tuple[str, ...], int], *, whole: bool) -> list[int]:
    symbols = [_letter(byte) for byte in word.encode()]
    if whole and "".join(symbols) in ids:
        return [ids["".join(symbols)]]
    while True:
        pairs = [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not pairs:
            return [ids[symbol] for symbol in symbols]
        _, at = min(pairs)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


def _letter(byte: int) -> str:
    """GPT-2's letter for a byte: itself where it is printable, else one beyond 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [other for other in range(256) if other not in printable].index(byte))
