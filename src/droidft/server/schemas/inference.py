"""Prompts and answers."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from droidft.adapters.diagnostics import AdapterWarning
from droidft.server.schemas.base import Body, ErrorBody, Wire


class SamplingFields(Body):
    """How the next token is chosen."""

    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.05
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 40
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class TemplateFields(Wire):
    """How the chat template is used, where that is not as the adapter was trained."""

    use_chat_template: bool = True
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=100)] | None = None
    """Variables of the template, such as `enable_thinking`."""
    template_date: Annotated[datetime.date, Field(strict=False)] | None = None
    """The day, for templates that write the date; today if it is not given."""


class InferenceRequest(SamplingFields, TemplateFields):
    """A prompt for a model, with or without an adapter."""

    prompt: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    model_name: Annotated[str, Field(min_length=1, max_length=4096)]
    """A name, a hub id, or a folder below the allowed roots."""
    adapter_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """A name, then `@best`, `@latest` or `@200`. Without `@`: the best weights if there are any, else the latest."""
    system_prompt: Annotated[str, Field(max_length=1_000_000)] | None = None
    allow_mismatch: bool = False
    """Use an adapter though it was trained on other weights than those of the model; otherwise that is a 400."""


class CompareRequest(SamplingFields, TemplateFields):
    """One prompt for several sides; they answer at the same time."""

    prompt: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    model_name: Annotated[str, Field(min_length=1, max_length=4096)]
    adapters: Annotated[list[str | None], Field(min_length=1, max_length=4)]
    """A side each: an adapter as in `InferenceRequest`, or null for the base alone."""
    system_prompt: Annotated[str, Field(max_length=1_000_000)] | None = None
    allow_mismatch: bool = False
    """Use an adapter though it was trained on other weights than those of the model; otherwise that is a 400."""


class AdapterDetails(Wire):
    """What was on the base when it answered."""

    name: str | None
    type: str
    """`best`, `latest`, `step 200`, or `none` for the base alone."""
    chat_template_used: bool
    rank: int | None
    alpha: float | None
    """In the paper's sense: scale x rank."""
    scale: float | None
    dropout: float | None
    keys: list[str] | None
    num_layers: int | None
    expected_layers: int
    model_recorded: str | None
    max_logit_change: float | None
    """How far the adapter moves the logits of a short English text."""
    warnings: list[AdapterWarning]


class InferenceAnswer(Wire):
    """The whole answer."""

    response: str
    adapter_details: AdapterDetails
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    tokens: int
    tokens_per_second: float
    seed: int


class StreamStart(Wire):
    """A side is ready to answer."""

    type: Literal["start"] = "start"
    side: int
    adapter_details: AdapterDetails
    seed: int


class StreamText(Wire):
    """More of a side's answer."""

    type: Literal["text"] = "text"
    side: int
    text: str


class StreamEnd(Wire):
    """A side has answered."""

    type: Literal["end"] = "end"
    side: int
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    tokens: int
    tokens_per_second: float


class StreamError(Wire):
    """A side cannot answer, or all of them cannot (`side` null)."""

    type: Literal["error"] = "error"
    side: int | None
    error: ErrorBody


class StreamPhase(Wire):
    """What is being done before the first word, such as loading the model."""

    type: Literal["phase"] = "phase"
    text: str


StreamEvent = Annotated[StreamStart | StreamText | StreamEnd | StreamError | StreamPhase, Field(discriminator="type")]


class Share(Wire):
    """A side's share of the decisive votes, with its interval; without a vote, no share and the whole range."""

    share: float | None
    low: float
    high: float


class Shares(Wire):
    """What blind votes add up to. Intervals are score intervals (Wilson, 1927)."""

    shares: list[Share]
    """In the order in which they were asked for."""
    chance: float
    """What each share would be if nobody preferred any."""
    level: float
    """Of each interval: two sides have one share between them, so 95 %; more are widened (Bonferroni)."""
    preferred: int | None
    """The side whose interval lies above chance, if there is one."""


class InferenceState(Wire):
    """What the inference worker holds."""

    model: str | None
    busy: bool
    waiting: int
    memory: int | None
    """Resident bytes of the worker."""
