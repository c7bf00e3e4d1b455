"""The text of an answer's tokens, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper


class Text:
    """An answer's text, piece by piece; characters come whole.

    A detokenizer drops a space that its first token begins with. In an answer to a chat that is right. Where the
    answer continues a text, the token before it, `after`, keeps that space.
    """

    def __init__(self, tokenizer: TokenizerWrapper, after: int | None) -> None:
        self._pieces = tokenizer.detokenizer
        self._shown = 0
        if after is not None:
            before = tokenizer.detokenizer
            before.add_token(after)
            before.finalize()
            self._shown = len(before.text)
            self._pieces.add_token(after)

    def add(self, token: int | None, *, last: bool) -> str:
        """The text to show, now that `token` has come."""
        if token is not None:
            self._pieces.add_token(token)
        if last:
            self._pieces.finalize()
        new: str = self._pieces.text[self._shown :]
        self._shown += len(new)
        return new


def shown(tokenizer: TokenizerWrapper, tokens: Sequence[int], *, after: int | None) -> str:
    """The text of an answer's tokens, the one that ends it left out, as a person reads it: special ones included.

    `after` is the token before them where they continue a text, None where they answer a chat.
    """
    text = Text(tokenizer, after)
    parts = [text.add(token, last=False) for token in tokens]
    return "".join([*parts, text.add(None, last=True)])
