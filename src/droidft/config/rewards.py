"""The rewards that completions can be scored by, each with its parameters.

A run's reward is the weighted sum of what its `rewards` say; weights need not sum to one. The docstring of a class
is its help, that of a field the parameter's; `droidft rewards`, the browser and `docs/rewards.md` show these.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from droidft.support.names import is_whole

Word = Annotated[str, Field(min_length=1, max_length=200)]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
FILE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}\.py$"
FUNCTION = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


class _Reward(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )

    title: ClassVar[str]
    scale: ClassVar[str] = "0 to 1"
    """Least and most that it gives."""

    weight: Annotated[float, Field(ge=-1000, le=1000)] = 1.0
    """Factor on this reward in the sum; below zero it is a penalty."""
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """What it is called in reports, for two rewards of one kind. Default: its kind."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.label or self._name

    @property
    def _name(self) -> str:
        return str(getattr(self, "kind", ""))

    @field_validator("weight", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number, not true or false")
        return value

    @model_validator(mode="before")
    @classmethod
    def _portable(cls, values: Any) -> Any:
        """Refuse what JSON does not carry everywhere."""
        for name, value in values.items() if isinstance(values, dict) else ():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, str) and not is_whole(part):
                    raise ValueError(f"{name} holds half of a character")
                if isinstance(part, int) and abs(part) >= 2**53:
                    raise ValueError(f"{name} must be below 2^53")
        return values


class _Reference(_Reward):
    column: Column = "answer"
    """Column of the row that holds the reference answer, or a list of answers of which the best counts."""
    tag: Tag | None = None
    """Look only inside the last `<tag>…</tag>` of the completion, such as `answer`; without one, it scores 0."""


class LexicalF1(_Reference):
    """Words shared with the reference answer: the F1 of precision and recall over words, as SQuAD counts them.

    Case, punctuation and the articles a, an and the do not count; repeated words count as often as both have them.
    """

    title: ClassVar[str] = "Lexical F1"
    kind: Literal["lexical_f1"] = "lexical_f1"


class LengthWindow(_Reward):
    """1 inside a window of lengths, falling to 0 outside along a straight line."""

    title: ClassVar[str] = "Length window"
    kind: Literal["length_window"] = "length_window"
    minimum: Annotated[int, Field(ge=0)] = 1
    """Shortest length that earns 1."""
    maximum: Annotated[int, Field(ge=0)] = 100
    """Longest length that earns 1."""
    unit: Literal["words", "characters", "tokens"] = "words"
    """What is counted; words are what white space separates."""
    falloff: Annotated[int, Field(ge=0)] = 0
    """How far outside the window the reward reaches 0; 0 is at once."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class KeywordCoverage(_Reward):
    """Share of the keywords that the completion holds; case and the amount of white space do not count."""

    title: ClassVar[str] = "Keyword coverage"
    kind: Literal["keyword_coverage"] = "keyword_coverage"
    keywords: Annotated[list[Word], Field(max_length=1000)] = []
    """Words or phrases to look for, the same for every row."""
    column: Column | None = None
    """Column of the row that holds its own keywords, as a list or separated by commas."""
    whole_words: bool = True
    """A keyword counts only where no letter or digit touches it; turn off for languages without spaces."""

    @field_validator("keywords")
    @classmethod
    def _real(cls, value: list[str]) -> list[str]:
        if any(not word.strip() for word in value):
            raise ValueError("holds a blank keyword")
        return value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.keywords and self.column is None:
            raise ValueError("keyword_coverage needs keywords or a column of them")
        return self


class ExactAnswer(_Reference):
    """1 if the completion's answer is the reference, else 0; case and the amount of white space do not count."""

    title: ClassVar[str] = "Exact answer"
    kind: Literal["exact_answer"] = "exact_answer"
    scale: ClassVar[str] = "0 or 1"
    after: Word | None = None
    """What stands before the answer, such as `Answer:`; the answer is the rest of the last line that holds it."""


class NumericAnswer(_Reference):
    """1 if the completion's final number equals the reference's, else 0.

    The final number is the last one that is marked, right after `####` (as in GSM8K) or in a LaTeX box, else the last
    one of the text. `$1,234.50` is 1234.5 and `50%` is 50.
    """

    title: ClassVar[str] = "Numeric answer"
    kind: Literal["numeric_answer"] = "numeric_answer"
    scale: ClassVar[str] = "0 or 1"
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that still counts as equal."""
    strict: bool = False
    """In completions, only a number right after the last `####` counts."""


class TagFormat(_Reward):
    """Whether the completion is made of tagged parts, such as `<think>…</think><answer>…</answer>`.

    A point for each tag that is opened and closed exactly once, one if all are and stand in order without overlap,
    one more if besides nothing but white space stands outside; divided by the number of tags plus two.
    """

    title: ClassVar[str] = "Tag format"
    kind: Literal["tag_format"] = "tag_format"
    tags: Annotated[list[Tag], Field(min_length=1, max_length=20)] = ["think", "answer"]
    """Names of the tags, in their order."""

    @field_validator("tags")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a tag twice")
        return value


class PythonReward(_Reward):
    """A function of your own, from a file in the home folder's `rewards/`.

    It is called as `reward(prompts, completions, **columns)`, with lists, and returns a number for each completion,
    or None to leave one out.
    """

    title: ClassVar[str] = "Own Python function"
    kind: Literal["python"] = "python"
    scale: ClassVar[str] = "any finite number"
    file: Annotated[str, Field(pattern=FILE)]
    """Name of the file in `rewards/`."""
    function: Annotated[str, Field(pattern=FUNCTION)] = "reward"
    """Name of the function in it."""

    @property
    def _name(self) -> str:
        return f"{self.file.removesuffix('.py')}.{self.function}"


Reward = Annotated[
    LexicalF1 | LengthWindow | KeywordCoverage | ExactAnswer | NumericAnswer | TagFormat | PythonReward,
    Field(discriminator="kind"),
]
REWARDS: tuple[type[_Reward], ...] = (
    LexicalF1,
    LengthWindow,
    KeywordCoverage,
    ExactAnswer,
    NumericAnswer,
    TagFormat,
    PythonReward,
)
"""Every kind, in the order in which they are shown."""
