"""What is settled, warned of or refused before the first step of an experiment."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from droidft.errors import ConfigError
from droidft.experiments.plan.settled import FixedPlan, config_of, first_cells
from droidft.experiments.plan.written import BASE
from droidft.home import Home
from droidft.runs import folder as runs
from tests import tiny
from tests.experiments import furnished
from tests.experiments.furnished import planned


def test_rows_of_one_conversation_are_one_cluster(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    test = tmp_path / "test.jsonl"
    rows = [
        {"messages": turns("ab", "AB"), "user": 1},
        {"messages": turns("ab", "AB", "cd", "CD"), "user": 1},
        {"messages": turns("xy", "XY"), "user": 2},
        {"messages": turns("ab", "BA"), "user": 2},
    ]
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted: dict[str, Any] = {"general_data_path": str(tmp_path / "general.jsonl"), "test_data_path": str(test)}
    whole = {name: value for name, value in furnished.SETTINGS.items() if name != "test_fraction"} | paths
    plan = partial(furnished.plan, tmp_path, paths, settings=whole)
    _, fixed = planned(Home(home), plan(measurement=wanted))
    assert (fixed.sizes.test_rows, fixed.sizes.clusters) == (4, 2), "three open alike"
    _, fixed = planned(Home(home), plan(measurement=wanted | {"cluster_column": "user"}))
    assert fixed.sizes.clusters == 2
    with pytest.raises(ConfigError, match=r"test\.jsonl:1 has no column 'person'"):
        planned(Home(home), plan(measurement=wanted | {"cluster_column": "person"}))


def test_a_test_row_has_no_sibling_in_training(home: Path, tmp_path: Path) -> None:
    """Rows of one conversation are on one side, unless the plan wants rows to be drawn: then it is said."""
    paths = furnished.furnish(tmp_path)
    rows = [{"messages": turns(f"ask{number // 4}", f"SAY{number}")} for number in range(60)]
    Path(paths["train_data_path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, fixed = planned(Home(home), furnished.plan(tmp_path, paths))
    assert fixed.sizes.test_rows == 4 * fixed.sizes.clusters
    assert fixed.sizes.opened_in_training == 0
    assert "rows of one conversation stay together" in fixed.sizes.split
    drawn = furnished.plan(tmp_path, paths, settings=furnished.SETTINGS | paths | {"split_by": "row"})
    _, fixed = planned(Home(home), drawn)
    assert fixed.sizes.opened_in_training
    assert any("test rows belong together with training or validation data" in text for text in fixed.warnings)


@pytest.mark.parametrize("known", [True, False])
def test_a_column_of_a_test_file_is_looked_for_in_the_training_data(home: Path, tmp_path: Path, known: bool) -> None:
    paths = furnished.furnish(tmp_path)
    texts = [f"word{number}" for number in range(40)]
    rows = [{"messages": turns(text, text.upper()), "doc": f"d{at % 10}"} for at, text in enumerate(texts)]
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows[30:]))
    part = rows[:30] if known else [{"messages": row["messages"]} for row in rows[:30]]
    Path(paths["train_data_path"]).write_text("".join(json.dumps(row) + "\n" for row in part))
    whole = {name: value for name, value in furnished.SETTINGS.items() if name != "test_fraction"} | paths
    wanted = {"general_data_path": str(tmp_path / "general.jsonl"), "test_data_path": str(test)}
    plan = furnished.plan(tmp_path, paths, settings=whole, measurement=wanted | {"cluster_column": "doc"})
    _, fixed = planned(Home(home), plan)
    assert fixed.sizes.clusters == 10
    assert fixed.sizes.opened_in_training == (10 if known else None)
    said = "(one doc): part of them was seen there" if known else "the training data has no column 'doc'"
    assert any(said in text for text in fixed.warnings)


def test_groups_that_are_too_large_are_told(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    wanted = {"general_data_path": str(tmp_path / "general.jsonl"), "cluster_column": "doc"}

    def of_sizes(*sizes: int, shares: tuple[float, ...] = (1.0,)) -> FixedPlan:
        plan = furnished.plan(tmp_path, paths, shares=list(shares), measurement=wanted)
        docs = [f"d{doc}" for doc, size in enumerate(sizes) for _ in range(size)]
        rows = [{"messages": turns(f"w{at}", f"W{at}"), "doc": doc} for at, doc in enumerate(docs)]
        Path(paths["train_data_path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return planned(Home(home), plan)[1]

    chunky = of_sizes(*[12] * 8, shares=(0.05, 0.6, 1))
    told = [text for text in chunky.warnings if "of the" in text and "training rows comes to" in text]
    assert told[0].startswith("5% of the ")
    assert chunky.arms[0].steps["0.05"] == 3, "12 rows in batches of 4"
    with pytest.raises(ConfigError, match=r"all \d+ test rows belong together, as one group"):
        of_sizes(20, 20)
    large = of_sizes(4, 4, 4, 4, 4, 4, 4, 60)
    assert any("comes to" in text and "drawn as one" in text for text in large.warnings)


def test_a_test_row_that_was_validated_on_is_counted(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    validation = tiny.write_chat(tmp_path / "val.jsonl", rows=5, seed=1)
    whole = {name: value for name, value in furnished.SETTINGS.items() if name != "test_fraction"} | paths
    plan = furnished.plan(
        tmp_path,
        paths,
        settings=whole | {"val_data_path": str(validation)},
        measurement={"general_data_path": str(tmp_path / "general.jsonl"), "test_data_path": str(validation)},
    )
    _, fixed = planned(Home(home), plan)
    assert fixed.sizes.seen_in_training == 5


def test_a_run_has_the_settings_of_the_day_its_plan_was_fixed(home: Path, tmp_path: Path) -> None:
    _, fixed = planned(Home(home), furnished.plan(tmp_path, furnished.furnish(tmp_path)))
    first = next(cell for cell in first_cells(fixed) if cell.arm != BASE)
    config = config_of(fixed, first)
    assert config.split_by.value == "conversation"
    arm = fixed.arm(first.arm)
    assert arm.config is not None
    older = arm.model_copy(update={"config": arm.config | {"weight_decay": 0.25}})
    assert config_of(fixed.model_copy(update={"arms": [older, *fixed.arms[1:]]}), first).weight_decay == 0.25


def test_a_count_that_no_rank_matches_is_warned_of(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    arms = {
        "few": {"lora_targets": "attention-qv", "lora_rank": 1},
        "all": {"lora_targets": "full-layer", "match_count_of": "few"},
        "dora": {"lora_targets": "attention-qv", "fine_tune_type": "dora", "lora_rank": 3, "lora_alpha": 3},
        "lora": {"lora_targets": "attention-qv", "match_count_of": "dora"},
        "again": {"lora_targets": "attention-qv", "fine_tune_type": "dora", "match_count_of": "lora-9"},
        "lora-9": {"lora_targets": "attention-qv", "lora_rank": 9, "lora_alpha": 9},
    }
    _, fixed = planned(Home(home), furnished.plan(tmp_path, paths, arms=arms))
    [warning] = [text for text in fixed.warnings if "no rank fits better" in text and text.startswith("all ")]
    few, everything = fixed.arm("few"), fixed.arm("all")
    off = everything.trainable / few.trainable - 1
    assert warning == (
        f"all trains {everything.trainable:,} parameters at rank 1, {off:.0%} more than few ({few.trainable:,}): "
        "no rank fits better"
    )
    for name in ("lora", "again"):
        arm = fixed.arm(name)
        wanted = fixed.arm(arm.matched or "").trainable
        per_rank = fixed.arm("lora-9").trainable / 9
        assert abs(arm.trainable - wanted) <= per_rank / 2, name


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def test_arms_that_do_not_differ_are_refused(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    same = {"a": {"lora_targets": "attention-qv"}, "b": {"lora_targets": "attention-qv", "match_count_of": "a"}}
    with pytest.raises(ConfigError, match="arms a and b have the same settings"):
        planned(Home(home), furnished.plan(tmp_path, paths, arms=same))


def test_a_share_of_less_than_a_batch_is_warned_about(home: Path, tmp_path: Path) -> None:
    _, fixed = planned(Home(home), furnished.plan(tmp_path, furnished.furnish(tmp_path), shares=[0.005, 0.5, 1]))
    assert [warning for warning in fixed.warnings if "batch" in warning] == [
        "0.5% of the 24 training rows is 1: less than one batch of 4"
    ]


def test_a_plan_without_test_rows_is_refused(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    plan = furnished.plan(tmp_path, paths, settings=furnished.SETTINGS | paths | {"test_fraction": 0})
    with pytest.raises(ConfigError, match="there are no test rows"):
        planned(Home(home), plan)
    assert runs.all_runs(Home(home)) == []


def test_shares_that_come_to_the_same_rows_are_refused(home: Path, tmp_path: Path) -> None:
    plan = furnished.plan(tmp_path, furnished.furnish(tmp_path), shares=[0.5, 0.51, 1])
    with pytest.raises(ConfigError, match=r"shares 0\.5 and 0\.51 both come to 12 of 24 training rows"):
        planned(Home(home), plan)
