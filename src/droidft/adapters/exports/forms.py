"""The forms in which an adapter can leave: what each is for, what reads it, and what it cannot hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from droidft.adapters.folder import AdapterInfo
from droidft.config.wording import sentence, worded
from droidft.errors import AdapterError, ConfigError
from droidft.support.shapes import shape

GGUF_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
_WHOLE_TYPES = ("F32", "F16", "BF16")
"""Types that are not quantised."""
BITS = ("4", "8")
LONGEST_NAME = 64
"""Characters of a name of an export."""


class Form(StrEnum):
    """What an export is made of."""

    PEFT = "peft"
    MERGED = "merged"
    MLX = "mlx"
    GGUF = "gguf"
    GGUF_ADAPTER = "gguf-adapter"
    OLLAMA = "ollama"

    @property
    def alone(self) -> bool:
        """Whether it is the adapter without its base."""
        return self in (Form.PEFT, Form.GGUF_ADAPTER)


@shape
class FormFacts:
    """One form, for whoever chooses."""

    form: Form
    title: str
    what: str
    loads_in: str
    types: list[str]
    """Types of the weights to choose from; empty where there is nothing to choose."""
    usual: str | None
    """The type taken where none is named; None keeps that of the base."""


@dataclass(frozen=True)
class _Facts:
    title: str
    what: str
    loads_in: str
    types: tuple[str, ...] = ()
    usual: str | None = None


_FORMS = {
    Form.PEFT: _Facts("PEFT adapter", "The adapter alone, a few megabytes", "transformers with PEFT, vLLM"),
    Form.MERGED: _Facts(
        "Merged model",
        "The base's own files with the adapter added, everything else byte for byte",
        "transformers, vLLM, mlx-lm",
    ),
    Form.MLX: _Facts(
        "MLX model", "Base and adapter in mlx-lm's layout, quantised if you like", "mlx-lm, LM Studio", BITS
    ),
    Form.GGUF: _Facts(
        "GGUF file",
        "One file with weights, tokenizer and chat template",
        "llama.cpp, LM Studio, Ollama",
        GGUF_TYPES,
        "Q8_0",
    ),
    Form.GGUF_ADAPTER: _Facts(
        "GGUF adapter",
        "The adapter alone, for a GGUF file of the base that you already have",
        "llama.cpp --lora",
    ),
    Form.OLLAMA: _Facts(
        "Ollama folder", "A GGUF file and its Modelfile, for `ollama create`", "Ollama", GGUF_TYPES, "Q8_0"
    ),
}


class ExportRequest(BaseModel):
    """What is to be exported, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    adapter: Annotated[str, Field(min_length=1, max_length=4096)]
    """Name or folder of the adapter; its best weights unless `@latest` or `@200` follows."""
    form: Form
    """What to make: peft, merged, mlx, gguf, gguf-adapter or ollama."""
    type: Annotated[str | None, Field(max_length=16)] = None
    """Type of the weights: 4 or 8 bits for mlx; Q4_K_M, Q5_K_M, Q6_K, Q8_0, F16 … for GGUF files."""
    model: Annotated[str | None, Field(max_length=4096)] = None
    """The base model that the adapter was trained on. Default: the one that it names."""
    into: Annotated[str | None, Field(max_length=4096)] = None
    """Another copy of the base to add the adapter to, or to use it on, such as the original of a quantised one."""
    name: Annotated[str | None, Field(max_length=LONGEST_NAME)] = None
    """Name of the export. Default: adapter, weights other than the best, form and type."""
    rows: Annotated[str | None, Field(max_length=4096)] = None
    """A file with rows for the certificate. Default: the validation rows of the adapter's run."""
    row_count: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Rows that the certificate compares."""
    replace: bool = False
    """Take the place of an export of the same name."""

    @model_validator(mode="after")
    def _known_type(self) -> ExportRequest:
        facts = _FORMS[self.form]
        if self.type is not None and self.type not in facts.types:
            known = f"it can be one of {', '.join(facts.types)}" if facts.types else "there is none to choose"
            raise ValueError(f"type is {self.type!r}; for {self.form.value} {known}")
        return self

    @property
    def chosen_type(self) -> str | None:
        """The type that the weights will have; None for that of the base."""
        return self.type or _FORMS[self.form].usual

    @property
    def command(self) -> str:
        """The line in a terminal that repeats this export."""
        words = ["droidft", "export", self.adapter, "--to", self.form.value]
        for name in ("type", "model", "into", "rows", "row_count"):
            if (value := getattr(self, name)) != type(self).model_fields[name].default:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    @classmethod
    def of_command(cls, command: str) -> ExportRequest | None:
        """The request whose `command` this is; None if it is that of none."""
        try:
            _, _, adapter, *words = shlex.split(command)
        except ValueError:
            return None
        names = (flag.removeprefix("--").replace("-", "_") for flag in words[::2])
        values = {("form" if name == "to" else name): text for name, text in zip(names, words[1::2], strict=False)}
        try:
            found = cls.model_validate({"adapter": adapter, **values})
        except ValidationError:
            return None
        return found if found.command == command else None

    @property
    def quantised(self) -> str | None:
        """The type, where it is one that loses more than rounding does."""
        chosen = self.chosen_type
        if chosen is None or chosen in _WHOLE_TYPES:
            return None
        return f"{chosen} bits" if self.form is Form.MLX else chosen


def parse_request(values: Mapping[str, Any], *, called: Callable[[str], str] = str) -> ExportRequest:
    """A request from values by name, of which None means that it was not given.

    `called` gives what a message calls a value.

    Raises:
        ConfigError: every fault in them, in one sentence.
    """
    try:
        return ExportRequest.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        field = str(faults[0]["loc"][0]) if faults[0]["loc"] else None
        raise ConfigError("; ".join(_fault(each, called) for each in faults), field=field) from None


def _fault(detail: ErrorDetails, called: Callable[[str], str]) -> str:
    place = ".".join(map(str, detail["loc"]))
    return f"{called(place)}: {worded(detail)}" if place else sentence(detail)


def facts() -> list[FormFacts]:
    """Every form, in the order of the documents."""
    return [
        FormFacts(form, about.title, about.what, about.loads_in, list(about.types), about.usual)
        for form, about in _FORMS.items()
    ]


def default_name(request: ExportRequest, adapter: str) -> str:
    """Name of an export whose request gives none: the adapter's, as far as it may be one and fits, and the form.

    Weights other than the best are named too: those of `poet@20` are no replacement for those of `poet`.
    """
    which = request.adapter.partition("@")[2]
    parts = ("" if which == "best" else which, request.form.value, request.type)
    form = "".join(f"-{part}" for part in parts if part)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", adapter).lstrip("._-")[: LONGEST_NAME - len(form)].rstrip("-")
    return (plain or "adapter") + form


def refuse_unholdable(request: ExportRequest, info: AdapterInfo) -> None:
    """Refuse what a form cannot hold by its nature, before anything is read.

    Raises:
        AdapterError: what, and the forms that can.
    """
    if request.form.alone and info.fine_tune_type == "full":
        raise AdapterError(
            f"{info.name} holds whole weights, not factors, and {request.form.value} holds factors only",
            hint="export to `merged`, `mlx`, `gguf` or `ollama`",
        )
    if request.form is Form.GGUF_ADAPTER and info.fine_tune_type == "dora":
        raise AdapterError(
            f"{info.name} is a DoRA, for which llama.cpp has no adapter",
            hint="export to `gguf`, with the adapter merged",
        )
