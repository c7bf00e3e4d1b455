"""What DPO and the KL term compare with: the adapter that a run starts from, a named one, or the bare base."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from droidft.config import parse_config
from droidft.events import EvalReport, Failed, Finished, TrainReport, Warned
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.runs.folder import Run
from tests import tiny
from tests.engine.methods import llama64, preferred, reference_preference
from tests.workers import here

LONG = "An answer long enough for the margin to grow"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("material")
    return {
        "model_path": str(tiny.write_model(folder / "model")),
        "pairs": str(preferred.write_pairs(folder / "pairs.jsonl")),
        "chat": str(tiny.write_chat(folder / "chat.jsonl")),
    }


def create(material: dict[str, str], *, data: str = "pairs", **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "method": "dpo",
        "model_path": material["model_path"],
        "train_data_path": material[data],
        "batch_size": 4,
        "iterations": 4,
        "steps_per_report": 1,
        "steps_per_eval": 4,
        "save_every": 2,
        "learning_rate": 1e-2,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_targets": "full-layer",
        "early_stop": False,
    }
    return runs.create(Home.find(), parse_config(settings | changes))


def events(run: Run) -> list[Any]:
    return [record.event for record in run.records()[0]]


def finish(run: Run, ending: type = Finished) -> list[Any]:
    here.start(run)
    assert isinstance(events(run)[-1], ending), events(run)[-1]
    return events(run)


def tuned(material: dict[str, str], name: str = "sft", **changes: Any) -> str:
    """An adapter of supervised training that moves the model far."""
    finish(create(material, data="chat", method="sft", iterations=30, adapter_name=name, **changes))
    return name


def start(found: list[Any]) -> EvalReport:
    return next(event for event in found if isinstance(event, EvalReport))


def warnings(found: list[Any], code: str) -> list[str]:
    return [event.message for event in found if isinstance(event, Warned) and event.code == code]


def test_a_run_is_compared_with_the_adapter_that_it_starts_from(home: Path, material: dict[str, str]) -> None:
    first = start(finish(create(material, init_adapter=tuned(material))))
    assert first.loss == pytest.approx(math.log(2), abs=1e-6)
    assert abs(first.metrics["margin"]) < 1e-6
    bare = start(finish(create(material, init_adapter="sft", reference_adapter="none")))
    assert abs(bare.metrics["margin"]) > 0.01
    named = tuned(material, "other", seed=9, lora_rank=2, lora_targets="attention-qv")
    other = start(finish(create(material, init_adapter="sft", reference_adapter=named)))
    assert abs(other.metrics["margin"]) > 0.01
    assert other.loss != bare.loss
    base = start(finish(create(material)))
    assert base.loss == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("reference", [None, "none", "other"])
def test_loss_and_margin_equal_numpy_on_merged_weights(
    home: Path, material: dict[str, str], reference: str | None
) -> None:
    """Policy and reference by an implementation without MLX, in float64, with their adapters merged."""
    tuned(material)
    tuned(material, "other", seed=9, lora_rank=2, lora_targets="attention-qv")
    pairs = Path(material["pairs"]).parent / "few.jsonl"
    rows = [json.loads(line) for line in Path(material["pairs"]).read_text().splitlines()[:6]]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = create(
        {**material, "few": str(pairs)},
        data="few",
        init_adapter="sft",
        reference_adapter=reference,
        val_data_path=str(pairs),
        beta=0.3,
    )
    found = start(finish(run))
    weights = mx.load(str(Path(material["model_path"]) / "model.safetensors"))
    assert isinstance(weights, dict)
    policy = merged(weights, "sft", 2.0)
    compared = {
        None: policy,
        "none": llama64.merged({name: np.array(value) for name, value in weights.items()}, {}, 0.0),
        "other": merged(weights, "other", 4.0),
    }[reference]
    tokenizer, _ = preferred.material()
    outcomes = []
    for row in rows:
        answers = []
        for answer in (row["chosen"], row["rejected"]):
            asked = [{"role": "user", "content": row["prompt"]}]
            prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)
            whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}])
            whole = whole[: len(whole) - whole[::-1].index(258)]  # up to the token that ends the turn
            logs = [llama64.log_probabilities(each, tiny.LLAMA, whole) for each in (policy, compared)]
            now, base = (each[len(prompt) - 1 :] for each in logs)
            answers.append(reference_preference.Answer(now, base, np.zeros(1)))
        outcomes.append(reference_preference.dpo(reference_preference.Pair(*answers), 0.3))
    assert found.loss == pytest.approx(np.mean([each.loss for each in outcomes]), rel=2e-5)
    for name in ("margin", "reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected"):
        wanted = np.mean([each.statistics[name] for each in outcomes])
        assert found.metrics[name] == pytest.approx(wanted, rel=2e-5, abs=2e-5), name


def merged(weights: dict[str, mx.array], adapter: str, scale: float) -> dict[str, Any]:
    arrays = mx.load(str(Home.find().adapter(adapter) / "best_adapters.safetensors"))
    assert isinstance(arrays, dict)
    plain = {name: np.array(value) for name, value in weights.items()}
    return llama64.merged(plain, {name: np.array(value) for name, value in arrays.items()}, scale)


@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_a_resumed_run_needs_the_original_no_more(home: Path, material: dict[str, str], method: str) -> None:
    tuned(material)
    more: dict[str, Any] = {"method": method, "init_adapter": "sft", "iterations": 6}
    if method == "grpo":
        more |= {
            "beta": 0.5,
            "rewards": [{"kind": "length_window", "maximum": 8, "unit": "characters", "falloff": 90}],
        }
        more |= {"num_generations": 3, "prompts_per_step": 2, "max_completion_length": 6, "max_eval_prompts": 2}
    whole = create(material, **more)
    expected = finish(whole)
    run = create(material, **more)
    worker = run.start()
    while not any(isinstance(event, TrainReport) and event.step >= 2 for event in events(run)):
        time.sleep(0.002)
    run.kill()
    worker.wait()
    shutil.rmtree(Home.find().adapter("sft"))
    found = finish(run)
    losses = {event.step: event.loss for event in expected if isinstance(event, TrainReport | EvalReport)}
    assert {event.step: event.loss for event in found if isinstance(event, TrainReport | EvalReport)} == losses
    if method == "grpo":
        reports = [event for event in expected if isinstance(event, TrainReport)]
        assert reports[0].metrics["kl"] == pytest.approx(0, abs=1e-6), "it starts at its reference"
    reference = run.checkpoints / "reference" / "adapters.safetensors"
    reference.unlink()
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(config | {"iterations": 8}))
    assert isinstance(finish(run, Failed)[-1], Failed)


def test_a_start_with_nothing_to_learn_is_a_warning(home: Path, material: dict[str, str], tmp_path: Path) -> None:
    """Supervised training on the chosen answers, then DPO against the bare base."""
    rows = [{"prompt": f"Greet {n}", "chosen": LONG, "rejected": "What."} for n in range(20)]
    chats = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]}
        for row in rows
    ]
    for name, lines in (("dpo", rows), ("hot", chats)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    places = {**material, "dpo": str(tmp_path / "dpo.jsonl"), "hot": str(tmp_path / "hot.jsonl")}
    finish(create(places, data="hot", method="sft", iterations=60, adapter_name="hot"))
    found = finish(create(places, data="dpo", init_adapter="hot", reference_adapter="none", beta=0.5))
    [told] = warnings(found, "nothing_to_learn")
    assert "an accuracy of 100%. It starts from the adapter hot and is compared with the bare base model" in told
    assert "leave reference_adapter out" in told
    good = finish(create(places, data="dpo", init_adapter="hot", beta=0.5, learning_rate=1e-4))
    assert not warnings(good, "nothing_to_learn")
    reports = [event for event in good if isinstance(event, TrainReport)]
    assert reports[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert reports[-1].loss < reports[0].loss


def test_an_adapter_that_is_not_there_is_named(home: Path, material: dict[str, str]) -> None:
    failed = finish(create(material, reference_adapter="nobody"), Failed)[-1]
    assert "nobody" in failed.message


def test_it_has_no_effect_where_nothing_is_compared() -> None:
    given = {"model_path": "m", "train_data_path": "d", "reference_adapter": "x"}
    for method, why in (("sft", "method 'sft'"), ("orpo", "method 'orpo'"), ("grpo", "beta 0")):
        more = {"rewards": [{"kind": "lexical_f1"}]} if method == "grpo" else {}
        config = parse_config({**given, **more, "method": method})
        assert any(why in text for text in config.warnings() if "reference_adapter" in text), config.warnings()
        assert config.reference is None
