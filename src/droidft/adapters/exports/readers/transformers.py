"""Reads a Hugging Face folder by transformers, and an adapter on it by PEFT, in float32: a reader that is not ours.

Runs as a process of its own, where torch is installed: `child.py` says how it is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from droidft.adapters.exports.readers.child import Progress, Result, serve
from droidft.adapters.exports.readers.reading import Kept, Read, Request, Subject, chunks, likeliest, nll


def read_all(subjects: list[Subject], request: Request, progress: Progress) -> Iterator[Result]:
    """Read each subject; a model that the next one needs again is kept.

    Raises:
        ValueError: files lack tensors or have others, or an adapter has no place on the model.
    """
    torch.set_num_threads(request.threads)
    loaded: tuple[Path, Any] | None = None
    for subject in subjects:
        if loaded is None or loaded[0] != subject.model:
            loaded = None  # the one before is freed first
            loaded = subject.model, load(subject.model)
        model = loaded[1]
        if subject.adapter is not None:
            model = put_on(model, subject.adapter)
            loaded = None  # PEFT has changed the base's modules
        yield _read(model, subject, request, progress)


def load(folder: Path) -> Any:
    """The model of a folder, every tensor from its files."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    auto: Any = transformers.AutoModelForCausalLM
    if hasattr(config, "vision_config") or type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        auto = transformers.AutoModelForImageTextToText
    model, about = auto.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if faults := {kind: sorted(map(str, names))[:4] for kind, names in about.items() if names}:
        raise ValueError(f"the files do not fit transformers' model: {faults}")
    return model.eval()


def put_on(model: Any, adapter: Path) -> Any:
    """The model with a PEFT adapter on it, every factor in its place.

    Raises:
        ValueError: PEFT leaves out a part of the adapter, about which it says nothing by itself.
    """
    from peft import PeftModel

    adapted: Any = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
    again = adapted.load_adapter(str(adapter), "default", local_files_only=True)
    for keys, what in ((again.unexpected_keys, "has no place for"), (again.missing_keys, "misses")):
        if of_adapter := [key for key in keys if "lora_" in key]:
            raise ValueError(f"PEFT {what} {len(of_adapter)} tensors of the adapter, such as {of_adapter[0]}")
    return adapted.eval()


def _read(model: Any, subject: Subject, request: Request, progress: Progress) -> Result:
    kept, losses = Kept(request), []
    narrow = "logits_to_keep" in inspect.signature(_innermost(model).forward).parameters
    with torch.inference_mode():
        for number, row in enumerate(request.rows):
            total, wanted = 0.0, row.wanted
            for part, logits in _logits(model, row.tokens, row.targets, narrow=narrow):
                total += nll(logits, wanted[part])
                kept.take(number, part, logits)
            losses.append(total)
            progress()
        answers = [_answer(model, prompt, request, progress) for prompt in request.prompts]
    conversations, template = _tokenized(subject.tokenizer or subject.model, request.conversations)
    read = Read(losses=losses, conversations=conversations, answers=answers, template=template)
    return read, kept.logits


def _innermost(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _logits(
    model: Any, tokens: list[int], targets: list[int], *, narrow: bool
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Logits (N, V) of the positions that predict the targets, part by part."""
    at = torch.tensor(targets) - 1
    inputs = torch.tensor([tokens[:-1]])
    if narrow:
        logits = model(input_ids=inputs, use_cache=False, logits_to_keep=at).logits[0]
    else:
        logits = model(input_ids=inputs, use_cache=False).logits[0, at]
    for part in chunks(targets):
        yield part, logits[part].float().numpy()


def _answer(model: Any, prompt: list[int], request: Request, progress: Progress) -> list[int]:
    """The likeliest token again and again; `generate` would apply what the folder says about sampling."""
    drawn: list[int] = []
    cache: Any = None
    inputs = prompt
    while len(drawn) < request.max_tokens:
        out = model(input_ids=torch.tensor([inputs]), past_key_values=cache, use_cache=True)
        drawn.append(likeliest(out.logits[0, -1].float().numpy(), request.unused))
        if drawn[-1] in request.ends:
            break
        cache = getattr(out, "past_key_values", None)
        inputs = drawn[-1:] if cache is not None else [*prompt, *drawn]
    progress()
    return drawn


def _tokenized(folder: Path, texts: list[str]) -> tuple[list[list[int]], str | None]:
    if not texts:
        return [], None
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    template = tokenizer.chat_template
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return ids, template if isinstance(template, str) else None


if __name__ == "__main__":
    serve(read_all, ["transformers", "peft", "torch"])
