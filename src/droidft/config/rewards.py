"""The rewards that completions can be scored by, each with its parameters.

A run's reward is the weighted sum of what its `rewards` say; weights need not sum to one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Reward(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )

    weight: Annotated[float, Field(ge=-1000, le=1000)] = 1.0
    """Factor on this reward in the sum; below zero it is a penalty."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return str(getattr(self, "kind", ""))


class LexicalF1(_Reward):
    """Words shared with the reference answer: the F1 of precision and recall, 0 to 1."""

    kind: Literal["lexical_f1"] = "lexical_f1"
    column: str = "answer"
    """Column of the row that holds the reference answer."""


class LengthWindow(_Reward):
    """1 inside a window of lengths, falling to 0 outside."""

    kind: Literal["length_window"] = "length_window"
    minimum: Annotated[int, Field(ge=0)] = 1
    """Shortest length that earns 1."""
    maximum: Annotated[int, Field(ge=1)] = 100
    """Longest length that earns 1."""
    unit: Literal["words", "characters", "tokens"] = "words"
    """What is counted."""
    falloff: Annotated[int, Field(ge=0)] = 0
    """How far outside the window the reward reaches 0; 0 is at once."""


class KeywordCoverage(_Reward):
    """Share of keywords that the completion holds, 0 to 1."""

    kind: Literal["keyword_coverage"] = "keyword_coverage"
    keywords: list[str] = []
    """Words to look for, the same for every row."""
    column: str | None = None
    """Column of the row that holds its own keywords, as a list or separated by commas."""


class ExactAnswer(_Reward):
    """1 if the completion's answer is the reference, else 0; case and white space do not count."""

    kind: Literal["exact_answer"] = "exact_answer"
    column: str = "answer"
    """Column of the row that holds the reference answer."""
    after: str | None = None
    """What stands before the answer, such as `Answer:`; without it, the whole completion is the answer."""


class NumericAnswer(_Reward):
    """1 if the completion's final number equals the reference's, else 0; GSM8K's `####` form is understood."""

    kind: Literal["numeric_answer"] = "numeric_answer"
    column: str = "answer"
    """Column of the row that holds the reference answer."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that still counts as equal."""
    strict: bool = False
    """Only a number after `####` counts, not the last one of the text."""


class TagFormat(_Reward):
    """Whether the completion is built of tagged parts, such as <think>…</think><answer>…</answer>, 0 to 1."""

    kind: Literal["tag_format"] = "tag_format"
    tags: Annotated[list[str], Field(min_length=1)] = ["think", "answer"]
    """Names of the tags, in their order."""


class PythonReward(_Reward):
    """A function of your own, from a file in the home folder's `rewards/`."""

    kind: Literal["python"] = "python"
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.py$")]
    """Name of the file in `rewards/`."""
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = "reward"
    """Name of the function in it."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.file.removesuffix('.py')}.{self.function}"


Reward = Annotated[
    LexicalF1 | LengthWindow | KeywordCoverage | ExactAnswer | NumericAnswer | TagFormat | PythonReward,
    Field(discriminator="kind"),
]
