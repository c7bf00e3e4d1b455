"""Completions as text, for people and rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from droidft.data.prompts import PromptRow
from droidft.engine.methods.sampling import Completion
from droidft.rewards.rules import ToScore

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper


@dataclass(frozen=True)
class Texts:
    """Turns the tokens of completions into text; `ends` are the tokens that end one."""

    tokenizer: TokenizerWrapper | Any
    ends: frozenset[int]

    @classmethod
    def of(cls, tokenizer: TokenizerWrapper) -> Texts:
        """As the model's tokenizer does."""
        return cls(tokenizer, frozenset(int(token) for token in tokenizer.eos_token_ids))

    def completion(self, tokens: NDArray[np.int32]) -> str:
        """What a completion says, without the token that ends it and other special ones."""
        return str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))

    def to_score(self, prompt: PromptRow, completion: Completion) -> ToScore:
        """A completion with what rewards may look at."""
        text, length = self.completion(completion.tokens), len(completion.tokens)
        return ToScore(prompt.asked, text, length, prompt.columns, prompt.place)
