"""Our own reader: what base, base + adapter, or exported files read back make of the rows of a certificate.

`request_of` says what is asked, `read` answers it as the readers of `droidft.adapters.exports.readers` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
import numpy as np

import droidft
from droidft.adapters.exports.readers.reading import Kept, Read, Reading, Request, Row, chunks, nll, shown_of
from droidft.data.codec import Codec
from droidft.data.tokens import TokenizedRow, TokenSet
from droidft.engine.evaluation.unseen import as_text
from droidft.engine.generation.generate import complete, wired
from droidft.engine.generation.prompt import Prompt
from droidft.engine.generation.sampling import Sampling
from droidft.engine.machine import host
from droidft.engine.model.loss import SplitModel
from droidft.engine.training.method import Interrupted

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

ANSWERED = 8
"""Rows whose beginning is answered greedily."""
ANSWER_TOKENS = 32
OURS = f"droidft {droidft.__version__}"

Progress = Callable[[int, int], None]
"""Called with rows and answers done, and all."""


def logits_of(model: nn.Module) -> int:
    """Number of logits that a model gives for a token; nothing is computed."""
    return int(model(mx.array([[0]])).shape[-1])


def request_of(
    rows: TokenSet,
    tokenizer: TokenizerWrapper,
    *,
    vocabulary: int,
    answered: int = ANSWERED,
    max_tokens: int = ANSWER_TOKENS,
) -> Request:
    """What is asked about each model: the loss of `rows`, some logits, their text as tokens, and greedy answers.

    `vocabulary` is the number of logits, of which some may belong to no token.
    """
    asked = [Row(tokens=row.tokens.tolist(), targets=_targets(row)) for row in rows]
    return Request(
        rows=asked,
        shown=shown_of([len(row.targets) for row in asked]),
        conversations=as_text(Codec(tokenizer), rows),
        prompts=[_beginning(row) for row in asked[:answered]],
        max_tokens=max_tokens,
        ends=sorted(tokenizer.eos_token_ids),
        unused=_unused(tokenizer, vocabulary),
        threads=host.threads(),
    )


def read(
    model: nn.Module,
    tokenizer: TokenizerWrapper,
    request: Request,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda done, total: None,
) -> Reading:
    """Read with what is on `model` now, in evaluation mode; one row at a time.

    Raises:
        Interrupted: `should_stop` returned True.
    """
    training = model.training
    model.eval()
    total = len(request.rows) + len(request.prompts)
    try:
        split, kept, losses = SplitModel(model), Kept(request), []
        for number, row in enumerate(request.rows):
            if should_stop():
                raise Interrupted
            losses.append(_row(split, row, number, kept))
            progress(number + 1, total)
        answers = []
        for prompt in request.prompts:
            if should_stop():
                raise Interrupted
            answers += greedy(model, tokenizer, [prompt], max_tokens=request.max_tokens)
            progress(len(request.rows) + len(answers), total)
    finally:
        model.train(training)
    conversations = [encoding.ids for encoding in Codec(tokenizer).encode_rendered(request.conversations)]
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    answered = Read(losses=losses, conversations=conversations, answers=answers, template=template)
    return Reading(OURS, request, answered, kept.logits)


def greedy(
    model: nn.Module, tokenizer: TokenizerWrapper, prompts: Sequence[list[int]], *, max_tokens: int
) -> list[list[int]]:
    """The likeliest tokens after each prompt, the one that ends the answer included."""
    sampling = Sampling(max_tokens=max_tokens, temperature=0)
    with wired(model):
        return [
            [token.token_id for token in complete(model, tokenizer, Prompt(prompt, False), sampling)]
            for prompt in prompts
        ]


def _row(model: SplitModel, row: Row, number: int, kept: Kept) -> float:
    """The summed loss of a row in nats; logits that are to be shown are kept."""
    hidden = model.backbone(mx.array([row.tokens[:-1]]))[0]
    mx.eval(hidden)
    total, wanted = 0.0, row.wanted
    for part in chunks(row.targets):
        at = mx.array(row.targets[part]) - 1
        logits = np.array(model.head(hidden[at]).astype(mx.float32))
        total += nll(logits, wanted[part])
        kept.take(number, part, logits)
    return total


def _targets(row: TokenizedRow) -> list[int]:
    targets: list[int] = np.flatnonzero(row.supervised).tolist()
    return targets


def _unused(tokenizer: TokenizerWrapper, vocabulary: int) -> list[int]:
    return sorted(set(range(vocabulary)) - set(tokenizer.get_vocab().values()))


def _beginning(row: Row) -> list[int]:
    """What is before a row's first target; of a row that is all target, its first half."""
    first = row.targets[0] if row.targets else len(row.tokens)
    return row.tokens[: first if first > 1 else max(1, len(row.tokens) // 2)]
