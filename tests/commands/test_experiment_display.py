"""An experiment in a terminal of 80 columns."""

from __future__ import annotations

import pytest
from rich.console import Console

from droidft.commands._experiment_display import show_plan, show_table
from droidft.experiments.plan.settled import FixedPlan
from tests.experiments import found

WIDTH = 80


def shown(fixed: FixedPlan) -> str:
    console = Console(width=WIDTH)
    with console.capture() as captured:
        show_plan(fixed, console)
    return captured.get()


def test_the_memory_that_is_shown_beforehand_says_whose_account_it_is() -> None:
    text = shown(found.plan())
    assert "cost      37 runs, about 2 h 25 min on this machine as it is now,\n" in text
    assert "\n          2.6 GB of memory by MLX's account, 700 MB of disk\n" in text


def test_one_of_a_kind_is_not_many() -> None:
    fixed = found.plan()
    sizes = fixed.sizes.model_copy(update={"train_rows": 1, "test_rows": 1, "clusters": 1, "questions": 1})
    text = shown(fixed.model_copy(update={"sizes": sizes}))
    assert "1 row to train on" in text
    assert "1 row in 1 group, 12,700 tokens; 1 question\n" in text


ARMS = ["full-layer", *(f"attention-{word}-of-twenty-4" for word in ("qv", "kv", "ko")), "mlp-only", "all-linear"]


def tables(fixed: FixedPlan, width: int) -> str:
    table = found.analysis(fixed).table
    assert table is not None
    console = Console(width=width)
    with console.capture() as captured:
        show_table(table, console)
    return captured.get()


@pytest.mark.parametrize("names", [(), ARMS, [f"{number:024}" for number in range(6)]])
def test_figures_side_by_side_are_whole_in_a_narrow_terminal(names: list[str]) -> None:
    fixed = found.plan(names)
    text, table = tables(fixed, WIDTH), found.analysis(fixed).table
    assert table is not None
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= WIDTH
    flat = " ".join(text.split())
    for name in table.arms:
        assert name in flat
    stacked = [text for row in table.rows for cell in [*row.values, *row.differences] for text in cell.split(" [")]
    for cell in stacked if names else ():
        assert cell in flat


def test_arms_are_columns_where_they_fit_and_lines_where_they_do_not() -> None:
    head, *_ = tables(found.plan(), WIDTH).strip().splitlines()
    assert head.split() == ["base", "full-layer", "attention-qv", "attention-qv-matched"]
    down = tables(found.plan(ARMS), WIDTH)
    assert [line.split()[0] for line in down.splitlines() if "3 min 9 s" in line] == ARMS
    wide = tables(found.plan(ARMS), 240)
    assert wide.strip().splitlines()[0].split() == ["base", *ARMS]


def test_a_plan_of_many_arms_fits_too() -> None:
    lines = shown(found.plan(ARMS)).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("contrasts "))
    assert lines[first : first + 2] == [
        "contrasts full-layer − attention-qv-of-twenty-4",
        "          full-layer − attention-kv-of-twenty-4",
    ]
    assert sum(line.startswith("attention-") for line in lines) == 3
    assert all(line.endswith("3 min 52 s") for line in lines if line.startswith("attention-"))
