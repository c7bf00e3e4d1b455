"""Chat templates as files: which of those that a model folder holds is used.

Folders keep templates in four places. In the order in which they count: `chat_template.jinja`, with named ones in
`additional_chat_templates/`; `chat_template` of `tokenizer_config.json`, one text or a list of named ones;
`chat_template.json`, which multimodal models have for their processor. Where two places give a name, the first
counts. Of several the one called `default` is used, and `tool_use` for conversations with tools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from droidft.errors import ModelError
from droidft.models.files import again, fault_of, read_json
from droidft.support import limits

TEMPLATE_SECONDS, TEMPLATE_BYTES = 5.0, 1 << 30
"""What one rendering of a conversation may take; a long one takes some milliseconds."""
TEMPLATES = "additional_chat_templates"
DEFAULT, TOOLS = "default", "tool_use"
_FAILURES = (TypeError, ValueError, KeyError, AttributeError, IndexError)
_SINGLE = "chat_template.jinja"


@dataclass(frozen=True)
class ChatTemplates:
    """The chat templates of a model folder, by name."""

    by_name: Mapping[str, str]
    sources: Mapping[str, str]
    """The file that each is from."""

    def used(self) -> dict[str, str]:
        """Those that are used, by name."""
        return {
            name: self.by_name[name] for name in (DEFAULT, TOOLS) if name in self.by_name and DEFAULT in self.by_name
        }

    @property
    def value(self) -> str | dict[str, str] | None:
        """What a tokenizer of transformers takes: the one template, or those by name; None without a default."""
        used = self.used()
        return used if len(used) > 1 else used.get(DEFAULT)

    def describe(self) -> str:
        """Which is used for what, in a line."""
        if not self.by_name:
            return "none; chat and conversations need one, plain text does not"
        if DEFAULT not in self.by_name:
            return f"none is used: there are {self._names()}, and none is called default; put one into {_SINGLE}"
        text = self.sources[DEFAULT]
        if TOOLS in self.by_name:
            text += f"; for conversations with tools {TOOLS} of {self.sources[TOOLS]}"
        others = sorted(self.by_name.keys() - {DEFAULT, TOOLS})
        return text + (f"; not used: {', '.join(others)}" if others else "")

    def _names(self) -> str:
        return ", ".join(sorted(self.by_name))


def chat_templates(path: Path) -> ChatTemplates:
    """The chat templates of the model folder `path`.

    Raises:
        ModelError: a file is damaged.
    """
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for source, templates in (
        *_jinja_files(path),
        ("tokenizer_config.json", _of_json(path / "tokenizer_config.json")),
        ("chat_template.json", _of_json(path / "chat_template.json")),
    ):
        for name, text in templates.items():
            if name not in found and text.strip():
                found[name], sources[name] = text, source
    if len(found) == 1:  # the only one, whatever it is called
        found, sources = {DEFAULT: next(iter(found.values()))}, {DEFAULT: next(iter(sources.values()))}
    return ChatTemplates(found, sources)


def rendering() -> AbstractContextManager[None]:
    """While a chat template runs: it is a program that came with the model, and may loop or ask for all memory.

    Raises:
        ModelError: it took too long or too much.
    """
    return limits.within(
        "the model's chat template",
        seconds=TEMPLATE_SECONDS,
        memory=TEMPLATE_BYTES,
        kind=ModelError,
        hint="get the model's tokenizer files again, or use another model",
    )


def rendered(template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str | None:
    """The conversation and the opening of the next answer as `template` writes them; None where it refuses them.

    `variables` are the template's own, such as `bos_token`.

    Raises:
        ModelError: it took too long or too much.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        with rendering():
            made: Any = render_jinja_template(
                [[dict(message) for message in messages]],
                chat_template=template,
                add_generation_prompt=True,
                **variables,
            )
    except (TemplateError, *_FAILURES):
        return None
    (texts, _) = made
    return str(texts[0])


def _jinja_files(path: Path) -> list[tuple[str, dict[str, str]]]:
    files = {DEFAULT: path / _SINGLE} if (path / _SINGLE).exists() or (path / _SINGLE).is_symlink() else {}
    files |= {file.stem: file for file in sorted(path.glob(f"{TEMPLATES}/*.jinja"))}
    return [(str(file.relative_to(path)), {name: _text(file)}) for name, file in files.items()]


def _text(file: Path) -> str:
    if fault := fault_of(file):
        if fault.problem.endswith("is empty"):
            return ""
        raise ModelError(f"{file.parent}: {fault.problem}", hint=fault.fix)
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read as UTF-8: {error}", hint=again(file.parent)) from error


def _of_json(file: Path) -> dict[str, str]:
    """The templates under `chat_template`: a text, texts by name, or a list of objects with name and template."""
    if not file.is_file():
        return {}
    value: Any = read_json(file).get("chat_template")
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        value = {one.get("name"): one.get("template") for one in value}
    if not isinstance(value, dict) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise ModelError(
            f"{file}: chat_template is {json.dumps(value, ensure_ascii=False)[:60]}",
            hint="it is a text, or a list of objects with name and template; get the file again",
        )
    return dict(value)
