"""How likely a model has tokens: those of a prompt, and those that it drew.

Always of the model's own distribution, in nats: before temperature, penalties and cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from droidft.errors import ConfigError

LEAST = -9999.0
"""Stands for a log-probability of minus infinity, which JSON cannot hold."""


@dataclass(frozen=True)
class Likelihood:
    """Log-probability of a token, and the likeliest tokens in its place with theirs, the likeliest first."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def likelihoods(logits: mx.array, tokens: Sequence[int], top: int) -> list[Likelihood]:
    """Of each of T tokens, under logits of the shape (T, V), with `top` alternatives."""
    logits = logits.astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = mx.take_along_axis(logprobs, mx.array(list(tokens))[:, None], axis=-1)[:, 0]
    most = min(top, logprobs.shape[-1])
    if most == 0:
        return [Likelihood(_finite(value)) for value in _list(chosen)]
    places = mx.argpartition(-logprobs, kth=most - 1, axis=-1)[:, :most]
    values = mx.take_along_axis(logprobs, places, axis=-1)
    rows = zip(_list(chosen), _list(places), _list(values), strict=True)
    return [
        Likelihood(_finite(value), tuple(sorted(zip(near, map(_finite, likely), strict=True), key=_rank)))
        for value, near, likely in rows
    ]


def check_tokens(model: nn.Module, tokens: Sequence[int], *, field: str) -> None:
    """Refuse tokens that a model has not.

    Raises:
        ConfigError: naming the first of them.
    """
    size = model(mx.array([[0]])).shape[-1]  # a shape is known without computing
    if wrong := [token for token in tokens if not 0 <= token < size]:
        raise ConfigError(
            f"token {wrong[0]} is not in the vocabulary",
            hint=f"tokens of this model are 0 to {size - 1:,}",
            field=field,
        )


class TokenBytes:
    """The bytes that each token stands for; those of a character may be spread over several tokens."""

    def __init__(self, tokenizer: Any) -> None:
        from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, SPMStreamingDetokenizer

        self._tokenizer = tokenizer
        match tokenizer.detokenizer:
            case BPEStreamingDetokenizer():
                self._bytes_of = self._byte_level
            case SPMStreamingDetokenizer():
                self._bytes_of = self._sentence_piece
            case _:
                self._bytes_of = self._decoded

    def __call__(self, token: int) -> bytes:
        """Of one token."""
        return self._bytes_of(token)

    def _byte_level(self, token: int) -> bytes:
        known = _bytes_of_letters()
        return b"".join(bytes([known[it]]) if it in known else it.encode() for it in self._written(token))

    def _sentence_piece(self, token: int) -> bytes:
        text = self._written(token)
        if len(text) == 6 and text.startswith("<0x"):
            return bytes([int(text[3:5], 16)])
        return text.replace("\u2581", " ").encode()

    def _written(self, token: int) -> str:
        """As the vocabulary has it; nothing for the rows of an embedding beyond the vocabulary."""
        return self._tokenizer.convert_ids_to_tokens(token) or ""

    def _decoded(self, token: int) -> bytes:
        return str(self._tokenizer.decode([token])).encode()


@cache
def _bytes_of_letters() -> dict[str, int]:
    """Letters of byte-level vocabularies: a printable byte is itself, the others are numbered from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _rank(each: tuple[int, float]) -> tuple[float, int]:
    return -each[1], each[0]


def _finite(value: float) -> float:
    return max(value, LEAST)


def _list(array: mx.array) -> Any:
    return array.tolist()
