"""An answer in pieces as they can be shown: text up to its stop texts, and the tokens it is made of."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from droidft.engine.generation.likelihood import Likelihood, TokenBytes
from droidft.engine.generation.stops import Stops

if TYPE_CHECKING:
    from droidft.engine.generation.batch import Token


@dataclass(frozen=True)
class Piece:
    """More of an answer. `tokens` are described as `described` does, and only where likelihoods were asked for."""

    text: str
    tokens: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    """`stop` or `length` in the last piece."""


class Pieces:
    """Turns the tokens of an answer into pieces; a token whose text a stop text cuts off is not shown."""

    def __init__(self, stops: Sequence[str], bytes_of: TokenBytes | None = None) -> None:
        self._stops = Stops(stops)
        self._bytes_of = bytes_of
        self._waiting: list[dict[str, Any]] = []
        self._came = self._shown = self._before = 0

    def follow(self, text: str) -> None:
        """The answer comes after `text`: its tokens' offsets count from the beginning of that."""
        self._before = len(text)

    def feed(self, token: Token) -> Piece:
        """What can be shown now that `token` has come."""
        if token.likelihood is not None and self._bytes_of is not None:
            told = described(token.token_id, token.likelihood, self._bytes_of)
            self._waiting.append({**told, "offset": self._before + self._came})
        self._came += len(token.text)
        text = self._stops.feed(token.text)
        stopped = self._stops.reached
        reason = "stop" if stopped else token.finish_reason
        if reason is not None:
            text += self._stops.rest()
        self._shown += len(text)
        if reason is not None and not stopped:
            ready, self._waiting = self._waiting, []
        else:
            ready = [each for each in self._waiting if each["offset"] < self._before + self._shown]
            self._waiting = self._waiting[len(ready) :]
        return Piece(text, ready, reason)


def described(token: int, likelihood: Likelihood | None, bytes_of: TokenBytes) -> dict[str, Any]:
    """A token: text, bytes, log-probability (None for the first of all), and the likeliest in its place."""
    named = {"id": token, **_named(token, bytes_of)}
    if likelihood is None:
        return {**named, "logprob": None, "top": None}
    top = [{**_named(other, bytes_of), "logprob": logprob} for other, logprob in likelihood.top]
    return {**named, "logprob": likelihood.logprob, "top": top}


def echo(
    text: str | None, tokens: Sequence[int], likelihoods: Sequence[Likelihood | None] | None, bytes_of: TokenBytes
) -> Piece:
    """A prompt as the first piece of its answer; `text` is None where it came as tokens."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets, written = [], ""
    for token in tokens:
        offsets.append(len(written))
        written += decoder.decode(bytes_of(token))
    written += decoder.decode(b"", final=True)
    # What the tokenizer puts before a text has no place in it.
    before = 0 if text is None else max(0, len(written) - len(text))
    told = [
        {**described(token, likelihood, bytes_of), "offset": max(0, offset - before)}
        for token, likelihood, offset in zip(tokens, likelihoods or (), offsets, strict=likelihoods is not None)
    ]
    return Piece(written if text is None else text, told)


def _named(token: int, bytes_of: TokenBytes) -> dict[str, Any]:
    """A token's text and bytes; where these are part of a character, the text spells them out as OpenAI does."""
    raw = bytes_of(token)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
    return {"token": text, "bytes": list(raw)}
