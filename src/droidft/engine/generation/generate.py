"""Generate text: streamed for a person, in batches for scoring.

Around mlx-lm's `generate_step`. Sampling draws from a key of its own, so a seed gives the same answer
whatever else draws random numbers in the process.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from droidft.data.template import TemplateOptions
from droidft.engine.generation.likelihood import PART, Likelihood, likelihoods
from droidft.engine.generation.prompt import Message, Prompt, make_prompt
from droidft.engine.model.vocabulary import forbid_padding
from droidft.errors import ConfigError, NonFiniteError, PromptTooLong

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

REPETITION_WINDOW = 64
PART_ON_GPU = 2048
"""How many tokens of a prompt are read at once; on a processor fewer, so that reading can be cancelled soon."""
COLDEST = 1e-4
"""Lower temperatures but 0 act as this one, which differs from 0 in nothing but rounding; quotients stay finite."""
MOST_BIAS = 100
_NO_TOKEN = -1
"""What is drawn where the model's logits hold NaN, of which argmax and sampling would make the first token."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. At temperature 0 it is the likeliest one, and only the penalties have an effect.

    `top_p`, `min_p` and `top_k` cut unlikely tokens off before drawing; 1, 0 and 0 turn them off.
    `repetition_penalty` above 1 makes the last 64 tokens less likely to come again; `presence_penalty` is taken from
    the logit of every token that the answer holds already, `frequency_penalty` as often as it holds it. `logit_bias`
    is added to the logits of single tokens. With `seed` None every answer is drawn differently.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 0.9
    min_p: float = 0.05
    top_k: int = 40
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._within("max_tokens", 1, 2**31)
        self._within("temperature", 0, 10)
        self._within("top_p", 0, 1, above=True)
        self._within("min_p", 0, 1)
        self._within("top_k", 0, 2**31)
        self._within("repetition_penalty", 0, 10, above=True)
        self._within("presence_penalty", -2, 2)
        self._within("frequency_penalty", -2, 2)
        if self.seed is not None:
            self._within("seed", 0, 2**63)
        for token, bias in self.logit_bias.items():
            if not -MOST_BIAS <= bias <= MOST_BIAS:
                raise ConfigError(
                    f"logit_bias of token {token} is {bias:g}",
                    hint=f"use from -{MOST_BIAS} up to {MOST_BIAS}",
                    field="logit_bias",
                )

    def _within(self, name: str, low: float, high: float, *, above: bool = False) -> None:
        value = getattr(self, name)
        if not (low < value <= high if above else low <= value <= high):
            raise ConfigError(
                f"{name} is {value}",
                hint=f"use {'more than' if above else 'from'} {low:g} up to {high:g}",
                field=name,
            )


@dataclass(frozen=True)
class Token:
    """One step of an answer.

    `text` may be empty while a character is still incomplete. `finish_reason` is None until the last step,
    then `stop` (the model ended its answer) or `length`. Speeds are in tokens per second.
    """

    text: str
    token_id: int
    finish_reason: str | None
    prompt_tokens: int
    tokens: int
    tokens_per_second: float
    likelihood: Likelihood | None = None
    """How likely the model had it, where that was asked for."""


def generate(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    messages_or_prompt: str | Sequence[Message],
    sampling: Sampling | None = None,
    *,
    use_chat_template: bool = True,
    options: TemplateOptions | None = None,
    context_length: int | None = None,
) -> Iterator[Token]:
    """Answer token by token; closing the iterator ends the generation.

    With a `context_length` the answer ends where prompt and answer fill it.

    Raises:
        ModelError: see `make_prompt`; or the prompt is empty or fills the context.
    """
    prompt = make_prompt(tokenizer, messages_or_prompt, use_chat_template=use_chat_template, options=options)
    with wired(model):
        yield from complete(model, tokenizer, prompt, sampling or Sampling(), context_length=context_length)


def complete(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    prompt: Prompt,
    sampling: Sampling,
    *,
    context_length: int | None = None,
    reading: Callable[[int, int], None] | None = None,
    top_logprobs: int | None = None,
    cache: list[Any] | None = None,
) -> Iterator[Token]:
    """Continue a prompt. What is on the model at each step makes that step's token.

    Several answers of one model may be made in turns; wrap them, or one, in `wired`. `reading` is called with prompt
    tokens read and all, before the first and after each part of the prompt; what it raises ends the generation.
    With `top_logprobs` each token comes with its likelihood and that of so many of the likeliest. `cache` holds all
    of the prompt but its last token, if it was read before (`likelihood.read_prompt`).

    Raises:
        ModelError: the prompt is empty or fills the context; raised here, before the first token is asked for.
    """
    from mlx_lm.generate import generate_step

    room = room_for(prompt.tokens, sampling.max_tokens, context_length)
    read = [] if cache is None else prompt.tokens[:-1]
    given: deque[mx.array] | None = None if top_logprobs is None else deque()
    steps = generate_step(
        mx.array(prompt.tokens[len(read) :]),
        model,
        max_tokens=room,
        sampler=_sampler(sampling),
        logits_processors=_processors(sampling, tokenizer, prompt.tokens, read=len(read), given=given),
        prompt_cache=cache,
        prefill_step_size=PART if mx.default_device() == mx.Device(mx.cpu) else PART_ON_GPU,
        prompt_progress_callback=reading,
    )
    return _tokens(steps, tokenizer, prompt, room, given, top_logprobs or 0)


@contextmanager
def wired(model: nn.Module) -> Iterator[None]:
    """On Metal, keep the model's memory from being moved while answers are made; elsewhere nothing."""
    from mlx_lm.generate import generation_stream, wired_limit

    with wired_limit(model, [generation_stream]):
        yield


def _tokens(
    steps: Iterator[tuple[int, mx.array]],
    tokenizer: TokenizerWrapper,
    prompt: Prompt,
    room: int,
    given: deque[mx.array] | None,
    top: int,
) -> Iterator[Token]:
    """The answer's tokens; `given` are the logits of each step as the model gave them, the oldest first."""
    text = _Text(tokenizer, after=None if prompt.chat_template_used else prompt.tokens[-1])
    begun = first = time.perf_counter()
    for number, (token, _) in enumerate(steps, start=1):
        if token == _NO_TOKEN:
            raise NonFiniteError(
                f"the model's logits are NaN or infinite at token {number} of the answer",
                hint="the weights of the model or the adapter are damaged, or overflow in their data type: "
                "get or train them again",
            )
        now = time.perf_counter()
        first = now if number == 1 else first
        is_end = token in tokenizer.eos_token_ids
        reason = "stop" if is_end else "length" if number == room else None
        yield Token(
            text=text.add(None if is_end else token, last=reason is not None),
            token_id=token,
            finish_reason=reason,
            prompt_tokens=len(prompt.tokens),
            tokens=number,
            tokens_per_second=(number - 1) / (now - first) if number > 1 else 1 / (now - begun),
            likelihood=None if given is None else likelihoods(given.popleft(), [token], top)[0],
        )
        if reason is not None:
            return


class _Text:
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
    text = _Text(tokenizer, after)
    parts = [text.add(token, last=False) for token in tokens]
    return "".join([*parts, text.add(None, last=True)])


def generate_batch(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    prompts: Sequence[str | Sequence[Message] | Prompt],
    *,
    max_tokens: int = 256,
    batch_size: int = 16,
    use_chat_template: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The likeliest answer to each prompt, in order; several are generated at once, since memory is read once.

    `progress` is called with answers done and all. Raises as `generate` does.
    """
    from mlx_lm import batch_generate

    encoded = [
        prompt.tokens
        if isinstance(prompt, Prompt)
        else make_prompt(tokenizer, prompt, use_chat_template=use_chat_template).tokens
        for prompt in prompts
    ]
    # Prompts of like length share a batch, so that little of it is padding.
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    forbid = forbid_padding(tokenizer)
    answers = [""] * len(encoded)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        done = batch_generate(
            model,
            tokenizer,
            [encoded[index] for index in chosen],
            max_tokens=max_tokens,
            logits_processors=[lambda tokens, logits: forbid(logits)],
        )
        for index, text in zip(chosen, done.texts, strict=True):
            answers[index] = text
        if progress is not None:
            progress(start + len(chosen), len(order))
    return answers


def room_for(prompt: Sequence[int], max_tokens: int, context_length: int | None) -> int:
    """How many tokens an answer of at most `max_tokens` may have.

    Raises:
        ConfigError: the prompt is empty.
        PromptTooLong: it fills the context.
    """
    if not prompt:
        raise ConfigError("the prompt is empty", hint="write at least one word", field="prompt")
    if context_length is None:
        return max_tokens
    if len(prompt) + min(max_tokens, 1) > context_length:
        raise PromptTooLong(
            f"the prompt has {len(prompt):,} tokens, and the model's context is {context_length:,}",
            hint="shorten it, or start a new conversation",
            field="prompt",
        )
    return min(max_tokens, context_length - len(prompt))


def _sampler(sampling: Sampling) -> Callable[[mx.array], mx.array]:
    """Log-probabilities (1, vocabulary) -> token (1,), or `_NO_TOKEN`.

    They are normalised, so that one NaN or infinite logit makes all of them NaN.
    """
    choose = _chooser(sampling)
    return lambda logprobs: mx.where(mx.isnan(logprobs).any(axis=-1), _NO_TOKEN, choose(logprobs).astype(mx.int32))


def _chooser(sampling: Sampling) -> Callable[[mx.array], mx.array]:
    """Log-probabilities (1, vocabulary) -> token (1,)."""
    from mlx_lm import sample_utils

    if sampling.temperature == 0:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    warmth = max(sampling.temperature, COLDEST)
    key = mx.random.key(sampling.seed if sampling.seed is not None else secrets.randbits(63))

    def draw(logprobs: mx.array) -> mx.array:
        nonlocal key
        key, now = mx.random.split(key)
        if sampling.top_p < 1:
            logprobs = sample_utils.apply_top_p(logprobs, sampling.top_p)
        if sampling.min_p > 0:
            logprobs = sample_utils.apply_min_p(logprobs, sampling.min_p)
        if 0 < sampling.top_k < logprobs.shape[-1]:
            logprobs = sample_utils.apply_top_k(logprobs, sampling.top_k)
        return mx.random.categorical(logprobs / warmth, key=now)

    return draw


Processor = Callable[[mx.array, mx.array], mx.array]
"""(all tokens so far, logits (1, vocabulary)) -> logits."""


def _processors(
    sampling: Sampling,
    tokenizer: TokenizerWrapper,
    prompt: Sequence[int],
    *,
    read: int,
    given: deque[mx.array] | None,
) -> list[Processor]:
    """What changes the logits before a token is drawn; first of all, `given` keeps them as they were."""
    from mlx_lm import sample_utils

    made: list[Processor] = []
    if sampling.repetition_penalty != 1:
        made += sample_utils.make_logits_processors(
            repetition_penalty=sampling.repetition_penalty, repetition_context_size=REPETITION_WINDOW
        )
    if sampling.presence_penalty or sampling.frequency_penalty:
        made.append(_penalty(sampling.presence_penalty, sampling.frequency_penalty, len(prompt)))
    if made and read:
        made = [_after(mx.array(list(prompt[:read])), each) for each in made]
    if sampling.logit_bias:
        made.append(_bias(sampling.logit_bias))
    forbid = forbid_padding(tokenizer)
    made.append(lambda _, logits: forbid(logits))
    return made if given is None else [_keep(given), *made]


def _keep(given: deque[mx.array]) -> Processor:
    def keep(_: mx.array, logits: mx.array) -> mx.array:
        given.append(mx.array(logits))  # a copy: mlx-lm changes what it is given in place
        return logits

    return keep


def _after(read: mx.array, processor: Processor) -> Processor:
    """`processor` with the tokens before those that mlx-lm knows of, which were read before."""
    return lambda tokens, logits: processor(mx.concatenate([read, tokens]), logits)


def _bias(bias: Mapping[int, float]) -> Processor:
    tokens, values = mx.array(list(bias)), mx.array(list(bias.values()))
    return lambda _, logits: logits.at[:, tokens].add(values.astype(logits.dtype))


def _penalty(presence: float, frequency: float, prompt_length: int) -> Processor:
    def lower(tokens: mx.array, logits: mx.array) -> mx.array:
        answer = tokens[prompt_length:]
        if answer.size == 0:
            return logits
        times = mx.zeros(logits.shape[-1], logits.dtype).at[answer].add(1)
        return logits - presence * (times > 0) - frequency * times

    return lower
