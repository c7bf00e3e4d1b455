"""One base model held in memory, with one adapter after another on it.

Adapters that were used are kept in memory too, for as long as their files stay as they were.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from droidft.adapters.diagnostics import AdapterWarning, BaseModel, asked_otherwise, diagnose, refuse_other_base
from droidft.adapters.folder import CONFIG, AdapterInfo, Which, read_adapter
from droidft.data.template import TemplateOptions
from droidft.engine.generation.batch import Token
from droidft.engine.generation.generate import generate
from droidft.engine.generation.prompt import Message
from droidft.engine.generation.sampling import Sampling
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.adapter_weights import Applied, Difference
from droidft.engine.model.lora import Attached
from droidft.engine.model.precision import precision
from droidft.errors import AdapterError, ConfigError
from droidft.models import catalog
from droidft.support.progress import Progress
from droidft.support.stamps import stamps

if TYPE_CHECKING:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

PROBE_TEXT = "The quick brown fox jumps over the lazy dog. What is the capital of France?"
KEPT_BYTES = 2 << 30
"""Beyond this many bytes, adapters are dropped, the least recently used first."""
FEWEST_KEPT = 4
READINGS = 5
"""How often a file that changes while it is read is read again."""


@dataclass(frozen=True)
class AdapterDetails:
    """What is on the base model, for the person who reads the answer."""

    info: AdapterInfo
    expected_layers: int
    warnings: list[AdapterWarning]
    difference: Difference
    """How far it moves the logits of a short English text."""

    def asked(self, *, chat_template_used: bool, system: str | None = None) -> AdapterDetails:
        """The same with warnings about the way it is asked."""
        more = asked_otherwise(self.info, chat_template_used=chat_template_used, system=system)
        return replace(self, warnings=[*self.warnings, *more])

    def as_dict(self) -> dict[str, Any]:
        """The fields that `--json` and the server give."""
        info = self.info
        return {
            "name": info.name,
            "type": info.which if isinstance(info.which, str) else f"step {info.which}",
            "fine_tune_type": info.fine_tune_type,
            "rank": info.rank,
            "alpha": info.alpha,
            "scale": info.scale,
            "dropout": info.dropout,
            "keys": list(info.modules),
            "num_layers": len(info.layers),
            "expected_layers": self.expected_layers,
            "model_recorded": info.base,
            "difference": asdict(self.difference),
            "warnings": [asdict(warning) for warning in self.warnings],
        }


@dataclass(frozen=True, eq=False)
class Ready:
    """An adapter that can be put on the base at once."""

    details: AdapterDetails
    applied: Applied
    version: tuple[object, ...]
    """What its files were when they were read."""


@dataclass
class LoadedModel:
    """A base model, its tokenizer, and facts about it."""

    model: nn.Module
    tokenizer: TokenizerWrapper
    base: BaseModel
    context_length: int | None
    code: list[str]
    """What in its folder asks for code to be run; none of it is."""
    warnings: tuple[str, ...] = ()
    """What is to be known of it; see `loading.examine`."""
    _kept: OrderedDict[tuple[object, ...], Ready] = field(default_factory=OrderedDict)

    def ready(self, folder: Path, which: Which, *, allow_mismatch: bool = False) -> Ready:
        """The adapter of a folder, from memory if its files are still those that were read; nothing stays on.

        Raises:
            NotFound, AdapterError: see `read_adapter`; it does not fit, or was trained on other weights and that is
                not allowed; or its files keep changing.
        """
        for _ in range(READINGS):
            info = read_adapter(folder, which, check_values=False)
            self.check_base(info, allow_mismatch=allow_mismatch)
            version = _version(info)
            if (known := self._kept.get(version)) is not None:
                self._kept.move_to_end(version)
                return known
            info = read_adapter(folder, which)
            details = self.use(info)
            applied = adapter_weights.current(self.model)
            assert details is not None
            assert applied is not None
            self.switch(None)
            if _version(info) == version:
                made = Ready(details, applied, version)
                self._keep(made)
                return made
        raise AdapterError(
            f"the files of adapter {folder.name} change faster than they can be read", hint="try again later"
        )

    def check_base(self, info: AdapterInfo, *, allow_mismatch: bool) -> None:
        """Refuse an adapter of another base, unless that is allowed. Raises as `diagnostics.refuse_other_base`."""
        refuse_other_base(info, self.base.weights_sha256, ref=self.base.ref, allowed=allow_mismatch)

    def put(self, ready: Ready | None) -> None:
        """Make the base answer with `ready`, or alone; takes well under a millisecond."""
        self.put_applied(None if ready is None else ready.applied)

    def put_applied(self, attached: Attached | None) -> None:
        """The same with what was made for this model, or a stack of it."""
        adapter_weights.put(self.model, attached)

    def rename(self, ref: str) -> None:
        """The same model under another name or path; adapters' warnings name it, so they are forgotten."""
        self.base = replace(self.base, ref=ref)
        self._kept.clear()

    def _keep(self, ready: Ready) -> None:
        info = ready.details.info
        for version, other in list(self._kept.items()):
            if (other.details.info.path, other.details.info.which) == (info.path, info.which):
                del self._kept[version]
        self._kept[ready.version] = ready
        while len(self._kept) > FEWEST_KEPT and sum(it.applied.bytes for it in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)

    def switch(self, info: AdapterInfo | None) -> None:
        """Put the adapter `info` on the base in place of the one before; None for the base alone.

        Raises:
            AdapterError: it does not fit. The base then has no adapter on it.
        """
        if info is None:
            adapter_weights.remove(self.model)
        else:
            adapter_weights.apply(self.model, info)

    def use(self, info: AdapterInfo | None) -> AdapterDetails | None:
        """`switch`, then measure what the adapter changes and collect warnings about it."""
        self.switch(info)
        if info is None:
            return None
        difference = adapter_weights.difference(self.model, self.tokenizer.encode(PROBE_TEXT))
        warnings = diagnose(info, self.base)
        if difference.max_logit == 0:
            message = "changes nothing: the logits with and without it are equal, so it was not trained"
            warnings.insert(0, AdapterWarning("no_effect", message))
        return AdapterDetails(info, self.base.num_layers, warnings, difference)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits, shape (T, V), after each of T tokens, with what is on the base now.

        Raises:
            ConfigError: no tokens, more than the model's context, or a token that is not in the vocabulary.
        """
        if not tokens or (self.context_length is not None and len(tokens) > self.context_length):
            most = "" if self.context_length is None else f" to {self.context_length:,}, the model's context"
            raise ConfigError(f"there are {len(tokens):,} tokens", hint=f"give from 1{most}", field="text")
        logits = self.model(mx.array([tokens]))[0].astype(mx.float32)
        size = logits.shape[-1]
        if wrong := [token for token in tokens if not 0 <= token < size]:
            hint = f"tokens of this model are 0 to {size - 1:,}"
            raise ConfigError(f"token {wrong[0]} is not in the vocabulary", hint=hint, field="text")
        return np.array(logits)

    def answer(
        self,
        messages_or_prompt: str | Sequence[Message],
        sampling: Sampling,
        *,
        use_chat_template: bool = True,
        options: TemplateOptions | None = None,
    ) -> Iterator[Token]:
        """Generate with what is on the base now; see `generate`."""
        return generate(
            self.model,
            self.tokenizer,
            messages_or_prompt,
            sampling,
            use_chat_template=use_chat_template,
            options=options,
            context_length=self.context_length,
        )


def load(
    ref: str, *, models_dir: Path, cache_dir: Path, offline: bool = False, progress: Progress | None = None
) -> LoadedModel:
    """Find and load the model that `ref` means.

    Raises:
        NotFound, ModelError, DownloadError: see `catalog.find_model` and `loading.load_model`.
    """
    path = catalog.find_model(ref, models_dir=models_dir, offline=offline, progress=progress)
    tokenizer = loading.load_tokenizer(path)
    model, config = loading.load_model(path, precision=precision())
    base = adapter_weights.describe_base(
        model,
        path=path,
        ref=ref,
        fingerprint=catalog.fingerprint(path, cache=cache_dir / "fingerprints.json"),
        chat_template=tokenizer.chat_template,
    )
    return LoadedModel(
        model,
        tokenizer,
        base,
        catalog.context_length(config),
        catalog.code_files(path),
        warnings=(*loading.weight_notes(path), *loading.config_notes(path), *loading.tokenizer_notes(tokenizer)),
    )


def _version(info: AdapterInfo) -> tuple[object, ...]:
    """What changes when an adapter's weights or settings are replaced, be it by a link to other weights."""
    try:
        return (info.which, *stamps(info.file, info.path / CONFIG))
    except OSError:  # replaced just now
        return (object(),)
