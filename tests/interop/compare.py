"""Exports of tiny models, read by ours and by their form's own reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from droidft.adapters.exports import readers
from droidft.adapters.exports.readers import Reader
from droidft.adapters.exports.readers.reading import Reading, Request, Row, largest_difference, shown_of
from droidft.adapters.folder import read_adapter
from droidft.engine.evaluation import certify
from droidft.engine.model import adapter_weights, loading
from tests.adapters.exports.trained import Trained
from tests.interop.forms import Exported
from tests.models.gguf import tiny as gguf_tiny
from tests.models.gguf.files import byte_level_tokens

ROWS, LENGTH = 4, 40
_NAMES = byte_level_tokens()[0]
TOKENS, END = len(_NAMES), _NAMES.index("<|im_end|>")


@dataclass(frozen=True)
class Compared:
    """Readings of a base, and of it with an adapter: by our engine, and of an export by its reader."""

    base: Reading
    trained: Reading
    reader_base: Reading
    exported: Reading

    @property
    def noise(self) -> float:
        """Largest difference of the reader's logits from ours on the base."""
        return _apart(self.reader_base, self.base)

    @property
    def difference(self) -> float:
        """Largest difference of the reader's logits of the export from ours of base + adapter."""
        return _apart(self.exported, self.trained)

    @property
    def moved(self) -> float:
        """Largest difference that the adapter makes."""
        return _apart(self.trained, self.base)


def _apart(one: Reading, other: Reading) -> float:
    value = largest_difference(one.logits, other.logits)
    assert value is not None
    return value


def request() -> Request:
    """Random rows, of which the second half counts, and a rendered conversation; the last ids are no tokens."""
    generator = np.random.default_rng(3)
    ids = generator.integers(0, 256, (ROWS, LENGTH))
    rows = [Row(tokens=row.tolist(), targets=list(range(LENGTH // 2, LENGTH))) for row in ids]
    return Request(
        rows=rows,
        shown=shown_of([LENGTH // 2] * ROWS, ROWS * LENGTH),
        conversations=["<|im_start|>user\nWas heißt 日本?<|im_end|>\n"],
        prompts=[row.tokens[:10] for row in rows[:2]],
        max_tokens=8,
        ends=[END],
        unused=list(range(TOKENS, gguf_tiny.ROWS)),
        threads=1,
    )


def ours(made: Trained, asked: Request) -> tuple[Reading, Reading]:
    """The base and base + adapter by our engine."""
    model, _ = loading.load_model(made.base)
    tokenizer = loading.load_tokenizer(made.base)
    base = certify.read(model, tokenizer, asked)
    adapter_weights.apply(model, read_adapter(made.adapter))
    return base, certify.read(model, tokenizer, asked)


def compare(made: Mapping[str, tuple[Trained, Exported]], reader: Reader) -> dict[str, Compared | str]:
    """All exports of a form, by one process of its reader; in place of one that it cannot read stands the reason."""
    asked, waiting = request(), dict(made)
    compared: dict[str, Compared | str] = {}
    while waiting:
        subjects = [it for _, exported in waiting.values() for it in (exported.base, exported.export)]
        outcome = readers.read(reader, subjects, asked)
        read = outcome.readings
        for number, name in enumerate(list(waiting)):
            if len(read) < 2 * number + 2:
                assert outcome.fault is not None
                compared[name] = outcome.fault.reason
                del waiting[name]
                break
            base, trained = ours(waiting.pop(name)[0], asked)
            compared[name] = Compared(base, trained, *read[2 * number : 2 * number + 2])
    return compared
