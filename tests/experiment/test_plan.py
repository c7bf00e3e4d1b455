"""Plans: what is refused, and what they come to."""

from __future__ import annotations

from typing import Any

import pytest

from droidft.errors import ConfigError
from droidft.experiment.plan import Plan, parse_plan

BASE: dict[str, Any] = {"settings": {"model_path": "m", "train_data_path": "d"}}
ARMS = {"a": {"lora_rank": 8}, "b": {"lora_targets": "mlp", "match_count_of": "a"}}


def made(**values: Any) -> Plan:
    return parse_plan(BASE | values, source="plan.yaml")


def test_the_common_question_has_both_ways_of_matching() -> None:
    plan = made(template="full-layer-vs-attention")
    assert list(plan.all_arms()) == ["full-layer", "attention-qv", "attention-qv-matched"]
    assert plan.all_arms()["attention-qv-matched"].match_count_of == "full-layer"
    assert plan.all_contrasts() == [("full-layer", "attention-qv"), ("full-layer", "attention-qv-matched")]
    assert (plan.seeds, plan.equivalence_margin, plan.exploratory) == ([0, 1, 2], 0.02, False)
    config = plan.config("attention-qv", seed=2)
    assert (config.lora_targets.value, config.seed, config.split_seed, config.test_fraction) == (
        "attention-qv",
        2,
        0,
        0.1,
    )


def test_a_sweep_is_every_combination() -> None:
    plan = made(sweep={"lora_rank": [4, 8], "learning_rate": [1e-4, 1e-3]}, seeds=[0])
    arms = plan.all_arms()
    assert [arm.settings for arm in arms.values()][1] == {"lora_rank": 4, "learning_rate": 1e-3}
    assert list(arms) == ["s01", "s02", "s03", "s04"]
    assert plan.exploratory
    assert plan.all_contrasts() == []


def test_a_test_file_leaves_all_rows_for_training() -> None:
    plan = made(template="full-layer-vs-attention", measurement={"test_data_path": "t.jsonl"})
    assert plan.config("full-layer", seed=0).test_fraction == 0


def test_an_arms_settings_may_stand_by_themselves() -> None:
    arms = made(arms=ARMS).all_arms()
    assert arms["b"].settings == {"lora_targets": "mlp"}
    assert arms["b"].match_count_of == "a"


def test_short_forms_of_questions() -> None:
    plan = made(arms=ARMS, measurement={"questions": "numeric_answer"})
    assert plan.measurement.questions is not None
    assert plan.measurement.questions.check.kind == "numeric_answer"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "neither template, arms nor sweep given"),
        ({"arms": ARMS, "template": "full-layer-vs-attention"}, "both template and arms given"),
        ({"arms": {"a": {}}}, "takes two arms or more"),
        ({"arms": {"A b": {}, "c": {}}}, "should match pattern"),
        ({"arms": ARMS, "seeds": [0, 1, 0]}, "seeds: names 0 twice"),
        ({"arms": {"base": {"lora_targets": "mlp"}, "b": {}}}, "arm 'base': that is the model itself"),
        ({"arms": ARMS, "contrasts": []}, "contrasts"),
        (
            {"arms": {"a": {"lora_rank": 2}, "b": {}}, "contrasts": [["a", "b"], ["b", "a"]]},
            "a and b are compared twice",
        ),
        ({"sweep": {"lora_rank": [2, 4, 2]}}, "lora_rank names 2 twice"),
        (
            {
                "arms": ARMS,
                "settings": BASE["settings"] | {"test_fraction": 0.2},
                "measurement": {"test_data_path": "t.jsonl"},
            },
            "test_fraction 0.2 would set rows aside that are never used",
        ),
        ({"arms": ARMS, "seeds": []}, "seeds: List should have at least 1 item"),
        ({"arms": ARMS, "shares": [0.5]}, "shares: must hold 1"),
        ({"arms": ARMS, "shares": [0, 1]}, "greater than 0"),
        ({"arms": ARMS, "equivalence_margin": 0}, "equivalence_margin: Input should be greater than 0"),
        ({"arms": ARMS, "contrasts": [["a", "c"]]}, "'c' is no arm; there are a, b"),
        ({"arms": ARMS, "contrasts": [["a", "a"]]}, "cannot be compared with itself"),
        ({"arms": {"a": {"seed": 1}, "b": {}}}, "arm a: seed belongs to the experiment: give seeds"),
        ({"arms": {"a": {"mask_prompt": True}, "b": {}}}, "arm a: mask_prompt must be the same for all arms"),
        ({"arms": {"a": {"match_count_of": "x"}, "b": {}}}, "match_count_of 'x' is no other arm"),
        ({"arms": {"a": {"match_count_of": "b"}, "b": {"match_count_of": "a"}}}, "whose own rank is matched"),
        (
            {"arms": {"a": {"learning_rate": 1e-3}, "b": {}}, "learning_rates": [1e-4, 1e-3]},
            "learning_rates are tried",
        ),
        (
            {"arms": {"a": {"lora_rank": 0}, "b": {}}},
            "arm a: lora_rank: input should be greater than or equal to 1, got 0",
        ),
        ({"arms": {"a": {"lora_rnk": 8}, "b": {}}}, "lora_rank"),
        ({"sweep": {"lora_rank": list(range(1, 100))}}, "99 combinations; 64 are the most"),
        ({"arms": ARMS, "shares": [0.5, 1], "settings": BASE["settings"] | {"iterations": 9}}, "iterations 9 would"),
        ({"arms": ARMS, "settings": BASE["settings"] | {"method": "dpo"}}, "has no loss on a test set"),
        ({"arms": ARMS, "settings": BASE["settings"] | {"train_fraction": 0.5}}, "train_fraction belongs"),
        ({"arms": ARMS, "measurement": {"questions": "lexical_f1"}}, "measurement.questions.check"),
        ({"arms": ARMS, "colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_what_is_refused_names_the_value_and_the_rule(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=r"plan\.yaml|arm ") as caught:
        made(**values)
    assert fault in str(caught.value)
    assert caught.value.hint
