"""Generate text: streamed for a person, in batches for scoring. `batch.Engine` makes the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import mlx.nn as nn

from droidft.data.template import TemplateOptions
from droidft.engine.generation.batch import Engine, Row, Token, room_for
from droidft.engine.generation.prompt import Message, Prompt, make_prompt
from droidft.engine.generation.sampling import Sampling

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper


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
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Token]:
    """Continue a prompt. What is on the model at each step makes that step's token.

    Several answers of one model may be made in turns; wrap them, or one, in `wired`. `reading` is called with prompt
    tokens read and all, before the first and after each part of the prompt; what it raises ends the generation.

    Raises:
        ModelError: the prompt is empty or fills the context; raised here, before the first token is asked for.
    """
    row = Row(prompt, sampling, room_for(prompt.tokens, sampling.max_tokens, context_length), reading=reading)
    return _tokens(Engine(model, tokenizer), row)


def _tokens(engine: Engine, row: Row) -> Iterator[Token]:
    engine.add(row)
    while not row.ended:
        for _, token in engine.step():
            yield token
    if row.error is not None:
        raise row.error


@contextmanager
def wired(model: nn.Module) -> Iterator[None]:
    """On Metal, keep the model's memory from being moved while answers are made; elsewhere nothing."""
    from mlx_lm.generate import generation_stream, wired_limit

    with wired_limit(model, [generation_stream]):
        yield


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
    encoded = [
        prompt if isinstance(prompt, Prompt) else make_prompt(tokenizer, prompt, use_chat_template=use_chat_template)
        for prompt in prompts
    ]
    engine = Engine(model, tokenizer, most_rows=batch_size)
    # The longest first, so that rows of like length share a batch, and memory is short at once or never.
    order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index].tokens))
    rows = [Row(encoded[index], Sampling(max_tokens=max_tokens), max_tokens) for index in order]
    for row in rows:
        engine.add(row)
    texts: dict[int, list[str]] = {id(row): [] for row in rows}
    done = 0
    while done < len(rows):
        before = done
        for row, token in engine.step():
            texts[id(row)].append(token.text)
        done = _ended(rows)
        if progress is not None and done > before:
            progress(done, len(rows))
    answers = [""] * len(rows)
    for index, row in zip(order, rows, strict=True):
        answers[index] = "".join(texts[id(row)])
    return answers


def _ended(rows: Sequence[Row]) -> int:
    """How many have; raises what ended one before its answer did."""
    for row in rows:
        if row.error is not None:
            raise row.error
    return sum(row.ended for row in rows)
