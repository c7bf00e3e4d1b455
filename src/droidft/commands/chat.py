"""`droidft chat`: talk to a model, with or without an adapter."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter
from droidft.commands._answers import add_options, loaded_base, options_from, sampling_from, show_details
from droidft.commands._terminal import add_json, consoles, line, print_json
from droidft.errors import ConfigError, ModelError
from droidft.home import Home
from droidft.support.plain import safe

if TYPE_CHECKING:
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.batch import Token
    from droidft.engine.generation.loaded import LoadedModel
    from droidft.engine.generation.sampling import Sampling

HELP = "/reset forgets the conversation, /exit leaves, Ctrl-C stops an answer"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft chat`."""
    parser.add_argument("--model", required=True, metavar="MODEL", help="folder, name or hub id of the base model")
    parser.add_argument(
        "--adapter", metavar="ADAPTER", help="folder or name; its best weights unless @latest or @200 chooses others"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="answer this one prompt and exit")
    parser.add_argument("--system", metavar="TEXT", help="a system message before the conversation")
    add_json(parser, "print the answer as JSON (with --prompt)")
    add_options(parser, temperature=0.7)


def run(args: argparse.Namespace) -> int:
    """Load, then answer once or converse."""
    if args.json and args.prompt is None:
        raise ConfigError("--json needs --prompt", hint="give the one prompt to answer")
    home = Home.find()
    _, errors = consoles(as_json=args.json)
    sampling = sampling_from(args, errors)
    # A missing or damaged adapter is reported before the model loads.
    info = read_adapter(*find_adapter(args.adapter, adapters_dir=home.adapters)) if args.adapter else None
    with loaded_base(args.model, home, errors, offline=args.offline) as model:
        return _chat(args, model, info, sampling, errors)


def _chat(
    args: argparse.Namespace, model: LoadedModel, info: AdapterInfo | None, sampling: Sampling, errors: Console
) -> int:
    if info is not None:
        model.check_base(info, allow_mismatch=args.allow_mismatch)
    details = model.use(info)
    templated = not args.raw and model.tokenizer.has_chat_template
    if details is not None:
        details = details.asked(chat_template_used=templated, system=args.system)
    show_details(details, errors)
    options = options_from(args, model, info)
    conversation = Conversation(model, sampling, args.system, templated, options)
    if args.prompt is None:
        return _converse(conversation, errors)
    text, last = _print_answer(conversation.answer(args.prompt), silent=args.json)
    if args.json:
        adapter = details.as_dict() if details else None
        print_json(_result(args.model, adapter, text, last, templated=templated))
    return 0


@dataclass
class Conversation:
    """The messages so far. Without a chat template every text stands for itself."""

    model: LoadedModel
    sampling: Sampling
    system: str | None
    use_chat_template: bool
    options: TemplateOptions | None = None

    def __post_init__(self) -> None:
        if self.system is not None and not self.use_chat_template:
            raise ConfigError("--system needs a chat template", hint="leave --system out, or put it into the text")
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages: list[dict[str, str]] = []
        if self.system is not None:
            self.messages.append({"role": "system", "content": self.system})

    def answer(self, text: str) -> Iterator[Token]:
        """Answer `text`; the conversation keeps both, even where the answer is stopped midway."""
        if not self.use_chat_template:
            yield from self.model.answer(text, self.sampling, use_chat_template=False, options=self.options)
            return
        messages = [*self.messages, {"role": "user", "content": text}]
        parts: list[str] = []
        try:
            for token in self.model.answer(messages, self.sampling, options=self.options):
                parts.append(token.text)
                yield token
        finally:
            if parts:
                self.messages = [*messages, {"role": "assistant", "content": "".join(parts)}]


def _converse(conversation: Conversation, errors: Console) -> int:
    """Read, answer, repeat, until the input ends."""
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() history and editing)
        line(errors, HELP, style="dim")
    while True:
        try:
            text = input("> " if interactive else "").strip()
        except (EOFError, KeyboardInterrupt):
            return 0
        if text == "/exit":
            return 0
        if text == "/reset":
            conversation.reset()
            continue
        if not text:
            continue
        try:
            _print_answer(conversation.answer(text))
        except ModelError as error:
            line(errors, f"error: {error.message} ({error.hint})", style="red")


def _print_answer(tokens: Iterator[Token], *, silent: bool = False) -> tuple[str, Token | None]:
    """Print as it comes; Ctrl-C ends this answer only."""

    parts: list[str] = []
    last = None
    try:
        for last in tokens:
            parts.append(last.text)
            if not silent:
                print(safe(last.text), end="", flush=True)
    except KeyboardInterrupt:
        if not silent:
            print(" [stopped]", end="")
    finally:
        tokens.close()  # type: ignore[attr-defined]
    if not silent:
        print()
    return "".join(parts), last


def _result(
    model: str, adapter: dict[str, Any] | None, text: str, last: Token | None, *, templated: bool
) -> dict[str, Any]:
    return {
        "model": model,
        "adapter": adapter,
        "chat_template_used": templated,
        "response": text,
        "finish_reason": last.finish_reason if last else None,
        "prompt_tokens": last.prompt_tokens if last else None,
        "tokens": last.tokens if last else 0,
        "tokens_per_second": last.tokens_per_second if last else None,
    }
