"""A whole experiment on a tiny model: planned, run, killed, resumed, analysed, reported.

Where a worker is killed or stopped it is a process of its own; elsewhere its work is done in this one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from droidft.commands._experiment_display import rendered
from droidft.config.measurement import Weights
from droidft.errors import ConfigError, ExperimentError, NotFound
from droidft.events import EvalReport, Measured
from droidft.experiments.findings.account import rates_at_an_end
from droidft.experiments.findings.analysis import analyse, measurements
from droidft.experiments.findings.comparison import mean_loss, read
from droidft.experiments.findings.results import Kind
from droidft.experiments.findings.stats import FEW
from droidft.experiments.plan.settled import FixedPlan, config_of, first_cells, later_cells, run_id
from droidft.experiments.plan.written import BASE
from droidft.experiments.runs import folder
from droidft.experiments.runs.folder import Experiment
from droidft.experiments.runs.progress import (
    Ended,
    ExperimentState,
    Progress,
    drive,
    ensure_run,
    look,
    seconds_left,
    state_of,
    validation_loss,
)
from droidft.home import Home
from tests import tiny
from tests.experiments import furnished
from tests.experiments.furnished import driven, finish, planned

RATELESS = {name: value for name, value in furnished.SETTINGS.items() if name != "learning_rate"}
STEEP = {"lora_alpha": 1e20}
LEARNS, DIVERGES = 1e-21, 1.0
"""Learning rates with which a `STEEP` adapter of all projections learns, and its loss becomes NaN."""
HOSTILE = "<script>alert(1)</script> | \"'"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, FixedPlan]:
    """Two arms, one of them matched, two seeds, two rates, two shares, questions: finished."""
    place = tmp_path_factory.mktemp("experiment")
    paths = furnished.furnish(place)
    home = Home(place / "home")
    (place / "home").mkdir()
    (place / "home" / "cache").symlink_to(Home.find().cache, target_is_directory=True)
    before = os.environ.get("DROIDFT_HOME")
    os.environ["DROIDFT_HOME"] = str(home.root)
    try:
        plan = furnished.plan(
            place,
            paths,
            title=HOSTILE,
            arms={
                "full": {"lora_targets": "full-layer"},
                "qv": {"lora_targets": "attention-qv", "match_count_of": "full"},
            },
            learning_rates=[0.003, 0.01],
            shares=[0.5, 1],
            measurement={
                "general_data_path": str(place / "general.jsonl"),
                "questions": {"check": "exact_answer", "most": 5, "max_tokens": 8},
            },
        )
        experiment, fixed = planned(home, plan, timed=True)
        finish(experiment, fixed)
    finally:
        os.environ["DROIDFT_HOME"] = before or ""
    return experiment, fixed


def test_the_plan_is_settled_before_the_first_step(done: tuple[Experiment, FixedPlan]) -> None:
    _, fixed = done
    full, matched = fixed.arms
    assert full.trainable == 4096
    assert abs(matched.trainable - full.trainable) <= matched.trainable / matched.rank / 2
    assert (matched.scale, matched.alpha) == (full.scale, matched.rank)
    assert matched.differs == {"lora_targets": "attention-qv", "lora_rank": 18, "lora_alpha": 18.0}
    assert (fixed.sizes.train_rows, fixed.sizes.validation_rows, fixed.sizes.test_rows) == (24, 4, 12)
    assert full.steps == {"0.5": 3, "1": 6}
    assert fixed.estimate is not None
    assert fixed.estimate.runs == 1 + 2 * 2 * 2 + 2 * 2
    assert all(cost.seconds_per_token > 0 and cost.peak_bytes > 0 for cost in fixed.costs)
    whole = sum(cost.seconds_per_run for cost in fixed.costs)
    shared = sum(cost.seconds_by_share["0.5"] for cost in fixed.costs)
    base = 5 + fixed.costs[0].measuring_seconds
    assert fixed.estimate.seconds == pytest.approx(base + 4 * whole + 2 * shared)
    for cost in fixed.costs:
        assert 5 < cost.seconds_by_share["0.5"] < cost.seconds_by_share["1"] < cost.seconds_per_run
    assert any("2 seeds are too few" in warning for warning in fixed.warnings)


def test_what_is_left_is_what_was_estimated_less_what_is_done(done: tuple[Experiment, FixedPlan]) -> None:
    experiment, fixed = done
    assert fixed.estimate is not None
    progress = look(experiment, fixed)
    assert seconds_left(fixed, progress) == 0
    nothing = [replace(state, run=None, status=None, diverged=False) for state in progress.cells]
    whole = pytest.approx(fixed.estimate.seconds)
    assert seconds_left(fixed, Progress(nothing, progress.chosen)) == whole
    first = [state for state in nothing if state.cell.share == 1]
    assert seconds_left(fixed, Progress(first, None)) == whole
    assert seconds_left(fixed.model_copy(update={"costs": []}), progress) is None
    assert seconds_left(fixed, Progress([state for state in progress.cells if state.cell.share == 1], None)) is None
    gone = [replace(state, diverged=state.cell.arm == "qv") for state in first]
    expected = fixed.costs[0].base_seconds + 4 * fixed.costs[0].seconds(1) + 2 * fixed.costs[0].seconds(0.5)
    assert seconds_left(fixed, Progress(gone, None)) == pytest.approx(expected)


def test_the_interval_of_a_loss_ends_at_zero(done: tuple[Experiment, FixedPlan]) -> None:
    experiment, fixed = done
    trained = [state for state in look(experiment, fixed).cells if state.cell.arm == "full" and state.cell.share == 1]
    runs = [found for state in trained[:2] if (found := read(experiment, fixed, state)) is not None]
    known = mean_loss(runs)
    assert len(runs) == 2
    assert known.low is not None
    assert 0 < known.low < known.value
    rows = range(len(runs[0].measured.test.losses))
    hardly = [100.0 * (row == 0) for row in rows]
    test = runs[0].measured.test.model_copy(update={"losses": hardly})
    uncertain = [replace(run, measured=run.measured.model_copy(update={"test": test})) for run in runs]
    assert mean_loss(uncertain).low == 0


def test_runs_share_what_they_should(done: tuple[Experiment, FixedPlan]) -> None:
    experiment, fixed = done
    found = measurements(experiment)
    assert len({each.test.data_hash for each in found.values()}) == 1
    assert len({each.general.data_hash for each in found.values()}) == 1
    configs = [config_of(fixed, cell) for cell in first_cells(fixed) if cell.arm != BASE]
    assert {config.split_seed for config in configs} == {0}
    assert {config.steps_per_eval for config in configs} == {1}
    assert not any(run.checkpoints.exists() for run in experiment.runs()), "nothing is left to be resumed"
    first = experiment.run(run_id(fixed, next(iter(first_cells(fixed)))))
    assert first is not None
    events = [record.event for record in first.records()[0]]
    assert [event.step for event in events if isinstance(event, Measured)] == [0]


def test_the_base_models_loss_is_that_of_step_zero(done: tuple[Experiment, FixedPlan]) -> None:
    """The test loss of run zero, from plain logits in NumPy."""
    import mlx.core as mx

    from droidft.data.prepare import prepare
    from droidft.engine.model import loading

    experiment, fixed = done
    base = measurements(experiment)[f"{fixed.id}.base"]
    config = config_of(fixed, next(iter(first_cells(fixed))))
    model, _ = loading.load_model(Path(fixed.model))
    rows = prepare(config, loading.load_tokenizer(Path(fixed.model))).test
    for row, loss in zip(rows, base.test.losses, strict=True):
        logits = np.array(model(mx.array(row.tokens[None, :-1])), dtype=np.float64)[0]
        logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        at = np.flatnonzero(row.supervised[1:])
        assert loss == pytest.approx(-logp[at, row.tokens[1:][at]].sum(), rel=1e-5)


def test_every_number_can_be_checked_from_the_json(done: tuple[Experiment, FixedPlan]) -> None:
    experiment, _ = done
    found = json.loads(rendered(experiment, "json"))
    analysis, measured = found["analysis"], found["measured"]
    by_arm: dict[str, list[np.ndarray]] = {}
    chosen = {arm["arm"]: arm["learning_rate"] for arm in analysis["arms"]}
    for run in analysis["runs"]:
        if run["share"] == 1 and run["arm"] != "base" and run["learning_rate"] == chosen[run["arm"]]:
            by_arm.setdefault(run["arm"], []).append(np.array(measured[run["run"]]["test"]["losses"]))
    tokens = np.array(measured[analysis["runs"][0]["run"]]["test"]["tokens"])
    difference = (np.array(by_arm["full"]) - np.array(by_arm["qv"])).sum(axis=1) / tokens.sum()
    contrast = analysis["contrasts"][0]
    assert contrast["per_seed"] == pytest.approx(difference.tolist())
    assert contrast["difference"]["value"] == pytest.approx(difference.mean())
    assert analysis["base"]["test_loss"] == pytest.approx(
        sum(measured[analysis["runs"][0]["run"]]["test"]["losses"]) / tokens.sum()
    )


def test_learning_rates_are_chosen_by_validation(done: tuple[Experiment, FixedPlan]) -> None:
    found = analyse(done[0])
    assert found.complete
    for arm in found.arms:
        best = min(arm.rates, key=lambda rate: rate.validation_loss.mean)
        assert (
            [rate.learning_rate for rate in arm.rates if rate.chosen] == [best.learning_rate] == [arm.learning_rate]
        )
    later = [run for run in found.runs if run.share < 1]
    assert {(run.arm, run.learning_rate) for run in later} == {(arm.arm, arm.learning_rate) for arm in found.arms}


def test_the_validation_loss_is_that_of_the_weights_that_are_measured() -> None:
    told = {"tokens": 1, "best": False, "best_loss": 1.0, "best_step": 2, "seconds": 0.0}
    events = [EvalReport(step=step, loss=loss, **told) for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0))]
    assert validation_loss(events, Weights.BEST) == 1.0
    assert validation_loss(events, Weights.LAST) == 2.0
    assert validation_loss([], Weights.LAST) is None


def test_a_learning_rate_at_the_end_of_its_grid_is_named(done: tuple[Experiment, FixedPlan]) -> None:
    found = analyse(done[0])
    told = rates_at_an_end(found.arms)
    assert all(note in found.notes for note in told)
    for arm in found.arms:
        end = "largest that was tried, 0.01: one above" if arm.learning_rate == 0.01 else "smallest that was tried"
        assert any(arm.arm in note and end in note for note in told)
        middle = arm.rates[0].model_copy(update={"chosen": True})
        others = [middle.model_copy(update={"learning_rate": rate, "chosen": False}) for rate in (1e-4, 0.1)]
        assert rates_at_an_end([arm.model_copy(update={"rates": [middle, *others]})]) == []


def test_what_is_found_has_all_its_parts(done: tuple[Experiment, FixedPlan]) -> None:
    found = analyse(done[0])
    (contrast,) = found.contrasts
    assert contrast.exploratory
    assert contrast.sentence.startswith("Exploratory (2 seeds; a verdict takes 3): ")
    assert contrast.reaches is not None
    assert [point.share for point in found.curves[0].points] == [0.5, 1.0]
    assert found.noise_floor is not None
    assert contrast.scores[0].questions == 5
    assert found.table is not None
    assert {len(row.values) for row in found.table.rows} == {3}
    assert contrast.reaches.sentence.startswith("Exploratory (2 seeds): ")
    (score,) = found.contrasts[0].scores
    assert score.telling < FEW
    assert score.difference.low is None, "the few answers that differ have no variance to speak of"
    assert score.adjusted_p == score.mcnemar_p, "of one contrast and one task"
    assert all(run.right is None for run in found.runs if run.share < 1), "answers belong to all of the data"


def test_reports_escape_what_people_wrote_and_name_no_folder(done: tuple[Experiment, FixedPlan]) -> None:
    experiment, fixed = done
    page, text = rendered(experiment, "html"), rendered(experiment, "md")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert text.startswith("# &lt;script&gt;alert(1)&lt;/script&gt; \\|")
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//", page)
    for form in (page, text, rendered(experiment, "json")):
        assert str(experiment.home.root.parent) not in form
        assert fixed.base_hash in form


def test_a_plan_leads_to_its_files_from_any_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = furnished.furnish(tmp_path)
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path)
    experiment = folder.create(
        Home.find(),
        furnished.plan(
            tmp_path,
            {"model_path": "model", "train_data_path": "chat.jsonl"},
            arms={"fresh": {"lora_targets": "full-layer"}, "more": {"init_adapter": "start@best"}},
            measurement={"general_data_path": "general.jsonl", "harness": {"tasks": ["x"], "include": "start"}},
        ),
    )
    monkeypatch.chdir("/")
    plan = experiment.plan()
    assert {name: plan.settings[name] for name in paths} == paths
    assert plan.arms["more"].settings["init_adapter"] == f"{tmp_path / 'start'}@best"
    assert plan.measurement.general_data_path == str(tmp_path / "general.jsonl")
    assert plan.measurement.harness is not None
    assert plan.measurement.harness.include == str(tmp_path / "start")


def test_two_values_that_are_one_file_are_refused_before_there_is_an_experiment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = furnished.furnish(tmp_path)
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path)
    plan = furnished.plan(tmp_path, paths, arms={}, sweep={"init_adapter": ["start", "./start"]})
    with pytest.raises(ConfigError, match=r"init_adapter names .* twice"):
        folder.create(Home.find(), plan)
    assert folder.all_experiments(Home.find()) == []


def test_an_experiment_goes_on_where_it_was_killed(home: Path, tmp_path: Path) -> None:
    """The worker and the driver are killed within the second run; the results are those of one never killed."""
    paths = furnished.furnish(tmp_path)
    plan = furnished.plan(
        tmp_path, paths, seeds=[5], settings=furnished.SETTINGS | paths | {"epochs": 15, "save_every": 3}
    )
    experiment, fixed = planned(Home(home), plan)
    for happening in drive(experiment, fixed, should_stop=lambda: False):
        if isinstance(happening, Ended):
            break
    state = look(experiment, fixed).next
    assert state is not None
    run = ensure_run(experiment, fixed, state.cell)
    worker = run.start()
    while not run.checkpoint_steps():
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.WAITING
    finish(experiment, fixed)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.FINISHED
    other, again = planned(Home(home), plan)
    finish(other, again)
    first, second = measurements(experiment), measurements(other)
    for name, each in first.items():
        assert each.test.losses == second[name.replace(experiment.id, other.id)].test.losses
    experiment.delete()
    assert not any(path.name.startswith(experiment.id) for path in (home / "runs").iterdir())
    assert not any(path.name.startswith(experiment.id) for path in (home / "adapters").iterdir())


def test_a_run_that_was_stopped_halts_it_until_it_is_started_again(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    plan = furnished.plan(tmp_path, paths, seeds=[1], settings=furnished.SETTINGS | paths | {"epochs": 400})
    experiment, fixed = planned(Home(home), plan)
    with pytest.raises(ExperimentError, match="was stopped"):
        stop_the_first_arm(experiment, fixed)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.HALTED
    time.sleep(0.01)
    experiment.want(running=True)
    assert look(experiment, fixed).obstacle is None


def stop_the_first_arm(experiment: Experiment, fixed: FixedPlan) -> None:
    for happening in drive(experiment, fixed, should_stop=lambda: False):
        run = experiment.run(happening.state.run_id)
        if run is not None and run.worker_pid() is not None and happening.state.cell.arm != BASE:
            run.stop()


def test_one_process_drives_an_experiment(home: Path, tmp_path: Path) -> None:
    experiment, fixed = planned(Home(home), furnished.plan(tmp_path, furnished.furnish(tmp_path)))
    with experiment.driving():
        assert experiment.driver_pid() == os.getpid()
        with pytest.raises(ExperimentError, match="driven by process"):
            next(drive(experiment, fixed, should_stop=lambda: False))
        with pytest.raises(ExperimentError, match="is running"):
            experiment.delete()
    assert experiment.driver_pid() is None
    assert experiment.fix(fixed.model_copy(update={"model": "another"})) == fixed, "the first one counts"
    assert folder.find(Home(home), "last").id == experiment.id
    with pytest.raises(NotFound, match="no experiment 'y'"):
        folder.find(Home(home), "y")


def test_a_sweep_names_the_best_and_compares_it_with_the_first(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    sweep = {"learning_rate": [1e-5, 0.003, 0.01]}
    plan = furnished.plan(tmp_path, paths, arms={}, sweep=sweep, settings=RATELESS | paths, seeds=[0])
    experiment, fixed = planned(Home(home), plan)
    finish(experiment, fixed)
    found = analyse(experiment)
    assert [row.settings for row in found.sweep] == [{"learning_rate": rate} for rate in sweep["learning_rate"]]
    assert found.sweep[2].best_so_far == found.sweep[2].validation_loss.mean < found.sweep[0].best_so_far
    [best] = found.contrasts
    assert (best.first, best.second, best.kind) == ("s03", "s01", Kind.BETTER)
    assert best.p is not None
    assert best.adjusted_p is not None
    assert best.p < best.adjusted_p <= 2 * best.p, "of two that it could have been"
    assert "s03 (learning_rate: 0.01) is better than s01 (learning_rate: 1e-05)" in found.verdict
    assert "The best combination has the largest learning_rate that was tried, 0.01: a larger one may be better." in (
        found.notes
    )
    assert list(later_cells(fixed, {"s01": 0, "s02": 0, "s03": 0})) == []


def test_a_sweep_whose_first_arm_diverges_compares_with_the_first_that_does_not(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    sweep = {"learning_rate": [DIVERGES, LEARNS, 2 * LEARNS]}
    settings = RATELESS | STEEP | {"lora_targets": "full-layer"} | paths
    experiment, fixed = planned(
        Home(home), furnished.plan(tmp_path, paths, arms={}, sweep=sweep, settings=settings, seeds=[0])
    )
    finish(experiment, fixed)
    found = analyse(experiment)
    assert found.complete
    assert [(each.first, each.second) for each in found.contrasts] == [("s03", "s02")]
    assert found.contrasts[0].adjusted_p == found.contrasts[0].p, "of one that could have been read"
    assert [row.validation_loss is None for row in found.sweep] == [True, False, False]
    assert found.sweep[0].best_so_far is None
    assert "s01 diverged, so s03 is compared with s02, the first that did not." in found.notes
    assert "Diverged, and not judged at what they were tried with: s01.s0." in found.notes
    assert any(
        line.startswith("| s01 |") and "| diverged |" in line for line in rendered(experiment, "md").splitlines()
    )
    assert "diverged" in rendered(experiment, "html")


def test_an_arm_of_a_sweep_is_judged_at_its_own_rate(home: Path, tmp_path: Path) -> None:
    """One that diverges with the first rate is the best with the second; one that always diverges stops nothing."""
    paths = furnished.furnish(tmp_path)
    sweep = {"lora_alpha": [0.001, 1e20, 1e38]}
    settings = RATELESS | {"lora_targets": "full-layer"} | paths
    plan = furnished.plan(
        tmp_path, paths, arms={}, sweep=sweep, settings=settings, seeds=[0], learning_rates=[DIVERGES, LEARNS]
    )
    experiment, fixed = planned(Home(home), plan)
    finish(experiment, fixed)
    found = analyse(experiment)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.FINISHED
    assert [row.validation_loss is None for row in found.sweep] == [False, False, True]
    assert [(each.first, each.second) for each in found.contrasts] == [("s02", "s01")]
    assert next(arm for arm in found.arms if arm.arm == "s02").learning_rate == LEARNS
    [contrast] = found.contrasts
    assert contrast.p is not None
    assert contrast.adjusted_p == pytest.approx(min(1.0, 2 * contrast.p)), "two rates, one comparison"


def test_a_rate_that_diverges_is_a_result_and_one_that_does_not_is_chosen(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    plan = furnished.plan(
        tmp_path, paths, seeds=[0], learning_rates=[DIVERGES, LEARNS], settings=RATELESS | STEEP | paths
    )
    experiment, fixed = planned(Home(home), plan)
    finish(experiment, fixed)
    found = analyse(experiment)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.FINISHED
    assert found.complete
    full = found.arms[0]
    assert [rate.chosen for rate in full.rates] == [False, True]
    assert full.rates[0].validation_loss is None
    assert full.learning_rate == LEARNS
    assert [run.status for run in found.runs if run.arm == "full"] == ["diverged", "finished"]
    assert "| full | 1 | diverged | – | – |" in rendered(experiment, "md")
    json.loads(rendered(experiment, "json"), parse_constant=pytest.fail)


@pytest.mark.parametrize("changed", ["chat.jsonl", "general.jsonl", "model"])
def test_what_was_changed_since_the_plan_was_fixed_is_refused(home: Path, tmp_path: Path, changed: str) -> None:
    paths = furnished.furnish(tmp_path)
    experiment, fixed = planned(Home(home), furnished.plan(tmp_path, paths, seeds=[0]))
    for happening in driven(experiment, fixed):
        if isinstance(happening, Ended):
            break  # the base model is measured
    if changed == "model":
        tiny.write_model(tmp_path / "model", seed=1)
    else:
        file = tmp_path / changed
        file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    with pytest.raises(ExperimentError, match=r"is not what it was when experiment .* was planned: SHA-256"):
        finish(experiment, fixed)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.HALTED


def test_figures_of_an_unfinished_experiment_say_what_they_are_of(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    experiment, fixed = planned(Home(home), furnished.plan(tmp_path, paths))
    ended = 0
    for happening in driven(experiment, fixed):
        ended += isinstance(happening, Ended)
        if ended == 4:
            break  # the base model, both arms with the first seed, one with the second
    found = analyse(experiment)
    assert found.table is not None
    assert found.table.arms == ["base", "full", "qv (1 of 2 seeds)"]
    assert found.contrasts[0].sentence.startswith("So far, with 1 of 2 seeds, and no verdict before all are done: ")
    assert found.contrasts[0].exploratory
    lost = next(run for run in found.runs if run.arm == "full")
    run = experiment.run(lost.run)
    assert run is not None
    run.measured_file.unlink()
    assert f"Run {lost.run} is finished, but what it measured is missing: it does not count." in (
        analyse(experiment).notes
    )


def test_an_experiment_whose_rates_all_diverge_says_so(home: Path, tmp_path: Path) -> None:
    paths = furnished.furnish(tmp_path)
    plan = furnished.plan(
        tmp_path, paths, seeds=[0], learning_rates=[1.0, 0.5], settings=RATELESS | {"lora_alpha": 1e25} | paths
    )
    experiment, fixed = planned(Home(home), plan)
    with pytest.raises(ExperimentError, match="full, qv: a run diverged with every learning rate"):
        finish(experiment, fixed)
    assert state_of(experiment, look(experiment, fixed)) is ExperimentState.HALTED
    assert analyse(experiment).arms == []
