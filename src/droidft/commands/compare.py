"""`droidft compare`: the same prompts answered by the base and by each adapter, side by side."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter
from droidft.commands._answers import add_options, loaded_base, options_from, sampling_from, show_details
from droidft.commands._terminal import add_json, consoles, line, print_json
from droidft.data.conversation import checked_turns
from droidft.data.fields import is_sharegpt
from droidft.errors import DataError
from droidft.home import Home
from droidft.support.faults import Refused
from droidft.support.plain import safe

if TYPE_CHECKING:
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.batch import Token
    from droidft.engine.generation.loaded import AdapterDetails, LoadedModel
    from droidft.engine.generation.sampling import Sampling

SIDE_BY_SIDE_WIDTH = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft compare`."""
    parser.add_argument("--model", required=True, metavar="MODEL", help="folder, name or hub id of the base model")
    parser.add_argument(
        "--adapter",
        action="append",
        required=True,
        metavar="ADAPTER",
        help="folder or name (its best weights), or name@latest, name@200; give it again for more",
    )
    prompts = parser.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompt", action="append", metavar="TEXT", help="a prompt; give it again for more")
    prompts.add_argument(
        "--prompts",
        metavar="FILE",
        help="a text file with a prompt in each line, or JSONL with `prompt` or `messages`",
    )
    add_json(parser)
    add_options(parser, temperature=0.0)


def run(args: argparse.Namespace) -> int:
    """Answer every prompt with every arm."""
    home = Home.find()
    console, errors = consoles(as_json=args.json)
    sampling = sampling_from(args, errors)
    prompts = _read_prompts(Path(args.prompts)) if args.prompts else list(args.prompt)
    adapters = [read_adapter(*find_adapter(ref, adapters_dir=home.adapters)) for ref in args.adapter]
    with loaded_base(args.model, home, errors, offline=args.offline) as model:
        templated = not args.raw and model.tokenizer.has_chat_template
        arms = [Arm("base", None), *(Arm(label, info) for label, info in zip(args.adapter, adapters, strict=True))]
        for arm in arms:  # all of them first, so that one that does not fit is reported before any answer
            if arm.info is not None:
                model.check_base(arm.info, allow_mismatch=args.allow_mismatch)
            details = model.use(arm.info)
            arm.details = None if details is None else details.asked(chat_template_used=templated)
            # The base alone is asked as the first adapter was trained.
            arm.options = options_from(args, model, arm.info or adapters[0])
            show_details(arm.details, errors)
        show = _quietly if args.json else _beside if console.width >= SIDE_BY_SIDE_WIDTH else _stacked
        answers = []
        for prompt in prompts:
            for arm in arms:
                arm.tokens = []
            show(console, Question(model, arms, prompt, sampling, not args.raw))
            answers.append({"prompt": prompt, "answers": [arm.as_dict() for arm in arms]})
    if args.json:
        described = [{"arm": arm.label, "adapter": arm.details.as_dict() if arm.details else None} for arm in arms]
        result = {"model": args.model, "sampling": asdict(sampling), "arms": described, "prompts": answers}
        print_json(result)
    return 0


@dataclass
class Arm:
    """The base or an adapter, and its answer to the current prompt."""

    label: str
    info: AdapterInfo | None
    details: AdapterDetails | None = None
    options: TemplateOptions | None = None
    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(token.text for token in self.tokens)

    def as_dict(self) -> dict[str, Any]:
        """The answer with its length and end."""
        last = self.tokens[-1] if self.tokens else None
        return {
            "arm": self.label,
            "response": self.text,
            "tokens": last.tokens if last else 0,
            "finish_reason": last.finish_reason if last else None,
        }


@dataclass(frozen=True)
class Question:
    """A prompt for all arms."""

    model: LoadedModel
    arms: list[Arm]
    prompt: Any
    sampling: Sampling
    use_chat_template: bool

    def ask(self, arm: Arm) -> Any:
        """Answer with one arm; yields after every token."""
        self.model.switch(arm.info)
        templated = self.use_chat_template and self.model.tokenizer.has_chat_template
        for token in self.model.answer(self.prompt, self.sampling, use_chat_template=templated, options=arm.options):
            arm.tokens.append(token)
            yield token


def _quietly(console: Console, question: Question) -> None:
    for arm in question.arms:
        for _ in question.ask(arm):
            pass


def _stacked(console: Console, question: Question) -> None:
    line(console, f"\n> {safe(_as_text(question.prompt))}", style="bold")
    for arm in question.arms:
        console.rule(arm.label, align="left", characters="─")
        for token in question.ask(arm):
            console.out(safe(token.text), end="")
        console.print()


def _beside(console: Console, question: Question) -> None:
    line(console, f"\n> {safe(_as_text(question.prompt))}", style="bold")
    if not console.is_terminal:
        _quietly(console, question)
        console.print(_columns(question.arms))
        return
    with Live(_columns(question.arms), console=console, refresh_per_second=8) as live:
        for arm in question.arms:
            for _ in question.ask(arm):
                live.update(_columns(question.arms))


def _columns(arms: list[Arm]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for arm in arms:
        table.add_column(Text(arm.label), ratio=1, overflow="fold")
    table.add_row(*(Text(safe(arm.text)) for arm in arms))
    return table


def _as_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _read_prompts(path: Path) -> list[Any]:
    """One prompt a line; a JSONL row gives its `prompt`, or its `messages` up to the last answer."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    numbered = [(number, text) for number, text in enumerate(lines, start=1) if text.strip()]
    if not numbered:
        raise DataError(f"{path} holds no prompts", hint="write one in each line")
    if path.suffix != ".jsonl":
        return [text for _, text in numbered]
    return [_row_prompt(path, number, text) for number, text in numbered]


def _row_prompt(path: Path, number: int, text: str) -> Any:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number} is not JSON: {error}") from error
    if isinstance(row, dict) and isinstance(row.get("prompt"), str):
        return row["prompt"]
    turns = row.get("messages", row.get("prompt")) if isinstance(row, dict) else None
    if not isinstance(turns, list):
        raise DataError(f"{path}:{number} has neither a `prompt` nor `messages`")
    try:
        messages = checked_turns(turns, "messages", by_from=is_sharegpt(turns))
    except Refused as why:
        raise DataError(f"{path}:{number} {why.reason}", hint=why.fix) from None
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if not messages:
        raise DataError(f"{path}:{number} asks nothing")
    return messages
