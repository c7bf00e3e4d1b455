"""Rows that share batches: what each answers is what it would answer alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.adapters.folder import read_adapter
from droidft.engine.generation.batch import Engine, Row, Token
from droidft.engine.generation.prompt import Prompt
from droidft.engine.generation.sampling import Sampling
from droidft.engine.machine.kernels import Kernels, fast_cpu_ops
from droidft.engine.model import adapter_weights
from droidft.engine.model.adapter_weights import Applied
from droidft.engine.model.loading import load_model, load_tokenizer
from tests.adapters.files import ATTENTION_QV, write_adapter
from tests.tiny import llama, write_model

WARM = Sampling(max_tokens=24, temperature=1.2, top_p=0.95, min_p=0.0, top_k=0, seed=5)
GREEDY = Sampling(max_tokens=24)


class Base:
    """A tiny model with adapters of every kind, of unlike rank and places."""

    def __init__(self, folder: Path) -> None:
        write_model(folder / "tiny")
        self.model = load_model(folder / "tiny")[0]
        self.tokenizer = load_tokenizer(folder / "tiny")
        made = {
            "lora": write_adapter(folder / "lora", llama(), strength=0.6),
            "dora": write_adapter(folder / "dora", llama(), kind="dora", strength=0.5),
            "wide": write_adapter(folder / "wide", llama(), rank=12, keys=ATTENTION_QV, strength=0.9),
            "full": write_adapter(folder / "full", llama(), kind="full", strength=0.05),
        }
        self.adapters: dict[str | None, Applied | None] = {None: None}
        for name, path in made.items():
            self.adapters[name] = adapter_weights.apply(self.model, read_adapter(path))
        adapter_weights.remove(self.model)

    def engine(self, **options: Any) -> Engine:
        return Engine(
            self.model,
            self.tokenizer,
            put=lambda attached: adapter_weights.put(self.model, attached),
            **{"memory": 64 << 20, **options},
        )

    def row(self, tokens: list[int], adapter: str | None = None, sampling: Sampling = GREEDY, **fields: Any) -> Row:
        return Row(Prompt(tokens, True), sampling, sampling.max_tokens, self.adapters[adapter], **fields)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, fast: Kernels) -> Iterator[Base]:
    with fast_cpu_ops(fast):
        yield Base(tmp_path_factory.mktemp("base"))


def tokens(count: int, seed: int) -> list[int]:
    found: list[int] = np.random.default_rng(seed).integers(0, 250, count).tolist()
    return found


def run(engine: Engine, *rows: Row) -> list[list[Token]]:
    for row in rows:
        engine.add(row)
    made: dict[Row, list[Token]] = {row: [] for row in rows}
    while engine.busy:
        for row, token in engine.step():
            made[row].append(token)
    return [made[row] for row in rows]


def ids(made: list[Token]) -> list[int]:
    return [token.token_id for token in made]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["likeliest", "drawn"])
def test_a_row_answers_in_company_as_alone(base: Base, sampling: Sampling) -> None:
    kinds = [None, "lora", "dora", "wide", "full", "lora", None]
    asked = [(tokens(3 + 37 * number, number), kind) for number, kind in enumerate(kinds)]
    alone = [run(base.engine(), base.row(*each, sampling, top_logprobs=2))[0] for each in asked]
    together = run(base.engine(), *(base.row(*each, sampling, top_logprobs=2) for each in asked))
    for one, other in zip(alone, together, strict=True):
        assert ids(one) == ids(other)
        assert [token.likelihood for token in one] == [token.likelihood for token in other], "to the bit"
    assert len({tuple(ids(each)) for each in alone}) > 4
