"""A folder for `ollama create`: a GGUF file, and a Modelfile with the template in Ollama's own language.

Ollama does not run a model's Jinja. So the chat template is rendered with marked words, which shows what stands
before, between and behind the turns; those pieces make a template for Ollama. It is used only if it writes
conversations of every shape as the chat template does; else the Modelfile has none, and says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from droidft.models.files import read_json
from droidft.models.gguf.tensors import Weights
from droidft.models.gguf.write import Written, write_gguf
from droidft.models.templates import DEFAULT, chat_templates, rendered
from droidft.support.durable import storage_errors, write_atomically
from droidft.support.progress import Progress

MODELFILE = "Modelfile"
_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
"""Settings of `generation_config.json` -> Ollama's."""
_QUOTES = '"""'
Message = Mapping[str, str]


@dataclass(frozen=True)
class OllamaFolder:
    """A finished folder."""

    gguf: Written
    modelfile: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Turns:
    """What a chat template writes around the texts of a conversation whose last turn is the user's."""

    opening: str
    """Before the first user's text, where there is no system's."""
    system: tuple[str, str]
    """Before a system's text, and between it and the first user's."""
    answer: str
    """Between a user's text and the answer to it."""
    prompt: str
    """Behind the last user's text."""
    following: str
    """Between an answer and the next user's text."""

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as these pieces write it; a system's turn only in the first place."""
        first, *rest = messages
        if first["role"] == "system":
            text = self.system[0] + first["content"] + self.system[1]
        else:
            text, rest = self.opening, [first, *rest]
        for at, turn in enumerate(rest):
            between = self.following if turn["role"] == "assistant" else self.answer
            text += turn["content"] + (self.prompt if at + 1 == len(rest) else between)
        return text

    def in_go(self) -> str:
        """The template in the language of Ollama's `TEMPLATE`, that of Go."""
        before, behind = map(_literal, self.system)
        opening, answer, prompt, following = map(_literal, (self.opening, self.answer, self.prompt, self.following))
        return (
            f"{{{{ if .System }}}}{before}{{{{ .System }}}}{behind}{{{{ else }}}}{opening}{{{{ end }}}}"
            "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            '{{ if eq .Role "user" }}{{ .Content }}'
            f"{{{{ if $last }}}}{prompt}{{{{ else }}}}{answer}{{{{ end }}}}"
            '{{ else if eq .Role "assistant" }}{{ .Content }}'
            f"{{{{ if not $last }}}}{following}{{{{ end }}}}"
            "{{ end }}{{ end }}"
        )


def write_ollama(
    base: Path,
    weights: Weights,
    target: Path,
    *,
    kind: str,
    name: str,
    ends: Iterable[int] = (),
    variables: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> OllamaFolder:
    """Fill the empty folder `target` with a GGUF file called `name` and its Modelfile.

    Args:
        variables: of the chat template, as rows were trained with, such as `enable_thinking`.
        kind, ends, progress: as `write_gguf` takes them.

    Raises:
        ModelError, StorageError: as `write_gguf` does.
    """
    written = write_gguf(base, weights, target / f"{name}.gguf", kind=kind, ends=ends, progress=progress)
    modelfile, warnings = _modelfile(base, written, variables or {})
    with storage_errors(target, again="export again"):
        write_atomically(target / MODELFILE, modelfile.encode())
    return OllamaFolder(written, modelfile, [*written.warnings, *warnings])


def _modelfile(base: Path, written: Written, variables: Mapping[str, Any]) -> tuple[str, list[str]]:
    metadata = written.metadata
    lines, warnings = [f"FROM ./{written.path.name}"], []
    template = chat_templates(base).used().get(DEFAULT)
    if template is None:
        lines.append(f"TEMPLATE {_QUOTES}{{{{ .Prompt }}}}{_QUOTES}")
    else:
        turns, why = turns_of(template, {**_special(metadata), **variables}, first=_first(metadata))
        if turns is not None:
            lines.append(f"TEMPLATE {_QUOTES}{turns.in_go()}{_QUOTES}")
        if why:
            warnings.append(why)
            lines.append(f"# {why}")
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in _stops(written)]
    lines += [f"PARAMETER {setting} {value:g}" for setting, value in _settings(base, metadata)]
    return "\n".join(lines) + "\n", warnings


def turns_of(template: str, variables: Mapping[str, Any], *, first: str = "") -> tuple[Turns | None, str]:
    """The pieces of a chat template, and a sentence where they differ from it or there are none.

    `first` is the token that readers put before every text: the pieces do not have it.
    """
    marks = [f"Qx{at}droidft{at}xQ" for at in range(6)]
    turns = _found(template, variables, first, marks)
    if turns is None:
        return None, _without("does not write each turn once and in order")
    with_system = _rendered(template, _conversation(marks[:2], system=True), variables, first)
    for count in (1, 3, 5):
        if _rendered(template, _conversation(marks[:count]), variables, first) != turns.render(
            _conversation(marks[:count])
        ):
            return None, _without("writes some turns in other ways than the rest")
        systematic = _conversation(marks[: count + 1], system=True)
        if with_system is not None and _rendered(template, systematic, variables, first) != turns.render(systematic):
            return None, _without("writes a system's turn in another place where a conversation is longer")
    if any(_QUOTES in piece for piece in (turns.opening, *turns.system, turns.answer, turns.prompt, turns.following)):
        return None, _without(f"writes {_QUOTES}, which ends a text in a Modelfile")
    remarks = []
    if with_system is None:
        remarks.append(
            "the chat template takes no system turn; Ollama puts a system's text before the first user's, as "
            "`system_role: fold` does"
        )
    if "strftime_now" in template:
        remarks.append("the chat template writes today's date; the Modelfile has that of the export")
    return turns, "; ".join(remarks)


def _without(why: str) -> str:
    return (
        f"the chat template {why}, which Ollama's language cannot say: the Modelfile has no TEMPLATE, and Ollama "
        "takes one of its own; check an answer, or use the file with llama.cpp, which runs the template itself"
    )


def _found(template: str, variables: Mapping[str, Any], first: str, marks: Sequence[str]) -> Turns | None:
    asked, answered, again = marks[:3]
    pieces = _pieces(_rendered(template, _conversation(marks[:3]), variables, first), (asked, answered, again))
    alone = _pieces(_rendered(template, _conversation(marks[:1]), variables, first), (asked,))
    if pieces is None or alone is None:
        return None
    opening, answer, following, _ = pieces
    text = _rendered(template, _conversation(marks[:2], system=True), variables, first)
    if text is None:
        return Turns(alone[0], (opening, "\n\n"), answer, alone[1], following)
    system = _pieces(text, (asked, answered))
    if system is None:
        return None
    return Turns(alone[0], (system[0], system[1]), answer, alone[1], following)


def _conversation(texts: Sequence[str], *, system: bool = False) -> list[dict[str, str]]:
    roles = ["system", "user"] if system else ["user"]
    while len(roles) < len(texts):
        roles.append("assistant" if roles[-1] == "user" else "user")
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def _rendered(template: str, messages: Sequence[Message], variables: Mapping[str, Any], first: str) -> str | None:
    text = rendered(template, messages, variables)
    return None if text is None else text.removeprefix(first)


def _pieces(text: str | None, marks: Sequence[str]) -> list[str] | None:
    """What stands around the marks; None where they do not stand there once each, in order."""
    if text is None or any(text.count(mark) != 1 for mark in marks):
        return None
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            return None
        pieces.append(before)
    return [*pieces, text]


def _literal(text: str) -> str:
    """Text as it stands in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _special(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens under the names that chat templates know."""
    names = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    tokens = metadata["tokenizer.ggml.tokens"]
    held = {name: metadata.get(f"tokenizer.ggml.{short}_token_id") for short, name in names.items()}
    return {name: tokens[index] for name, index in held.items() if index is not None}


def _first(metadata: Mapping[str, Any]) -> str:
    return _special(metadata).get("bos_token", "") if metadata.get("tokenizer.ggml.add_bos_token") else ""


def _stops(written: Written) -> list[str]:
    """Texts of the tokens that end an answer. Ollama knows them from the file; older versions know the first only."""
    return [end for end in written.ends if '"' not in end and end.strip()]


def _settings(base: Path, metadata: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What the makers advise, and the context up to which longrope's short factors hold."""
    settings: list[tuple[str, float]] = []
    if (base / "generation_config.json").is_file():
        advice = read_json(base / "generation_config.json")
        sampled = advice.get("do_sample") is not False
        given = [(setting, advice.get(name)) for name, setting in _PARAMETERS.items() if sampled]
        settings = [(setting, value) for setting, value in given if _is_number(value)]
    architecture = metadata["general.architecture"]
    if f"{architecture}.rope.scaling.attn_factor" in metadata:
        settings.append(("num_ctx", float(metadata[f"{architecture}.rope.scaling.original_context_length"])))
    return settings


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
