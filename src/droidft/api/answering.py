"""A model in this process, with or without an adapter: answers, losses, logits."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.diagnostics import asked_otherwise
from droidft.adapters.folder import AdapterInfo, Which, find_adapter
from droidft.api.training import home_at
from droidft.config import parse_config
from droidft.config.measurement import RowLosses
from droidft.errors import ConfigError
from droidft.home import Home

if TYPE_CHECKING:
    from droidft.data.template import TemplateOptions
    from droidft.engine.generation.loaded import LoadedModel, Ready
    from droidft.engine.generation.prompt import Message, Prompt
    from droidft.engine.machine.device import Device
    from droidft.support.progress import Progress

_preparations: list[AbstractContextManager[Device]] = []
"""What keeps this process ready to compute, once it is."""


class Sampling(TypedDict, total=False):
    """How an answer is drawn. What is left out has the default of `droidft chat`, but for the temperature."""

    max_tokens: int
    """Longest answer (512)."""
    temperature: float
    """0, the default, takes the likeliest token; more is more varied, up to 10."""
    top_p: float
    """Draw from this share of probability (0.9); 1 turns it off."""
    min_p: float
    """Least probability beside the likeliest token's (0.05); 0 turns it off."""
    top_k: int
    """Draw from so many of the likeliest tokens (40); 0 turns it off."""
    repetition_penalty: float
    """Above 1: the last 64 tokens are less likely to come again (1)."""
    presence_penalty: float
    """Taken from the logit of every token that the answer holds already (0)."""
    frequency_penalty: float
    """The same, as often as the answer holds it (0)."""
    seed: int | None
    """The same seed draws the same answer here, in `droidft chat` and over HTTP; None draws another one each time."""
    stop: Sequence[str]
    """Texts that end the answer; they are not part of it."""


def load(
    model: str | Path,
    adapter: str | Path | None = None,
    which: Which | None = None,
    *,
    home: str | Path | None = None,
    offline: bool = False,
    allow_mismatch: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load a model into this process, fetched if it is not here, and put an adapter on it.

    The first call makes MLX as fast as the machine allows, and leaves it so: under Linux without a GPU that is a
    fast BLAS, and fused kernels in place of some of MLX's operations, which the whole process then uses (they give
    the same within rounding; docs/decisions/0003-cpu-kernels.md). What is slower than it need be is a `UserWarning`,
    and so is what is questionable about an adapter on this model.

    Args:
        model: a folder, a name in the home folder, a hub id, or `smollm2-135m-instruct`.
        adapter: a name, such as `run.adapter`, or a folder; `name@best` and `name@200` choose weights too.
        which: the adapter's weights: `best` (if nothing else is said, and there are some), `latest`, or a step's.
        home: the home folder; `DROIDFT_HOME` or `~/.droidft` if it is not given.
        offline: never reach for the network.
        allow_mismatch: put the adapter on though it was trained on other weights than those of this model.
        progress: called with what is done, how much of it, and of how much, while a model is fetched.

    Raises:
        NotFound: no such model or adapter; the hint lists the nearest names.
        ModelError, AdapterError: it is damaged, not supported, or does not fit the model.
        DownloadError: it could not be fetched.
    """
    place = home_at(home)
    folder = _adapter(place, adapter, which)  # a wrong name is reported before the model loads
    prepare(place)
    from droidft.engine.generation import loaded

    base = loaded.load(str(model), models_dir=place.models, cache_dir=place.cache, offline=offline, progress=progress)
    made = Model(base, place, allow_mismatch=allow_mismatch)
    made._put(folder)
    return made


class Model:
    """A loaded model; `load` makes one. Not for several threads at once."""

    def __init__(self, loaded: LoadedModel, home: Home, *, allow_mismatch: bool = False) -> None:
        self._loaded = loaded
        self._home = home
        self._allow_mismatch = allow_mismatch
        self._ready: Ready | None = None

    def __repr__(self) -> str:
        adapter = "" if (info := self.adapter) is None else f" with {info.name} ({info.which})"
        return f"<droidft.Model {self._loaded.base.ref}{adapter}>"

    @property
    def adapter(self) -> AdapterInfo | None:
        """The adapter that is on it: name, weights, rank, scale, modules; None for the base alone."""
        return None if self._ready is None else self._ready.details.info

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, an `mlx_lm.tokenizer_utils.TokenizerWrapper`."""
        return self._loaded.tokenizer

    @property
    def module(self) -> Any:
        """The `mlx.nn.Module`, with the adapter on it."""
        self._loaded.put(self._ready)
        return self._loaded.model

    def use(self, adapter: str | Path | None = None, which: Which | None = None) -> Model:
        """Put another adapter on it, or with None take it off; returns the model itself.

        What was used is kept in memory, so that changing back and forth takes no time.

        Raises:
            NotFound, AdapterError: as `load`; the adapter before then stays.
        """
        self._put(_adapter(self._home, adapter, which))
        return self

    def answer(
        self,
        prompt: str,
        *,
        system: str | None = None,
        use_chat_template: bool = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **sampling: Unpack[Sampling],
    ) -> str:
        """The answer to one prompt.

        Args:
            prompt: what the user says; without a chat template, a text to be continued.
            system: a system message before it.
            use_chat_template: False continues the text as it is.
            chat_template_kwargs: variables of the chat template, such as `enable_thinking`, over those that the
                adapter was trained with.
            **sampling: see `Sampling`.

        Raises:
            ConfigError: a sampling parameter is out of range; a blank prompt; a system message without a template.
            ModelError: the prompt fills the model's context, or the chat template refuses it.
        """
        pieces = self.stream(
            prompt,
            system=system,
            use_chat_template=use_chat_template,
            chat_template_kwargs=chat_template_kwargs,
            **sampling,
        )
        return "".join(pieces)

    def stream(
        self,
        prompt: str,
        *,
        system: str | None = None,
        use_chat_template: bool = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Iterator[str]:
        """The answer to one prompt, piece by piece as it comes; characters are whole. As `answer` otherwise."""
        from droidft.engine.generation.prompt import make_prompt

        options = self._options(chat_template_kwargs)
        made = make_prompt(
            self.tokenizer, prompt, system=system, use_chat_template=use_chat_template, options=options
        )
        self._warn_of_prompt(made, system)
        return self._pieces(made, sampling)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **sampling: Unpack[Sampling],
    ) -> str:
        """The answer to a conversation: messages with `role` and `content`, in any form that training data has.

        Raises:
            ConfigError, ModelError: as `answer`; or the model has no chat template.
        """
        from droidft.engine.generation.prompt import make_prompt

        offered = None if tools is None else [dict(tool) for tool in tools]
        made = make_prompt(self.tokenizer, messages, tools=offered, options=self._options(chat_template_kwargs))
        first = messages[0] if messages else {}
        self._warn_of_prompt(made, first.get("content") if first.get("role") == "system" else None)
        return "".join(self._pieces(made, sampling))

    def loss(self, rows: str | Path | Sequence[Mapping[str, Any]], **settings: Any) -> RowLosses:
        """How well it does on rows it has not been trained on: cross-entropy of their supervised tokens, in nats.

        Args:
            rows: a file, a folder or `hub:` reference (of which the test split), or rows as mappings, in any form
                that docs/data.md describes.
            **settings: how the rows are read, by the names that `train` takes: `mask_prompt`, `system_prompt`,
                `max_seq_length`, `batch_size`, the columns.

        Returns:
            `mean` is the loss per supervised token, `losses` the summed loss of each row, `tokens` its supervised
            tokens, `places` where it came from. The mean is that of a run's evaluation of the same rows.

        Raises:
            DataError: rows that cannot be used, each with its place and reason.
            ConfigError: a setting is unknown or out of range.
        """
        from droidft.data.prepare import read_set
        from droidft.engine.evaluation.measure import Rows, row_losses
        from droidft.engine.model.loss import SplitModel

        config = parse_config({**settings, "model_path": "-", "train_data_path": "-"}, source="loss")
        read = partial(read_set, config, tokenizer=self.tokenizer, context_length=self._loaded.context_length)
        if isinstance(rows, str | Path):
            tokens = read(str(rows), called="the rows")
        else:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "rows.jsonl"
                lines = (json.dumps(dict(row), ensure_ascii=False) for row in rows)
                file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                tokens = read(str(file), called="the rows")
        split = SplitModel(self.module)
        return row_losses(split, Rows.of(tokens), batch_size=config.batch_size, should_stop=lambda: False)

    def logits(self, text: str | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """What it expects after each token of a text: unnormalised log-probabilities.

        Args:
            text: a text, encoded as it is, without a chat template; or tokens. T is their number.

        Returns:
            Shape (T, V) for a vocabulary of V tokens; row t is about token t + 1.

        Raises:
            ConfigError: no tokens, more than the model's context, or a token that is not in the vocabulary.
        """
        tokens = self.tokenizer.encode(text) if isinstance(text, str) else [int(token) for token in text]
        self._loaded.put(self._ready)
        return self._loaded.logits(tokens)

    def _options(self, kwargs: Mapping[str, Any] | None) -> TemplateOptions:
        from droidft.engine.generation.prompt import options_for

        return options_for(self.tokenizer, None if self.adapter is None else self.adapter.record, kwargs=kwargs)

    def _pieces(self, prompt: Prompt, options: Mapping[str, Any]) -> Iterator[str]:
        from droidft.engine.generation import generate, sampling
        from droidft.engine.generation.stops import Stops

        settings = dict(options)
        stops = Stops(settings.pop("stop", ()))
        if unknown := settings.keys() - Sampling.__annotations__.keys():
            known = ", ".join(Sampling.__annotations__)
            raise ConfigError(f"{min(unknown)} is not a sampling parameter", hint=f"use {known}", field=min(unknown))
        drawn, ready = sampling.Sampling(**settings), self._ready
        tokens = generate.complete(
            self._loaded.model, self.tokenizer, prompt, drawn, context_length=self._loaded.context_length
        )

        def pieces() -> Iterator[str]:
            with generate.wired(self._loaded.model):
                while not stops.reached:
                    # The adapter it began with, though another may have been put on between two pieces.
                    self._loaded.put(ready)
                    token = next(tokens)
                    if text := stops.feed(token.text):
                        yield text
                    if token.finish_reason is not None:
                        break
                if rest := stops.rest():
                    yield rest

        return pieces()

    def _warn_of_prompt(self, prompt: Prompt, system: str | None) -> None:
        """Warn of a prompt that is put in another way than those the adapter was trained on."""
        if (info := self.adapter) is not None:
            for each in asked_otherwise(info, chat_template_used=prompt.chat_template_used, system=system):
                warnings.warn(f"adapter {info.name}: {each.message}", stacklevel=3)

    def _put(self, folder: tuple[Path, Which] | None) -> None:
        allowed = self._allow_mismatch
        self._ready = None if folder is None else self._loaded.ready(*folder, allow_mismatch=allowed)
        self._loaded.put(self._ready)
        if self._ready is not None:
            details = self._ready.details
            for each in details.warnings:
                warnings.warn(f"adapter {details.info.name}: {each.message}", stacklevel=3)


def _adapter(home: Home, adapter: str | Path | None, which: Which | None) -> tuple[Path, Which] | None:
    if adapter is None:
        return None
    folder, named = find_adapter(str(adapter), adapters_dir=home.adapters)
    return folder, named if which is None else which


def prepare(home: Home) -> None:
    """Make this process ready to compute, for as long as it lives."""
    from droidft.engine.machine.device import computing

    if _preparations:
        return
    _preparations.append(computing(home.cache))
    for warning in _preparations[0].__enter__().warnings:
        warnings.warn(warning, stacklevel=3)


def _release() -> None:
    """Put MLX's own operations back, for tests of them in the same process."""
    while _preparations:
        _preparations.pop().__exit__(None, None, None)
