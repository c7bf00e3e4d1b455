"""Settings: the source's defaults, every limit by name, nothing changed in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from droidft.config import TrainingConfig, load_config_file, parse_config
from droidft.errors import ConfigError

NEEDED = {"model_path": "model", "train_data_path": "data.jsonl"}


def test_the_defaults_are_those_of_the_product() -> None:
    config = parse_config(NEEDED)
    expected = {
        "learning_rate": 1e-4,
        "batch_size": 1,
        "steps_per_report": 25,
        "steps_per_eval": 200,
        "save_every": 25,
        "early_stop": True,
        "patience": 3,
        "lora_rank": 32,
        "lora_alpha": 32.0,
        "lora_dropout": 0.0,
        "lora_num_layers": -1,
        "optimizer": "adamw",
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.lora_scale == 1.0
    assert config.warnings() == []


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"lora_rank": 0}, "lora_rank", "must be at least 1, got"),
        ({"lora_rank": 2.5}, "lora_rank", "must be a whole number, got"),
        ({"lora_alpha": 0}, "lora_alpha", "must be above 0, got"),
        ({"lora_alpha": True}, "lora_alpha", "number"),
        ({"lora_dropout": 1.0}, "lora_dropout", "must be below 1, got"),
        ({"lora_dropout": -0.1}, "lora_dropout", "must be at least 0, got"),
        ({"lora_num_layers": 0}, "lora_num_layers", "-1"),
        ({"lora_num_layers": -2}, "lora_num_layers", "-1"),
        ({"learning_rate": 0}, "learning_rate", "must be above 0, got"),
        ({"learning_rate": float("nan")}, "learning_rate", "finite"),
        ({"learning_rate": "fast"}, "learning_rate", "number"),
        ({"optimizer": "adamv"}, "optimizer", "adamw"),
        ({"lora_keys": []}, "lora_keys", "at least one"),
        ({"lora_rnk": 8}, "lora_rnk", "did you mean 'lora_rank'"),
        ({"iterations": 0}, "iterations", "must be at least 1, got"),
        ({"adapter_name": "../../etc"}, "adapter_name", "match"),
        ({"seed": -1}, "seed", "must be at least 0, got"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(NEEDED | values, source="file.yaml")
    assert caught.value.field == field
    assert field in caught.value.message
    assert words in caught.value.message
    assert caught.value.message.startswith("file.yaml: ")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"lora_rank": 0, "nonsense": 1})
    for word in ("model_path", "train_data_path", "lora_rank", "nonsense"):
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"iterations": 10, "epochs": 1}, "not both"),
        ({"lora_targets": "custom"}, "lora_keys"),
        ({"lora_keys": ["mlp.up_proj"]}, "custom"),
        ({"iterations": 10, "warmup_steps": 10}, "warmup_steps"),
        ({"validation": "none", "val_data_path": "v.jsonl"}, "val_data_path"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(NEEDED | values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lora_rank": 512, "lora_alpha": 512}, "above 256"),
        ({"lora_rank": 64}, "scaled by 0.5"),
        ({"lora_scaling": "raw"}, "alpha 1024"),
        ({"lora_rank": 4}, "multiplies the update by 8"),
        ({"early_stop": False, "patience": 5}, "patience has no effect"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay has no effect"),
        ({"optimizer": "sgd", "adam_eps": 1e-6}, "adam_eps has no effect"),
        ({"lr_end_fraction": 0.1}, "lr_end_fraction has no effect"),
        ({"val_data_path": "v.jsonl", "validation_fraction": 0.2}, "validation_fraction has no effect"),
        ({"fine_tune_type": "full", "lora_rank": 8, "learning_rate": 1e-5}, "lora_rank has no effect"),
        ({"fine_tune_type": "full"}, "high for full fine-tuning"),
        ({"validation": "none"}, "learning by heart"),
    ],
)
def test_what_is_unusual_or_without_effect_is_warned_about(values: dict[str, Any], words: str) -> None:
    warnings = parse_config(NEEDED | values).warnings()
    assert len(warnings) == 1
    assert words in warnings[0]


def test_full_fine_tuning_of_some_layers_keeps_its_meaning() -> None:
    settings = {"fine_tune_type": "full", "lora_num_layers": 2, "learning_rate": 1e-5}
    assert parse_config(NEEDED | settings).warnings() == []


@pytest.mark.parametrize(("scaling", "scale"), [("standard", 0.5), ("rslora", 2.0), ("raw", 8.0)])
def test_alpha_and_rank_become_the_scale(scaling: str, scale: float) -> None:
    assert parse_config(NEEDED | {"lora_rank": 16, "lora_alpha": 8, "lora_scaling": scaling}).lora_scale == scale


def test_yaml_and_json_files_read_alike(tmp_path: Path) -> None:
    yaml, json = tmp_path / "a.yaml", tmp_path / "a.json"
    yaml.write_text("model_path: m\ntrain_data_path: d\nlearning_rate: 1e-5\n")
    json.write_text('{"model_path": "m", "train_data_path": "d", "learning_rate": 1e-5}')
    first, second = (parse_config(load_config_file(path)) for path in (yaml, json))
    assert first == second
    assert first.learning_rate == 1e-5


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"- a\n- b\n", "list"), (b"a: [1", "not valid YAML"), (b"\xff\xfe", "UTF-8"), (b"", "NoneType")],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load_config_file(path)


def test_a_saved_configuration_reads_back_equal() -> None:
    config = parse_config(NEEDED | {"lora_rank": 8, "early_stop": False})
    again = TrainingConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.warnings() == config.warnings()


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"kind": "lexical_f1", "colum": "x"}, "rewards.0: lexical_f1 has no 'colum'; did you mean 'column'?"),
        ({"kind": "lexical_f2"}, "rewards.0: unknown kind 'lexical_f2'; did you mean 'lexical_f1'?"),
        ({"weight": 1}, "rewards.0: needs a kind: lexical_f1, length_window"),
        ({"kind": "python", "file": "../mine.py"}, "rewards.0: file must be a plain name such as mine.py"),
        ({"kind": "python"}, "rewards.0: python needs 'file'"),
        ({"kind": "lexical_f1", "weight": "much"}, "rewards.0: lexical_f1 weight: must be a number, got 'much'"),
    ],
)
def test_what_is_wrong_with_a_reward_is_said_by_its_names(reward: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"model_path": "m", "train_data_path": "t", "method": "grpo", "rewards": [reward]})
    assert message in caught.value.message
    assert "droidft rewards" in caught.value.hint


def test_the_upper_bound_of_the_clip_follows_the_lower_one_that_is_given() -> None:
    values = {"model_path": "m", "train_data_path": "t", "method": "gspo", "rewards": [{"kind": "tag_format"}]}
    assert parse_config(values).epsilon_high == 4e-4
    assert parse_config(values | {"epsilon": 0.01}).epsilon_high is None
    assert parse_config(values | {"epsilon": 0.01, "epsilon_high": 0.02}).epsilon_high == 0.02


def test_a_ratio_that_is_always_one_is_warned_about() -> None:
    values = {"model_path": "m", "train_data_path": "t", "rewards": [{"kind": "tag_format"}]}
    for changes, warned in (
        ({"method": "gspo"}, False),
        ({"method": "gspo", "steps_per_generation": 1}, True),
        ({"method": "grpo"}, False),
        ({"method": "grpo", "epsilon": 0.1}, True),
        ({"method": "grpo", "epsilon": 0.1, "num_iterations": 2}, False),
    ):
        found = parse_config(values | changes).warnings()
        assert any("every ratio is 1" in text for text in found) == warned, changes
