"""Reads a folder by mlx-lm's own loader, without our corrections: what somebody gets who opens the export there.

Runs as a process of its own: `droidft.adapters.exports.readers.child` says how it is asked. On a CPU it computes in
float32, since bfloat16 is wrong and slow there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from droidft.adapters.exports.readers.child import Progress, Result, serve
from droidft.adapters.exports.readers.reading import Kept, Read, Request, Subject, chunks, nll


def read_all(subjects: list[Subject], request: Request, progress: Progress) -> Iterator[Result]:
    """Read each subject; its adapter, if any, is one in mlx-lm's format."""
    from mlx_lm import load

    for subject in subjects:
        adapter = None if subject.adapter is None else str(subject.adapter)
        model: Any
        model, tokenizer, *_ = load(str(subject.model), adapter_path=adapter)
        if mx.default_device() == mx.Device(mx.cpu):
            model.set_dtype(mx.float32)
        yield _read(model.eval(), tokenizer, request, progress)
        del model, tokenizer
        mx.clear_cache()


def _read(model: Any, tokenizer: Any, request: Request, progress: Progress) -> Result:
    kept, losses = Kept(request), []
    for number, row in enumerate(request.rows):
        out = model(mx.array([row.tokens[:-1]]))[0]
        total, wanted = 0.0, row.wanted
        for part in chunks(row.targets):
            logits = np.array(out[mx.array(row.targets[part]) - 1].astype(mx.float32))
            total += nll(logits, wanted[part])
            kept.take(number, part, logits)
        losses.append(total)
        progress()
    answers = [_answer(model, prompt, request, progress) for prompt in request.prompts]
    conversations = [list(tokenizer.encode(text, add_special_tokens=False)) for text in request.conversations]
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    return Read(losses=losses, conversations=conversations, answers=answers, template=template), kept.logits


def _answer(model: Any, prompt: list[int], request: Request, progress: Progress) -> list[int]:
    """The likeliest token again and again."""
    from mlx_lm.generate import generate_step

    def used(_: mx.array, logits: mx.array) -> mx.array:
        return logits.at[:, mx.array(request.unused)].add(-mx.inf) if request.unused else logits

    drawn = []
    steps = generate_step(mx.array(prompt), model, max_tokens=request.max_tokens, logits_processors=[used])
    for token, _ in steps:
        drawn.append(int(token))
        if drawn[-1] in request.ends:
            break
    progress()
    return drawn


if __name__ == "__main__":
    serve(read_all, ["mlx-lm"])
