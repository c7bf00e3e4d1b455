"""Plans: what is refused, and what they come to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from droidft.errors import ConfigError
from droidft.experiments.plan.written import Plan, parse_plan

BASE: dict[str, Any] = {"settings": {"model_path": "m", "train_data_path": "d"}}
ARMS = {"a": {"lora_rank": 8}, "b": {"lora_targets": "mlp", "match_count_of": "a"}}
KEYED = {"lora_targets": "custom"}
"""Illegal without `lora_keys`."""


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
        ({"arms": {"a": {}}}, "takes two arms or more, got a"),
        ({"arms": {"A b": {}, "c": {}}}, "arms: 'A b' is no name for an arm: use a to z, 0 to 9"),
        ({"arms": {"a" * 25: {}, "c": {}}}, "use a to z, 0 to 9 and, between them, -; up to 24 characters"),
        ({"arms": {1: {}, "c": {}}}, "arms: 1 is no name for an arm: put it in quotes"),
        ({"arms": {"a": None, "c": {}}}, "arms.a: must hold settings of its own, or {} for those that all share"),
        ({"arms": {"a": {"settings": {}, "lora_rank": 2}, "c": {}}}, "arms.a: lora_rank stands beside settings"),
        ({"arms": {"a": {"match_count_of": "B"}, "c": {}}}, "arms.a: match_count_of 'B' is no name for an arm"),
        ({"arms": {f"a{number}": {} for number in range(65)}}, "arms: must hold at most 64 items, got 65"),
        ({"arms": ["a", "b"]}, "arms: must hold `name: value` lines, got ['a', 'b']"),
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
        ({"arms": ARMS, "seeds": []}, "seeds: must not be empty, got []; leave it out for the default"),
        ({"arms": ARMS, "seeds": [1234567, 1234567]}, "seeds: names 1234567 twice"),
        ({"arms": ARMS, "shares": [0.5]}, "shares: must hold 1"),
        (
            {"arms": ARMS, "shares": [0.1, 0.10000001, 1]},
            "shares: 0.1 and 0.10000001 both come to 0.1; leave one out",
        ),
        ({"arms": ARMS, "shares": [1, 0.9999999]}, "shares: 1.0 and 0.9999999 both come to 1; leave one out"),
        ({"arms": ARMS, "seeds": True}, "seeds: must be a list such as [True], got True"),
        ({"arms": ARMS, "seeds": 2026}, "seeds: must be a list such as [2026], got 2026"),
        ({"arms": ARMS, "seeds": 3}, "seeds: must be a list such as [0, 1, 2], got 3"),
        ({"arms": ARMS, "seeds": [0, 1.5]}, "seeds, item 2: must be a whole number, got 1.5"),
        ({"arms": ARMS, "seeds": [2**32]}, "seeds, item 1: must be below 4,294,967,296, got 4294967296"),
        ({"arms": ARMS, "seeds": list(range(101))}, "seeds: must hold at most 100 items, got 101; leave some out"),
        ({"arms": ARMS, "shares": [0, 1]}, "shares, item 1: must be above 0, got 0"),
        ({"arms": ARMS, "equivalence_margin": 0}, "equivalence_margin: must be above 0, got 0"),
        ({"arms": ARMS, "title": "x" * 201}, "title: must have at most 200 characters, got 201"),
        ({"arms": ARMS, "contrasts": [["a"]]}, "contrasts, item 1: must be two arms such as [a, b], got ['a']"),
        ({"arms": ARMS, "contrasts": [["a", "B"]]}, "contrasts, item 1: 'B' is no name for an arm"),
        ({"arms": ARMS, "contrasts": [["a", 1]]}, "contrasts, item 1: 1 is no name for an arm: put it in quotes"),
        ({"sweep": {"lora_rank": 4}}, "sweep.lora_rank: must be a list such as [4], got 4"),
        ({"arms": ARMS, "contrasts": [["a", "c"]]}, "'c' is no arm; there are a, b"),
        ({"arms": ARMS, "contrasts": [["a", "a"]]}, "cannot be compared with itself"),
        ({"arms": {"a": {"seed": 1}, "b": {}}}, "arm a: seed belongs to the experiment: give seeds"),
        ({"arms": {"a": {"mask_prompt": True}, "b": {}}}, "arm a: mask_prompt must be the same for all arms"),
        ({"arms": {"a": {"split_by": "row"}, "b": {}}}, "arm a: split_by must be the same for all arms"),
        ({"arms": ARMS, "settings": BASE["settings"] | {"split_seed": None}}, "split_seed null would give each seed"),
        (
            {
                "arms": ARMS,
                "settings": BASE["settings"] | {"split_column": "doc"},
                "measurement": {"cluster_column": "talk"},
            },
            "split_column 'doc' and measurement.cluster_column 'talk' differ",
        ),
        ({"arms": {"a": {"match_count_of": "x"}, "b": {}}}, "match_count_of 'x' is no other arm"),
        ({"arms": {"a": {"match_count_of": "b"}, "b": {"match_count_of": "a"}}}, "whose own rank is matched"),
        (
            {"arms": {"a": {"learning_rate": 1e-3}, "b": {}}, "learning_rates": [1e-4, 1e-3]},
            "learning_rates are tried",
        ),
        (
            {"arms": {"a": {"lora_rank": 0}, "b": {}}},
            "arm a: lora_rank: must be at least 1, got 0",
        ),
        (
            {"arms": {"a": {}, "b": {"lora_rnk": 8}}},
            "plan.yaml: arm b: lora_rnk is not a setting; did you mean 'lora_rank'?",
        ),
        ({"sweep": {"lora_rank": [2, 0]}}, "plan.yaml: sweep, lora_rank 0: lora_rank: must be at least 1, got 0"),
        ({"sweep": {"seed": [2, 1]}}, "plan.yaml: sweep: seed belongs to the experiment: give seeds"),
        (
            {"arms": ARMS, "settings": BASE["settings"] | {"lora_rnk": 8}},
            "plan.yaml: settings: lora_rnk is not a setting; did you mean 'lora_rank'?",
        ),
        ({"arms": ARMS, "settings": BASE["settings"] | {"lora_rank": 0}}, "plan.yaml: settings: lora_rank: must be"),
        ({"arms": ARMS, "settings": {"model_path": "m"}}, "plan.yaml: settings: train_data_path is required"),
        (
            {"arms": ARMS, "settings": BASE["settings"] | KEYED},
            "plan.yaml: settings: lora_targets 'custom' needs lora_keys",
        ),
        ({"arms": {"a": {}, "b": KEYED}}, "plan.yaml: arm b: lora_targets 'custom' needs lora_keys"),
        ({"sweep": {"lora_rank": list(range(1, 100))}}, "99 combinations; 64 are the most"),
        (
            {"arms": ARMS, "shares": [0.5, 1], "settings": BASE["settings"] | {"iterations": 9}},
            "settings: iterations 9 would",
        ),
        ({"arms": {"a": {"iterations": 9}, "b": {}}, "shares": [0.5, 1]}, "arm a: iterations 9 would"),
        (
            {"arms": ARMS, "settings": BASE["settings"] | {"method": "grpo"}},
            "settings: method 'grpo' learns from rewards; experiments compare supervised fine-tuning",
        ),
        ({"arms": ARMS, "settings": BASE["settings"] | {"method": "dpo"}}, "'dpo' learns from preferences"),
        ({"arms": ARMS, "settings": BASE["settings"] | {"seeds": [1]}}, "seeds is a part of the plan, not a setting"),
        ({"arms": ARMS, "settings": BASE["settings"] | {"train_fraction": 0.5}}, "train_fraction belongs"),
        (
            {"arms": ARMS, "measurement": {"questions": "lexical_f1"}},
            "measurement.questions.check: unknown kind 'lexical_f1'; there are exact_answer, numeric_answer",
        ),
        (
            {"arms": ARMS, "measurement": {"questions": {"check": {"kind": "exact_answer", "colum": "x"}}}},
            "measurement.questions.check: exact_answer has no 'colum'; did you mean 'column'?",
        ),
        ({"arms": ARMS, "measurement": {"questions": {"most": 2}}}, "measurement.questions.check is required: exact"),
        (
            {"arms": ARMS, "measurement": {"question": 1}},
            "measurement.question is not a part of measurement; did you mean 'questions'?",
        ),
        ({"arms": ARMS, "measurement": {"harness": {}}}, "measurement.harness.tasks is required"),
        ({"arms": ARMS, "settings": None}, "settings: needs a value"),
        ({"arms": ARMS, "settings": {1: 2}}, "settings: 1 is not text; put it in quotes"),
        ({"arms": ARMS, "sed": [1]}, "sed is not a part of a plan; did you mean 'seeds'?"),
        ({"arms": ARMS, "seed": 1}, "seed is not a part of a plan: give seeds"),
        ({"arms": ARMS, "batch_size": 4}, "batch_size is a setting, not a part of a plan: put it into settings"),
        ({"arms": ARMS, "colour": "red"}, "colour is not a part of a plan; there are title, settings, template"),
    ],
)
def test_what_is_refused_names_the_value_and_the_rule(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=r"plan\.yaml: ") as caught:
        made(**values)
    assert fault in str(caught.value)
    assert caught.value.hint
    assert not re.search("Input|should (be|have|match)|permitted", str(caught.value)), "pydantic's own words"


def test_an_arm_may_mend_what_the_shared_settings_leave_open() -> None:
    arms = {"a": {"lora_keys": ["self_attn.q_proj"]}, "b": {"lora_targets": "mlp"}}
    plan = made(arms=arms, settings=BASE["settings"] | KEYED)
    assert plan.config("a", seed=0).lora_keys == ["self_attn.q_proj"]


def test_shares_of_as_many_rows_are_refused() -> None:
    plan = made(arms=ARMS, shares=[0.1, 0.12, 1])
    plan.check_shares({0.1: 10, 0.12: 12, 1.0: 100})
    with pytest.raises(ConfigError, match=r"shares 0\.1 and 0\.12 both come to 2 of 20 training rows"):
        plan.check_shares({0.1: 2, 0.12: 2, 1.0: 20})
