"""Rows for a certificate: never those that were trained on, always the same ones, for every family of methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.config import TrainingConfig
from droidft.data.plain import read_plain
from droidft.data.prepare import prepare, read_set
from droidft.engine.evaluation.unseen import ROWS, Unseen, rows_of_file, rows_of_run
from droidft.engine.model import loading
from droidft.errors import ConfigError, DataError
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer(material: dict[str, str]) -> Any:
    return loading.load_tokenizer(Path(material["model_path"]))


def nothing(prompts: list[list[int]]) -> list[list[int]]:
    return [[] for _ in prompts]


def answering(prompts: list[list[int]]) -> list[list[int]]:
    return [[65, 66, 258] for _ in prompts]


def of_run(config: TrainingConfig, tokenizer: Any, draw: Any = nothing) -> Unseen:
    return rows_of_run(config, tokenizer, context_length=512, draw=draw)


def of_file(path: Path, tokenizer: Any, config: TrainingConfig | None) -> Unseen:
    return rows_of_file(str(path), tokenizer, config=config, context_length=512, draw=answering)


def test_a_run_gives_its_validation_rows(material: dict[str, str], tokenizer: Any) -> None:
    config = TrainingConfig(**material, validation_fraction=0.3)
    data = prepare(config, tokenizer)
    unseen = of_run(config, tokenizer)
    assert set(unseen.tokens.digests) == set(data.validation.digests)
    assert not np.isin(unseen.tokens.digests, data.train.digests).any()


def test_many_rows_are_drawn_by_their_own_hash(material: dict[str, str], tokenizer: Any, tmp_path: Path) -> None:
    rows = tiny.write_chat(tmp_path / "rows.jsonl", rows=100, seed=5)
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(rows.read_text().splitlines())))
    config = TrainingConfig(**material)
    one, other = (of_file(path, tokenizer, config) for path in (rows, turned))
    assert len(one.tokens) == ROWS
    assert set(one.tokens.digests) == set(other.tokens.digests)


def test_rows_that_were_trained_on_are_left_out_and_counted(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    config = TrainingConfig(**material)
    trained = Path(material["train_data_path"]).read_text().splitlines()
    new = json.dumps({"messages": [{"role": "user", "content": "new"}, {"role": "assistant", "content": "NEW"}]})
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join([*trained, new]))
    held = len(prepare(config, tokenizer).validation)
    unseen = of_file(mixed, tokenizer, config)
    assert len(unseen.tokens) == 1 + held
    assert unseen.notes == (f"{len(trained) - held} rows left out: the run was trained on the same tokens",)
    only = tmp_path / "seen.jsonl"
    only.write_text("\n".join(trained[line - 1] for line in prepare(config, tokenizer).train.lines.tolist()))
    with pytest.raises(ConfigError, match="trained on every one of the"):
        of_file(only, tokenizer, config)


def test_data_that_is_no_more_what_was_trained_on_is_named(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    kept = Path(material["train_data_path"]).read_text()
    data, other = tmp_path / "data.jsonl", tiny.write_chat(tmp_path / "other.jsonl", rows=5, seed=9)
    config = TrainingConfig(**{**material, "train_data_path": str(data)})

    def of_run_and_file(data_hash: str | None) -> list[tuple[str, ...]]:
        about: Any = {"context_length": 512, "data_hash": data_hash}
        of_file = rows_of_file(str(other), tokenizer, config=config, draw=nothing, **about)
        return [rows_of_run(config, tokenizer, draw=nothing, **about).notes, of_file.notes]

    data.write_text(kept)
    trained = prepare(config, tokenizer).report.data_hash
    assert of_run_and_file(trained) == of_run_and_file(None) == [(), ()]
    data.write_text("".join(kept.splitlines(keepends=True)[1:]))
    assert all("data has changed since" in notes[0] for notes in of_run_and_file(trained))
    data.unlink()
    with pytest.raises(DataError, match="does not exist") as caught:
        of_run(config, tokenizer)
    assert "--rows FILE" in caught.value.hint
    [note] = rows_of_file(str(other), tokenizer, config=config, context_length=512, draw=nothing).notes
    assert "cannot be read any more" in note
    assert "not known" in note


def test_without_a_run_the_rows_are_taken_as_they_are_with_a_note(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    rows = tiny.write_chat(tmp_path / "rows.jsonl", rows=3)
    unseen = of_file(rows, tokenizer, None)
    assert len(unseen.tokens) == 3
    assert "not known" in unseen.notes[0]


def test_a_run_that_held_nothing_back_asks_for_a_file(material: dict[str, str], tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="held no rows back") as caught:
        of_run(TrainingConfig(**material, validation="none"), tokenizer)
    assert caught.value.field == "rows"


def test_of_preferences_the_chosen_answers_count(material: dict[str, str], tokenizer: Any, tmp_path: Path) -> None:
    lines = [{"prompt": f"word {n}", "chosen": f"GOOD {n}", "rejected": f"bad {n}"} for n in range(20)]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    config = TrainingConfig(
        model_path=material["model_path"], train_data_path=str(data), method="dpo", validation_fraction=0.2
    )
    unseen = of_run(config, tokenizer)
    assert len(unseen.tokens) == 4
    for row in unseen.tokens:
        assert "GOOD" in tokenizer.decode(row.tokens[row.supervised].tolist())


def test_of_rewards_the_trained_models_answers_count(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"word {n}", "answer": str(n)}) for n in range(20)))
    config = TrainingConfig(
        model_path=material["model_path"],
        train_data_path=str(data),
        method="grpo",
        rewards=[{"kind": "exact_answer"}],
        validation_fraction=0.2,
        max_completion_length=16,
    )
    unseen = of_run(config, tokenizer, answering)
    assert len(unseen.tokens) == 4
    assert all(row.tokens[row.supervised].tolist() == [65, 66, 258] for row in unseen.tokens)
    assert "the trained model answered them" in unseen.notes[-1]
    with pytest.raises(DataError, match="answers nothing"):
        of_run(config, tokenizer, nothing)


CHAT = {"messages": [{"role": "user", "content": "new"}, {"role": "assistant", "content": "NEW"}]}


def test_a_run_on_preferences_takes_a_file_of_them_or_of_answers(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    trained = [{"prompt": f"word {n}", "chosen": f"GOOD {n}", "rejected": f"bad {n}"} for n in range(20)]
    data, rows = tmp_path / "pairs.jsonl", tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, trained)))
    model = material["model_path"]
    config = TrainingConfig(model_path=model, train_data_path=str(data), method="dpo", validation="none")
    new = {"prompt": "another", "chosen": "GOOD one", "rejected": "bad one"}
    rows.write_text("\n".join(map(json.dumps, [new, trained[3]])))
    unseen = of_file(rows, tokenizer, config)
    [row] = unseen.tokens
    assert "GOOD one" in tokenizer.decode(row.tokens[row.supervised].tolist())
    assert unseen.notes == ("1 row left out: the run was trained on the same tokens",)
    rows.write_text(json.dumps(CHAT))
    [row] = of_file(rows, tokenizer, config).tokens
    assert "NEW" in tokenizer.decode(row.tokens[row.supervised].tolist())


def test_a_run_on_rewards_takes_a_file_of_prompts_or_of_answers(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    data, rows = tmp_path / "prompts.jsonl", tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps({"question": f"word {n}", "solution": n}) for n in range(20)))
    model = material["model_path"]
    config = TrainingConfig(
        model_path=model,
        train_data_path=str(data),
        method="grpo",
        rewards=[{"kind": "exact_answer"}],
        prompt_column="question",
        max_completion_length=16,
    )
    rows.write_text("\n".join(json.dumps({"question": word}) for word in ("another", "more")))
    unseen = of_file(rows, tokenizer, config)
    assert [row.tokens[row.supervised].tolist() for row in unseen.tokens] == [[65, 66, 258]] * 2
    assert "the trained model answered them" in unseen.notes[-1]
    rows.write_text(json.dumps(CHAT))
    [row] = of_file(rows, tokenizer, config).tokens
    assert "NEW" in tokenizer.decode(row.tokens[row.supervised].tolist())


def test_rows_of_no_run_are_read_as_a_run_of_usual_settings_reads_them(
    material: dict[str, str], tokenizer: Any, tmp_path: Path
) -> None:
    read = read_set(TrainingConfig(**material), material["train_data_path"], tokenizer, called="the rows")
    plain = read_plain(material["train_data_path"], tokenizer, called="the rows")
    assert np.array_equal(plain.digests, read.digests)
    assert np.array_equal(plain.supervised_counts, read.supervised_counts)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError, match="the rows"):
        read_plain(str(empty), tokenizer, called="the rows")
