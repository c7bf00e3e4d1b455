"""llama.cpp as an independent reader of GGUF files, in a process of its own: it aborts where it finds a fault.

    python -m tests.models.gguf.llama_cpp < request.json > answer.json

Needs `xllamacpp`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

MINUTES = 10


def ask(model: Path, *, lora: Path | None = None, **wanted: Any) -> dict[str, Any]:
    """What llama.cpp makes of a file: `texts` to tokens, `tokens` to log-probabilities, `prompts` to texts."""
    pytest.importorskip("xllamacpp", reason="llama.cpp (xllamacpp) is not installed")
    request = {"model": str(model), "lora": str(lora) if lora else None, **wanted}
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.gguf.llama_cpp"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, f"llama.cpp ended with {done.returncode}: {done.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def log_probabilities(
    model: Path, tokens: Sequence[int], rows: int, *, lora: Path | None = None, context: int = 256
) -> np.ndarray:
    """Of every token of the vocabulary after each position, shape (positions, rows).

    `context` decides on longrope's factors: llama.cpp takes the long ones beyond the original context length.
    """
    answer = ask(model, lora=lora, context=context, tokens=list(tokens), rows=rows)
    return np.array(answer["log_probabilities"])


def _main() -> None:
    import xllamacpp

    request = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.n_ctx, params.n_parallel, params.warmup = request.get("context", 256), 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.verbosity = 0
    if request["lora"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(request["lora"], 1.0)]
    server = xllamacpp.Server(params)
    answer: dict[str, Any] = {}
    if texts := request.get("texts"):
        answer["tokens"] = [_tokens(server.listening_address, text) for text in texts]
    if tokens := request.get("tokens"):
        letter = _tokens(server.listening_address, "a")[-1]
        prompts = [tokens[: at + 1] for at in range(len(tokens))]
        answer["log_probabilities"] = [_after(server, prompt, request["rows"], letter) for prompt in prompts]
    if questions := request.get("prompts"):
        answer["texts"] = [_continued(server, prompt, request["n_predict"]) for prompt in questions]
    print()
    print(json.dumps(answer), flush=True)


def _tokens(address: str, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    request = Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        tokens: list[int] = json.load(response)["tokens"]
    return tokens


def _after(server: Any, tokens: list[int], rows: int, letter: int) -> list[float]:
    # Probabilities are those before sampling, and are not told of a token that ends the text or breaks a character.
    settings = {"n_predict": 1, "n_probs": rows, "temperature": 0.0, "cache_prompt": False}
    answer = server.handle_completions({"prompt": tokens, "logit_bias": [[letter, 1000.0]], **settings})
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    found = {each["id"]: each["logprob"] for each in top}
    return [found[index] for index in range(rows)]


def _continued(server: Any, prompt: Any, length: int) -> str:
    answer = server.handle_completions({"prompt": prompt, "n_predict": length, "temperature": 0.0})
    text: str = answer["choices"][0]["text"]
    return text


if __name__ == "__main__":
    _main()
