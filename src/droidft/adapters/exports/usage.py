"""How an export is used elsewhere, ready to copy: in a model card, in the terminal, in the browser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from droidft.models.hub import REPO_ID
from droidft.support.plain import safe
from droidft.support.shapes import shape

VLLM_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be, from its default on (vllm/config/lora.py)."""


@shape
class Way:
    """One program that the export is for."""

    program: str
    language: str
    """Of the code, as Markdown names it."""
    code: str


def ways(
    form: str, base: str, place: str, file: str | None = None, *, dora: bool = False, rank: int | None = None
) -> Sequence[Way]:
    """What to type in each program.

    `place` is the hub id or the folder of the export, `file` its GGUF file, `base` the hub id, the folder or else the
    name of the base model: other programs cannot find one by a name that it has here. An adapter with magnitudes
    (`dora`) is not for vLLM, which has none; a large `rank` needs a flag there.
    """
    name = _name(place)
    where, whole = shlex.quote(place), shlex.quote(f"{place.rstrip('/')}/{file}" if file else place)
    match form:
        case "peft":
            found = [Way("transformers + PEFT", "python", _peft(base, place))]
            if not dora and (rank or 0) <= VLLM_RANKS[-1]:
                serve = f"vllm serve {shlex.quote(_found(base))} --enable-lora --lora-modules {name}={where}"
                found.append(Way("vLLM", "sh", serve + _vllm_rank(rank)))
            return found
        case "merged":
            return [
                Way("transformers", "python", _transformers(place)),
                Way("vLLM", "sh", f"vllm serve {where}"),
                Way("mlx-lm", "sh", f"mlx_lm.chat --model {where}"),
            ]
        case "mlx":
            return [Way("mlx-lm", "sh", f"mlx_lm.chat --model {where}")]
        case "gguf-adapter":
            return [Way("llama.cpp", "sh", f"llama-server -m BASE.gguf --lora {whole}")]
        case "ollama":
            return [Way("Ollama", "sh", f"cd {where}\nollama create {name} -f Modelfile\nollama run {name}")]
        case _:
            return [Way("llama.cpp", "sh", f"llama-server -m {whole}")]


def usage(
    form: str, base: str, repo_id: str | None, file: str | None, *, dora: bool = False, rank: int | None = None
) -> str:
    """The same as Markdown, for who has the files from the hub."""
    if repo_id is not None and form in ("gguf", "gguf-adapter", "ollama"):
        fetch = f"hf download {shlex.quote(repo_id)} --local-dir {_name(repo_id)}"
        found = ways(form, base, _name(repo_id), file, dora=dora, rank=rank)
        found = [Way(each.program, each.language, f"{fetch}\n{each.code}") for each in found]
    else:
        found = ways(form, base, repo_id or "FOLDER", file, dora=dora, rank=rank)
    return "\n\n".join(f"{each.program}:\n\n{_fenced(each)}" for each in found)


def _vllm_rank(rank: int | None) -> str:
    """The flag for a rank above vLLM's own limit, which takes some numbers only."""
    if rank is None or rank <= VLLM_RANKS[0]:
        return ""
    return f" --max-lora-rank {next(each for each in VLLM_RANKS if each >= rank)}"


def _found(base: str) -> str:
    """Where other programs find the base model: a placeholder where only its name is known."""
    return base if REPO_ID.fullmatch(base) or base.startswith("/") else f"path/to/{base}"


def _peft(base: str, place: str) -> str:
    if not REPO_ID.fullmatch(base):
        # The adapter's own file gives the base by its name, which says nothing elsewhere.
        return (
            "from peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f"base = {_found(base)!r}\n"
            f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), {place!r})\n"
            "tokenizer = AutoTokenizer.from_pretrained(base)"
        )
    return (
        "from peft import AutoPeftModelForCausalLM\n"
        "from transformers import AutoTokenizer\n\n"
        f"model = AutoPeftModelForCausalLM.from_pretrained({place!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({base!r})"
    )


def _transformers(place: str) -> str:
    return (
        "from transformers import pipeline\n\n"
        f'generate = pipeline("text-generation", {place!r})\n'
        'print(generate([{"role": "user", "content": "Hello"}])[0]["generated_text"][-1]["content"])'
    )


def _name(place: str) -> str:
    """A plain name for what lies there, as servers give models."""
    last = place.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "-", last).strip("-.") or "model"


def _fenced(way: Way) -> str:
    """A block of code that nothing in it can end."""
    code = safe(way.code)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{fence}{way.language}\n{code}\n{fence}"
