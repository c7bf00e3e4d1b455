"""The worker that keeps a model loaded and answers prompts: `python -m droidft.workers.answer`, asked over `channel`.

One request puts one prompt to several sides: the base alone, or with an adapter. All sides of all requests for one
base are answered side by side, and every side's answer is the one that it would give alone. A request for another
base waits until those before it are answered. Adapters are only ever read.
"""

from __future__ import annotations

import datetime
import os
from collections import deque
from collections.abc import Mapping, Sequence
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
from droidft.support.channel import Call, Steps, serve_together
from droidft.support.stamps import Stamp, stamps

if TYPE_CHECKING:
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.batch import Engine, Row, Token
    from droidft.engine.generation.likelihood import TokenBytes
    from droidft.engine.generation.loaded import LoadedModel, Ready
    from droidft.engine.generation.pieces import Piece, Pieces
    from droidft.engine.generation.prompt import Prompt
    from droidft.engine.generation.sampling import Sampling
    from droidft.engine.machine.device import Device

LONG_PROMPT = 1024
"""Progress is reported while a prompt of more tokens than this is read."""
CACHE_SHARE = 0.4
"""How much of the memory that is free once the model is loaded may hold keys and values."""


def main() -> None:
    """Answer requests until the server has ended."""
    # Models are fetched only where a person asks for it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    with ExitStack() as stack:
        worker = Worker(stack)
        serve_together({"answer": worker.answer}, worker.turn)


@dataclass(eq=False)
class Side:
    """The base alone or an adapter on it, and its answer."""

    number: int
    row: Row | None
    """What is answered; None where the prompt alone is wanted back, without likelihoods."""
    pieces: Pieces
    prompt_tokens: int
    echo: TokenBytes | None = None
    """Set until the prompt was given back, where that is wanted."""
    text: str | None = None
    """The prompt, where it came as text."""
    prompt: Sequence[int] = ()
    read: tuple[int, int] = (0, 0)
    """Tokens of the prompt that were read, and all."""
    shown: int = 0
    """Of those read, how many were reported."""
    made: deque[Token] = field(default_factory=deque)
    """Tokens that were not sent yet."""
    last: Token | None = None

    def reading(self, done: int, total: int) -> None:
        """Note how far the prompt is read."""
        self.read = (done, total)


@dataclass
class Worker:
    """The model that is loaded now, and what made this process ready to compute."""

    stack: ExitStack
    loaded: LoadedModel | None = None
    version: tuple[Stamp, ...] = ()
    """Which files the loaded model was read from."""
    device: Device | None = None
    _engine: Engine | None = None
    _line: list[Call] = field(default_factory=list)
    """Requests that are not begun, in the order they came."""
    _begun: list[Call] = field(default_factory=list)
    _sides: dict[Row, Side] = field(default_factory=dict)
    _wired: ExitStack | None = None

    def turn(self) -> None:
        """Give every row that is being answered its next token, and read some of the prompts that wait."""
        if self._engine is None or not self._engine.busy:
            return
        try:
            made = self._engine.step()
        except BaseException:
            self._forget_answers()
            raise
        for row, token in made:
            self._sides[row].made.append(token)

    def answer(self, call: Call) -> Steps:
        """Put a prompt to the sides; their answers are the events.

        Parameters: `home`, `model`, `sides` (each `side` and `adapter`, null for the base alone), `prompt` and
        `system` or else `messages`, `use_chat_template`, `sampling` (fields of `Sampling`), `stop` (texts). Several
        texts, or tokens, to continue stand in `prompts` instead; a side then has the index of its `prompt`, and
        where its seed is not that of `sampling`, a `seed`. `top_logprobs` asks for likelihoods, `echo` for the
        prompt before the answer, `only_echo` for nothing else. `chat_template_kwargs` and `template_date` say how
        the chat template is used, where that is not as the adapter was trained.
        """
        home = Home(Path(call.params["home"]))
        path = _path(home, call.params["model"])
        yield from self._wait(call, path)
        sides: list[Side] = []
        try:
            self._begun.append(call)
            model = self._model(call, home, path)
            sides += self._asked(call, model, home)
            yield from self._follow(call, sides)
        finally:
            self._begun.remove(call)
            for side in sides:
                self._drop(side)
            if not self._begun:
                self._rest()

    def _wait(self, call: Call, path: Path) -> Steps:
        """Until those before it have begun, and another base that is in use is not any more."""
        self._line.append(call)
        told = 0
        try:
            while True:
                call.check()
                before = self._line.index(call)
                if before == 0 and (not self._begun or _stamps(path) == self.version):
                    return
                ahead = before + len(self._begun)
                if ahead != told:
                    told = ahead
                    text = "waiting for another answer" if ahead == 1 else f"waiting for {ahead} other answers"
                    call.emit({"type": "phase", "text": text})
                yield
        finally:
            self._line.remove(call)

    def _model(self, call: Call, home: Home, path: Path) -> LoadedModel:
        """The model that is asked for, loaded if it is not there already; the one before is dropped first."""
        ref, version = call.params["model"], _stamps(path)
        if self.loaded is not None and version == self.version:
            if self.loaded.base.ref != ref:
                self.loaded.rename(ref)
                call.emit({"type": "loaded", "model": ref})
            return self.loaded
        self._unload()
        if self.device is None:
            call.emit({"type": "phase", "text": "making the device ready"})
            self.device = self._prepare(home)
        call.emit({"type": "phase", "text": f"loading model {ref}"})
        from droidft.engine.generation import loaded
        from droidft.engine.generation.batch import Engine

        model = self.loaded = loaded.load(ref, models_dir=home.models, cache_dir=home.cache, offline=True)
        self.version = version
        self._engine = Engine(
            model.model, model.tokenizer, put=model.put_applied, memory=int(CACHE_SHARE * self.device.free_bytes())
        )
        call.emit({"type": "loaded", "model": ref})
        return model

    def _prepare(self, home: Home) -> Device:
        from droidft.engine.machine.device import computing

        device = self.stack.enter_context(computing(home.cache))
        for warning in device.warnings:
            print(f"inference: {warning}")
        return device

    def _unload(self) -> None:
        if self.loaded is None:
            return
        from droidft.engine.machine.device import release

        self.loaded = self._engine = None
        self._sides.clear()
        release()

    def _asked(self, call: Call, model: LoadedModel, home: Home) -> list[Side]:
        """The sides that can answer, on their way; the error of every other was sent."""
        from droidft.engine.generation.sampling import Sampling

        assert self._engine is not None
        model.put(None)  # what others' rows have is for their batch only
        sampling = Sampling(**_sampling(model, call.params["sampling"]))
        prompts = _Prompts(model, call.params, _first_record(model, home, call.params["sides"]))
        made = (_side(call, model, home, prompts, sampling, **wanted) for wanted in call.params["sides"])
        sides = [side for side in made if side is not None]
        if self._wired is None:
            from droidft.engine.generation.generate import wired

            self._wired = ExitStack()
            self._wired.enter_context(wired(model.model))
        for side in sides:
            if side.row is not None:
                self._sides[side.row] = side
                self._engine.add(side.row)
        return sides

    def _follow(self, call: Call, sides: list[Side]) -> Steps:
        """Send what the sides add to their answers, until all have ended."""
        going = list(sides)
        while going:
            for side in list(going):
                if _step(call, side):
                    self._drop(side)
                    going.remove(side)
            if going:
                yield

    def _drop(self, side: Side) -> None:
        if side.row is not None and self._sides.pop(side.row, None) is not None and self._engine is not None:
            self._engine.drop(side.row)

    def _rest(self) -> None:
        """Nobody waits for an answer."""
        if self._wired is not None:
            self._wired.close()
            self._wired = None
        if self.loaded is not None:
            self.loaded.put(None)

    def _forget_answers(self) -> None:
        """After an error in the midst of a step, whose state is not to be used again."""
        self._sides.clear()
        self._unload()
        self.version = ()


def _path(home: Home, ref: str) -> Path:
    """The folder of a model.

    Raises:
        NotFound: there is none on this machine; answering never uses the network.
    """
    from droidft.models import catalog, hub

    if hub.REPO_ID.fullmatch(ref) and hub.cached(ref) is None:
        raise NotFound(
            f"there is no model {ref!r} on this machine", hint="fetch it first (Setup, or `droidft models pull`)"
        )
    return catalog.find_model(ref, models_dir=home.models, offline=True)


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
    from droidft.engine.generation.batch import Row, room_for
    from droidft.engine.generation.likelihood import TokenBytes
    from droidft.engine.generation.pieces import Pieces

    params = call.params
    try:
        allowed = params.get("allow_mismatch", False)
        ready = None if adapter is None else model.ready(*_find(home, adapter), allow_mismatch=allowed)
    except DroidError as error:
        call.emit({"type": "error", "side": side, "error": error.as_dict()})
        return None
    put, own = prompts.of(ready)[prompt], sampling if seed is None else replace(sampling, seed=seed)
    top, echoed, only = params.get("top_logprobs"), params.get("echo"), params.get("only_echo")
    room = room_for(put.tokens, 0 if only else own.max_tokens, model.context_length)
    details = _details(model, ready, put, _system(params))
    call.emit({"type": "start", "side": side, "adapter_details": details, "seed": own.seed})
    bytes_of = TokenBytes(model.tokenizer) if echoed or top is not None else None
    text = params["prompts"][prompt] if echoed else None
    made = Side(
        side,
        None,
        Pieces(params["stop"], bytes_of),
        len(put.tokens),
        echo=bytes_of if echoed else None,
        text=text if isinstance(text, str) else None,
        prompt=put.tokens,
    )
    if not only or top is not None:
        made.row = Row(
            put,
            own,
            0 if only else room,
            None if ready is None else ready.applied,
            top_logprobs=top,
            prompt_logprobs=top if echoed else None,
            reading=made.reading,
            party=call,
        )
    return made


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


def _step(call: Call, side: Side) -> bool:
    """Send what a side has added to its answer; whether the answer has ended."""
    call.check()
    done, total = side.read
    if total > LONG_PROMPT and side.shown < done < total:
        side.shown = done
        call.emit({"type": "phase", "text": f"reading the prompt: {done:,} of {total:,} tokens"})
    row = side.row
    if row is not None and row.error is not None:
        raise row.error
    if side.echo is not None:
        if row is not None and row.prompt_logprobs is not None and len(row.known) < len(side.prompt):
            return False
        _send_echo(call, side, side.echo)
    if row is None or row.room == 0:
        return _end(call, side, "length")
    while side.made:
        side.last = side.made.popleft()
        piece = side.pieces.feed(side.last)
        _send(call, side, piece)
        if piece.reason is not None:
            return _end(call, side, piece.reason)
    return False


def _send_echo(call: Call, side: Side, bytes_of: TokenBytes) -> None:
    """The prompt as the first piece of the answer."""
    from droidft.engine.generation.pieces import echo

    known = side.row.known if side.row is not None and side.row.prompt_logprobs is not None else None
    piece = echo(side.text, side.prompt, known, bytes_of)
    side.echo = None
    side.pieces.follow(piece.text)
    _send(call, side, piece)


def _send(call: Call, side: Side, piece: Piece) -> None:
    if piece.text or piece.tokens:
        told = {"described": piece.tokens} if call.params.get("top_logprobs") is not None else {}
        call.emit({"type": "text", "side": side.number, "text": piece.text, **told})


def _end(call: Call, side: Side, reason: str) -> bool:
    call.emit(
        {
            "type": "end",
            "side": side.number,
            "finish_reason": reason,
            "prompt_tokens": side.prompt_tokens,
            "tokens": 0 if side.last is None else side.last.tokens,
            "tokens_per_second": 0.0 if side.last is None else side.last.tokens_per_second,
        }
    )
    return True


if __name__ == "__main__":
    main()
