"""Rows that share batches: what each answers is what it would answer alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from droidft.adapters.folder import read_adapter
from droidft.engine.generation import batch
from droidft.engine.generation.batch import Engine, Row, Token
from droidft.engine.generation.prompt import Prompt
from droidft.engine.generation.sampling import Sampling
from droidft.engine.machine.kernels import Kernels, fast_cpu_ops
from droidft.engine.model import adapter_weights
from droidft.engine.model.adapter_weights import Applied
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.loading import load_model, load_tokenizer
from droidft.engine.model.precision import Precision
from tests.adapters.files import ATTENTION_QV, write_adapter
from tests.engine.model.architectures import TABLE
from tests.tiny import llama, write_model

WARM = Sampling(max_tokens=24, temperature=1.2, top_p=0.95, min_p=0.0, top_k=0, seed=5)
GREEDY = Sampling(max_tokens=24)


class Base:
    """A tiny model with adapters of every kind, of unlike rank and places."""

    def __init__(self, folder: Path, *, short: bool) -> None:
        write_model(folder / "tiny")
        self.model = load_model(folder / "tiny", precision=Precision("float32", short=short))[0]
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


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "bfloat16"])
def base(tmp_path_factory: pytest.TempPathFactory, fast: Kernels, request: pytest.FixtureRequest) -> Iterator[Base]:
    with fast_cpu_ops(fast):
        yield Base(tmp_path_factory.mktemp("base"), short=request.param)


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


def test_rows_join_and_leave_while_others_answer(base: Base) -> None:
    asked = [(tokens(5 + 9 * number, number), kind) for number, kind in enumerate((None, "lora", "dora", "wide"))]
    alone = [ids(run(base.engine(), base.row(*each))[0]) for each in asked]
    engine, rows = base.engine(), [base.row(*each) for each in asked]
    made: dict[Row, list[int]] = {row: [] for row in rows}
    steps = 0
    while engine.busy or steps < 12:
        if steps % 3 == 0 and steps < 12:
            engine.add(rows[steps // 3])
        if steps == 8:
            engine.drop(rows[0])
        for row, token in engine.step():
            made[row].append(token.token_id)
        steps += 1
    assert made[rows[0]] == alone[0][: len(made[rows[0]])]
    assert 4 < len(made[rows[0]]) < 9
    assert [made[row] for row in rows[1:]] == alone[1:]
    assert engine.rows == []


def test_what_is_drawn_depends_on_the_own_seed_alone(base: Base) -> None:
    row = (tokens(9, 0), "lora", WARM)
    alone = ids(run(base.engine(), base.row(*row))[0])
    others = [
        base.row(tokens(4, seed), None, Sampling(max_tokens=9, temperature=2.0, seed=seed)) for seed in range(5)
    ]
    assert ids(run(base.engine(), *others, base.row(*row))[-1]) == alone


def test_a_long_prompt_is_read_between_the_tokens_of_others(base: Base) -> None:
    engine = base.engine()
    streaming = [
        base.row(tokens(4, seed), None, Sampling(max_tokens=64, temperature=2.0, seed=seed)) for seed in (1, 2)
    ]
    read: list[int] = []
    long = base.row(tokens(5 * batch.PART + 3, 3), "lora", reading=lambda done, total: read.append(done))
    for row in streaming:
        engine.add(row)
    engine.step()
    engine.add(long)
    while long not in (made := Counter(row for row, _ in (*engine.step(), *engine.step()))):
        assert [made[row] for row in streaming] == [1, 1], "a token each, after every part"
    assert read[:-1] == [0, *(batch.PART * part for part in range(1, 6)), 5 * batch.PART + 2]


def test_short_prompts_do_not_wait_for_a_long_one(base: Base) -> None:
    engine, order = base.engine(), []
    rows = [base.row(tokens(count, count)) for count in (8 * batch.PART, 20, 30, 40)]
    for row in rows:
        engine.add(row)
    while len(order) < len(rows):
        order += [rows.index(row) for row, token in engine.step() if token.tokens == 1]
    assert order[-1] == 0


def test_parties_have_equal_shares_and_memory_is_bounded(base: Base) -> None:
    per_row = batch.SHORTEST * (2 * 2 * 2 * 8 * 4)  # layers, keys and values, heads, width, bytes
    engine = base.engine(memory=3 * (per_row + 2 * batch.SHORTEST))
    many = [base.row(tokens(4, seed), party="many") for seed in range(6)]
    one = base.row(tokens(4, 9), party="one")
    for row in (*many, one):
        engine.add(row)
    at_once = Counter(row.party for row, _ in engine.step())
    assert at_once == {"many": 2, "one": 1}
    most = 0
    while engine.busy:
        most = max(most, len(engine.step()))
    assert most == 3
    assert all(row.ended for row in many)
    (made,) = run(base.engine(memory=1), base.row(tokens(4, 1)))
    assert made[-1].finish_reason is not None, "one row is always answered"


def test_a_row_that_fails_leaves_the_others(base: Base) -> None:
    broken, good = base.row(tokens(4, 1), "lora"), base.row(tokens(4, 2))
    alone = ids(run(base.engine(), base.row(tokens(4, 2)))[0])
    applied = base.adapters["lora"]
    assert applied is not None
    layers = [slot.adapted for slot in applied.slots]
    kept = [layer.lora_b for layer in layers]
    for layer in layers:
        layer.lora_b = layer.lora_b * 1e38  # its results overflow
    made = run(base.engine(), broken, good)
    for layer, lora_b in zip(layers, kept, strict=True):
        layer.lora_b = lora_b
    assert made[0] == []
    assert broken.ended
    assert "NaN or infinite at token 1" in str(broken.error)
    assert ids(made[1]) == alone


def test_a_conversation_that_goes_on_reads_what_is_new(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokens(3 * batch.PART + 20, 1)
    longer = [*first, *tokens(50, 2)]
    fresh = ids(run(base.engine(), base.row(longer, "lora"))[0])
    engine, read = base.engine(), Counter[int]()
    plain = engine._model.__class__.__call__
    monkeypatch.setattr(
        engine._model.__class__,
        "__call__",
        lambda self, x, cache=None: (read.update([x.shape[1]]), plain(self, x, cache))[1],
    )
    run(engine, base.row(first, "lora"))
    read.clear()
    assert ids(run(engine, base.row(longer, "lora"))[0]) == fresh, "to the bit"
    assert read[batch.PART] == 0
    read.clear()
    run(engine, base.row(longer), base.row(longer))
    assert read[batch.PART] == 3, "another adapter's are not used, and twins read once"
    assert 0 < engine._kept.bytes <= 16 << 20


class TestArchitectures:
    """Caches of other kinds than keys and values that grow."""

    @pytest.mark.parametrize("name", ["gemma3_text", "mamba", "jamba", "gemma2", "llama4"])
    def test_rows_are_answered_as_alone(self, name: str) -> None:
        entry = TABLE[name]
        mx.random.seed(0)
        model = build_lazily({"model_type": entry.model_type, **entry.config})
        size = int(model(mx.array([[0]])).shape[-1])
        rows = [
            Row(Prompt((np.arange(count) * 7 % size).tolist(), True), Sampling(max_tokens=6), 6)
            for count in (2, 19, 33)
        ]
        made = run(Engine(model, Untold(size)), *rows)  # type: ignore[arg-type]
        for row, found in zip(rows, made, strict=True):
            cache, logits = make_prompt_cache(model), mx.zeros(0)
            for part in ([*row.tokens[:-1]], [row.tokens[-1]]):
                logits = model(mx.array([part]), cache=cache)[0, -1]
            for token in found:
                assert float(logits[token.token_id].item()) > float(logits.max().item()) - 1e-4
                logits = model(mx.array([[token.token_id]]), cache=cache)[0, -1]


class Untold:
    """A tokenizer whose text does not matter."""

    eos_token_ids: frozenset[int] = frozenset()

    def __init__(self, size: int) -> None:
        self._size = size
        self.text = ""

    @property
    def detokenizer(self) -> Untold:
        return Untold(self._size)

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self._size)}

    def add_token(self, token: int) -> None:
        self.text += f" {token}"

    def finalize(self) -> None:
        """Nothing is held back."""
