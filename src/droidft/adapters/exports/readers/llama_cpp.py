"""Reads a GGUF file, and a GGUF LoRA on it, by llama.cpp: a reader that is not ours.

Runs as a process of its own, where `xllamacpp` is installed: `child.py` says how it is asked. Every position that is
asked for is read; weights have the file's types, so products with them are as exact as llama.cpp's are (activations
are rounded to 16 bits for F16, to 8 bits for quantised tensors).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from droidft.adapters.exports.readers.child import Progress, Result, serve
from droidft.adapters.exports.readers.llama_library import Library, Model
from droidft.adapters.exports.readers.reading import Kept, Read, Request, Subject, chunks, likeliest, nll


def read_all(subjects: list[Subject], request: Request, progress: Progress) -> Iterator[Result]:
    """Read each subject; a model that the next one needs again is kept, with its adapter put on.

    Raises:
        ValueError: a file does not load or fit, with llama.cpp's reason.
        UnknownLayout: the installed build is not known.
    """
    library = Library()
    longest = max(
        [len(row.tokens) for row in request.rows] + [len(it) + request.max_tokens for it in request.prompts]
    )
    loaded: tuple[Path, Model] | None = None
    for subject in subjects:
        if loaded is None or loaded[0] != subject.model:
            if loaded is not None:
                loaded[1].close()
            loaded = subject.model, Model(library, subject.model, context=longest, threads=request.threads)
        model = loaded[1]
        if subject.adapter is not None:
            model.put(subject.adapter)
        yield _read(model, request, progress)


def _read(model: Model, request: Request, progress: Progress) -> Result:
    kept, losses = Kept(request), []
    for number, row in enumerate(request.rows):
        total, wanted = 0.0, row.wanted
        model.forget()
        read = 0
        for part in chunks(row.targets):
            at = [target - 1 for target in row.targets[part]]
            tokens = row.tokens[read : at[-1] + 1]
            logits = model.decode(tokens, at=read, wanted=[place - read for place in at])
            total += nll(logits, wanted[part])
            kept.take(number, part, logits)
            read = at[-1] + 1
        losses.append(total)
        progress()
    answers = [_answer(model, prompt, request, progress) for prompt in request.prompts]
    conversations = [model.tokenize(text) for text in request.conversations]
    template = model.template if request.conversations else None
    return Read(losses=losses, conversations=conversations, answers=answers, template=template), kept.logits


def _answer(model: Model, prompt: list[int], request: Request, progress: Progress) -> list[int]:
    """The likeliest token again and again."""
    model.forget()
    drawn: list[int] = []
    inputs, read = prompt, 0
    while len(drawn) < request.max_tokens:
        logits = model.decode(inputs, at=read, wanted=[len(inputs) - 1])
        read += len(inputs)
        drawn.append(likeliest(logits[0], request.unused))
        if drawn[-1] in request.ends:
            break
        inputs = drawn[-1:]
    progress()
    return drawn


if __name__ == "__main__":
    serve(read_all, ["xllamacpp"])
