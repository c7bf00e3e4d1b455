"""The worker that keeps a model loaded and answers prompts: `python -m droidft.workers.answer`, asked over `channel`.

One request puts one prompt to several sides: the base alone, or with an adapter. The sides take turns, a token each,
and every side's answer is the one that it would give alone. Adapters are only ever read.
"""

from __future__ import annotations

import datetime
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droidft.adapters.diagnostics import asked_otherwise
from droidft.adapters.folder import Which, find_adapter
from droidft.data.conversation import SYSTEM_ROLES
from droidft.errors import DroidError, NotFound
from droidft.home import Home, valid_name
from droidft.support.channel import Call, serve
from droidft.support.stamps import Stamp, stamps

if TYPE_CHECKING:
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.generate import Sampling, Token
    from droidft.engine.generation.likelihood import TokenBytes
    from droidft.engine.generation.loaded import LoadedModel, Ready
    from droidft.engine.generation.pieces import Piece, Pieces
    from droidft.engine.generation.prompt import Prompt

LONG_PROMPT = 1024
"""Progress is reported while a prompt of more tokens than this is read."""
AT_ONCE = 4
"""Sides that take turns; further ones wait for one of them to end."""


def main() -> None:
    """Answer requests until the server has ended."""
    # Models are fetched only where a person asks for it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    with ExitStack() as stack:
        serve({"answer": Worker(stack).answer})


@dataclass
class Side:
    """The base alone (`ready` None) or an adapter on it, and its answer."""

    number: int
    ready: Ready | None
    steps: Iterator[Piece | Token]
    """The prompt, where it is wanted back, then the answer's tokens."""
    pieces: Pieces
    prompt_tokens: int
    last: Token | None = None
    seconds: float = 0.0
    """Spent on this side's tokens after the first."""

    @property
    def tokens_per_second(self) -> float:
        """Of this side's own computing, without that of the others and the reading of the prompt."""
        if self.last is None:
            return 0.0
        return (self.last.tokens - 1) / self.seconds if self.seconds else self.last.tokens_per_second


@dataclass
class Worker:
    """The model that is loaded now, and what made this process ready to compute."""

    stack: ExitStack
    loaded: LoadedModel | None = None
    version: tuple[Stamp, ...] = ()
    """Which files the loaded model was read from."""
    prepared: bool = field(default=False)

    def answer(self, call: Call) -> None:
        """Put a prompt to the sides; their answers are the events.

        Parameters: `home`, `model`, `sides` (each `side` and `adapter`, null for the base alone), `prompt` and
        `system` or else `messages`, `use_chat_template`, `sampling` (fields of `Sampling`), `stop` (texts). Several
        texts, or tokens, to continue stand in `prompts` instead; a side then has the index of its `prompt`, and
        where its seed is not that of `sampling`, a `seed`. `top_logprobs` asks for likelihoods, `echo` for the
        prompt before the answer, `only_echo` for nothing else. `chat_template_kwargs` and `template_date` say how
        the chat template is used, where that is not as the adapter was trained.
        """
        from droidft.engine.generation import generate

        home = Home(Path(call.params["home"]))
        try:
            model = self._model(call, home)
            sampling = generate.Sampling(**_sampling(model, call.params["sampling"]))
            prompts = _Prompts(model, call.params, _first_record(model, home, call.params["sides"]))
            sides = deque(
                side
                for wanted in call.params["sides"]
                if (side := _side(call, model, home, prompts, sampling, **wanted)) is not None
            )
            with generate.wired(model.model):
                _take_turns(call, model, sides)
        finally:
            if self.loaded is not None:
                self.loaded.put(None)

    def _model(self, call: Call, home: Home) -> LoadedModel:
        """The model that is asked for, loaded if it is not there already; the one before is dropped first."""
        from droidft.models import catalog, hub

        ref = call.params["model"]
        # A wrong name is reported before the loaded model is given up for it; inference never uses the network.
        if hub.REPO_ID.fullmatch(ref) and hub.cached(ref) is None:
            raise NotFound(
                f"there is no model {ref!r} on this machine", hint="fetch it first (Setup, or `droidft models pull`)"
            )
        path = catalog.find_model(ref, models_dir=home.models, offline=True)
        version = _stamps(path)
        if self.loaded is not None and version == self.version:
            if self.loaded.base.ref != ref:
                self.loaded.rename(ref)
                call.emit({"type": "loaded", "model": ref})
            return self.loaded
        self._unload()
        if not self.prepared:
            call.emit({"type": "phase", "text": "making the device ready"})
            self._prepare(home)
        call.emit({"type": "phase", "text": f"loading model {ref}"})
        from droidft.engine.generation import loaded

        self.loaded = loaded.load(ref, models_dir=home.models, cache_dir=home.cache, offline=True)
        self.version = version
        call.emit({"type": "loaded", "model": ref})
        return self.loaded

    def _prepare(self, home: Home) -> None:
        from droidft.engine.machine.device import computing

        device = self.stack.enter_context(computing(home.cache))
        for warning in device.warnings:
            print(f"inference: {warning}")
        self.prepared = True

    def _unload(self) -> None:
        if self.loaded is None:
            return
        from droidft.engine.machine.device import release

        self.loaded = None
        release()


def _stamps(path: Path) -> tuple[Stamp, ...]:
    """What changes when the files of a model do, or its folder."""
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jinja", ".model", ".safetensors"))
    return stamps(path / "config.json", *files)


def _sampling(model: LoadedModel, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Sampling`; in JSON, tokens that are names are texts."""
    from droidft.engine.generation.likelihood import check_tokens

    bias = {int(token): value for token, value in fields.get("logit_bias", {}).items()}
    check_tokens(model.model, list(bias), field="logit_bias")
    return {**fields, "logit_bias": bias}


@dataclass
class _Prompts:
    """The prompts of a request, put as each side's adapter was trained; the base alone as the `first` one was."""

    model: LoadedModel
    params: dict[str, Any]
    first: Mapping[str, Any]
    made: list[tuple[TemplateOptions, list[Prompt]]] = field(default_factory=list)

    def of(self, ready: Ready | None) -> list[Prompt]:
        """Those for a side; made once for sides that are asked alike."""
        from droidft.engine.generation.prompt import options_for

        day = self.params.get("template_date")
        options = options_for(
            self.model.tokenizer,
            self.first if ready is None else ready.details.info.record,
            kwargs=self.params.get("chat_template_kwargs"),
            day=None if day is None else datetime.date.fromisoformat(day),
        )
        for known, prompts in self.made:
            if known == options:
                return prompts
        prompts = _prompts(self.model, self.params, options)
        self.made.append((options, prompts))
        return prompts


def _first_record(model: LoadedModel, home: Home, sides: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the first adapter that can be used records about its training."""
    for side in sides:
        if side["adapter"] is not None:
            try:
                return model.ready(*_find(home, side["adapter"]), allow_mismatch=True).details.info.record
            except DroidError:  # its own side reports it
                continue
    return {}


def _prompts(model: LoadedModel, params: dict[str, Any], options: TemplateOptions) -> list[Prompt]:
    from droidft.engine.generation.likelihood import check_tokens
    from droidft.engine.generation.prompt import Prompt, make_prompt

    put = partial(make_prompt, model.tokenizer, options=options)
    if params["messages"] is not None:
        return [put(params["messages"])]
    how = params["use_chat_template"]
    if params.get("prompts") is None:
        return [put(params["prompt"], system=params["system"], use_chat_template=how)]
    made = []
    for prompt in params["prompts"]:
        if isinstance(prompt, str):
            made.append(put(prompt, use_chat_template=how))
        else:
            check_tokens(model.model, prompt, field="prompt")
            made.append(Prompt(prompt, chat_template_used=False))
    return made


def _side(
    call: Call,
    model: LoadedModel,
    home: Home,
    prompts: _Prompts,
    sampling: Sampling,
    *,
    side: int,
    adapter: str | None,
    prompt: int = 0,
    seed: int | None = None,
) -> Side | None:
    """A side that is ready to answer, or None after its error was sent."""
    from droidft.engine.generation.generate import room_for
    from droidft.engine.generation.likelihood import TokenBytes
    from droidft.engine.generation.pieces import Pieces

    try:
        allowed = call.params.get("allow_mismatch", False)
        ready = None if adapter is None else model.ready(*_find(home, adapter), allow_mismatch=allowed)
    except DroidError as error:
        call.emit({"type": "error", "side": side, "error": error.as_dict()})
        return None
    put, own = prompts.of(ready)[prompt], sampling if seed is None else replace(sampling, seed=seed)
    room_for(put.tokens, 0 if call.params.get("only_echo") else own.max_tokens, model.context_length)
    named = call.params.get("echo") or call.params.get("top_logprobs") is not None
    bytes_of = TokenBytes(model.tokenizer) if named else None
    details = _details(model, ready, put, _system(call.params))
    call.emit({"type": "start", "side": side, "adapter_details": details, "seed": own.seed})
    pieces = Pieces(call.params["stop"], bytes_of)
    return Side(side, ready, _steps(call, model, prompt, put, own, bytes_of), pieces, len(put.tokens))


def _steps(
    call: Call, model: LoadedModel, number: int, prompt: Prompt, sampling: Sampling, bytes_of: TokenBytes | None
) -> Iterator[Piece | Token]:
    """The prompt, where it is wanted back, then the answer, token by token; computed as it is asked for."""
    from droidft.engine.generation.generate import complete
    from droidft.engine.generation.likelihood import read_prompt
    from droidft.engine.generation.pieces import echo

    def reading(done: int, total: int) -> None:
        call.check()
        if total > LONG_PROMPT:
            call.emit({"type": "phase", "text": f"reading the prompt: {done:,} of {total:,} tokens"})

    top, cache, known = call.params.get("top_logprobs"), None, None
    if call.params.get("echo"):
        assert bytes_of is not None
        if top is not None:
            known, cache = read_prompt(model.model, prompt.tokens, top, reading=reading)
        text = call.params["prompts"][number]
        yield echo(text if isinstance(text, str) else None, prompt.tokens, known, bytes_of)
    if not call.params.get("only_echo"):
        yield from complete(
            model.model,
            model.tokenizer,
            prompt,
            sampling,
            context_length=model.context_length,
            reading=reading if cache is None else None,
            top_logprobs=top,
            cache=cache,
        )


def _find(home: Home, ref: str) -> tuple[Path, Which]:
    """Folder and weights of an adapter of the home folder, by its name; no path is followed."""
    name = valid_name(ref.partition("@")[0], what="an adapter")
    if not (home.adapters / name).is_dir():
        raise NotFound(f"there is no adapter {name!r}", hint="choose one from the list", field="adapter")
    return find_adapter(ref, adapters_dir=home.adapters)


def _details(model: LoadedModel, ready: Ready | None, prompt: Prompt, system: str | None) -> dict[str, Any]:
    warnings = []
    if model.code:
        text = f"the model's folder holds code that is not run: {', '.join(model.code[:5])}"
        warnings.append({"code": "model_code", "message": text})
    if prompt.left_out:
        text = f"the model's chat template leaves out {', '.join(prompt.left_out)}"
        warnings.append({"code": "left_out", "message": text})
    warnings += [{"code": "model", "message": text} for text in model.warnings]
    common = {"chat_template_used": prompt.chat_template_used, "expected_layers": model.base.num_layers}
    if ready is None:
        names = ("name", "rank", "alpha", "scale", "dropout", "keys", "num_layers", "model_recorded")
        alone = dict.fromkeys(names) | {"type": "none", "max_logit_change": None}
        return {**alone, **common, "warnings": warnings}
    details = ready.details.as_dict()
    change = details.pop("difference")["max_logit"]
    del details["fine_tune_type"]
    used = prompt.chat_template_used
    asked = asked_otherwise(ready.details.info, chat_template_used=used, system=system)
    warnings += [vars(warning) for warning in asked]
    return {**details, **common, "max_logit_change": change, "warnings": [*details["warnings"], *warnings]}


def _system(params: dict[str, Any]) -> str | None:
    """The system prompt of a request."""
    turns = params["messages"]
    if turns is None:
        return params["system"] or None
    return next((turn["content"] for turn in turns if turn["role"] in SYSTEM_ROLES), None)


def _take_turns(call: Call, model: LoadedModel, waiting: deque[Side]) -> None:
    """A step of each side in turn, of a few at a time since each takes memory, until all have ended."""
    sides: list[Side] = []
    while sides or waiting:
        while waiting and len(sides) < AT_ONCE:
            sides.append(waiting.popleft())
        for side in list(sides):
            call.check()
            model.put(side.ready)
            if _step(call, side):
                sides.remove(side)


def _step(call: Call, side: Side) -> bool:
    """Compute a step of a side and send what it adds to the answer; whether the answer has ended."""
    from droidft.engine.generation.generate import Token

    begun = time.perf_counter()
    step = next(side.steps, None)
    piece: Piece | None
    if isinstance(step, Token):
        if side.last is not None:
            side.seconds += time.perf_counter() - begun
        side.last = step
        piece = side.pieces.feed(step)
    else:
        piece = step
        if piece is not None:
            side.pieces.follow(piece.text)
    if piece is not None and (piece.text or piece.tokens):
        told = {"described": piece.tokens} if call.params.get("top_logprobs") is not None else {}
        call.emit({"type": "text", "side": side.number, "text": piece.text, **told})
    reason = "length" if piece is None else piece.reason
    if reason is None:
        return False
    call.emit(
        {
            "type": "end",
            "side": side.number,
            "finish_reason": reason,
            "prompt_tokens": side.prompt_tokens,
            "tokens": 0 if side.last is None else side.last.tokens,
            "tokens_per_second": side.tokens_per_second,
        }
    )
    return True


if __name__ == "__main__":
    main()
