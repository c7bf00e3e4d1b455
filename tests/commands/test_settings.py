"""Settings as flags: made from the class, merged with files, checked in one place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from droidft.commands import _settings
from droidft.config import LrSchedule, TrainingConfig, settings
from droidft.errors import ConfigError

REQUIRED = ["--model-path", "m", "--train-data-path", "t"]


def parsed(*words: str, file: Path | None = None) -> TrainingConfig:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    _settings.add_setting_flags(parser)
    return _settings.config_from(parser.parse_args(words), file=file)


def test_every_field_is_a_setting_with_help_group_and_known_kind() -> None:
    found = settings.settings()
    assert [setting.name for setting in found] == list(TrainingConfig.model_fields)
    assert all(setting.help and setting.group for setting in found)
    assert {setting.kind for setting in found} == {
        "text",
        "integer",
        "number",
        "boolean",
        "list",
        "objects",
        "object",
    }
    assert {setting.group for setting in found} == set(settings.GROUPS.values())
    assert [setting.name for setting in found if setting.required] == ["model_path", "train_data_path"]


WITH_DEFAULT = [
    setting
    for setting in settings.settings()
    if not setting.required and (setting.default is not None or setting.kind in {"integer", "number"})
]


@pytest.mark.parametrize("setting", WITH_DEFAULT, ids=lambda setting: setting.name)
def test_the_default_given_as_a_flag_changes_nothing(setting: settings.Setting) -> None:
    words = [setting.flag, "none" if setting.default is None else str(setting.default)]
    if setting.kind == "boolean":
        words = [setting.flag if setting.default else setting.flag.replace("--", "--no-", 1)]
    config = parsed(*REQUIRED, *words)
    assert config.model_fields_set == {"model_path", "train_data_path", setting.name}
    assert config == parsed(*REQUIRED)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--learning-rate", "2e-4"], "learning_rate", 2e-4),
        (["--learning_rate", "1e-5"], "learning_rate", 1e-5),
        (["--lora-num-layers", "-1"], "lora_num_layers", -1),
        (["--lora-num-layers=4"], "lora_num_layers", 4),
        (["--no-early-stop"], "early_stop", False),
        (["--no-early_stop"], "early_stop", False),
        (["--mask_prompt"], "mask_prompt", True),
        (["--lr-schedule", "cosine"], "lr_schedule", LrSchedule.COSINE),
        (["--text-column", "12"], "text_column", "12"),
        (["--lora-targets", "custom", "--lora-keys", "a.b, c"], "lora_keys", ["a.b", "c"]),
    ],
)
def test_flags(words: list[str], name: str, value: Any) -> None:
    assert getattr(parsed(*REQUIRED, *words), name) == value


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model_path: m\ntrain_data_path: t\niterations: 5\nlora_rank: 4\nlora_alpha: 4\n")
    config = parsed("--lora-rank", "8", "--iterations", "none", "--epochs", "2", file=file)
    assert (config.lora_rank, config.lora_alpha, config.iterations, config.epochs) == (8, 4.0, None, 2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lora-rank", "0"], "command line: lora_rank: must be at least 1, got 0"),
        (["--learning-rate", "fast"], "command line: learning_rate: must be a number, got 'fast'"),
        (["--batch-size", "1.5"], "command line: batch_size: must be a whole number, got 1.5"),
        (["--lora-num-layers", "0"], "command line: lora_num_layers: must be -1 (all layers), or 1 or more, got 0"),
        (["--optimizer", "adamv"], "command line: optimizer: must be 'adamw', 'adam', 'sgd' or 'lion'"),
        (["--lora-alpha", "nan"], "command line: lora_alpha: must be a finite number"),
        (["--lora-keys", ","], "command line: lora_keys: must name at least one module"),
    ],
)
def test_bad_values_are_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(*REQUIRED, *words)
    assert caught.value.message.startswith(message)
    assert caught.value.field == message.split(": ")[1]


def test_the_message_says_where_the_values_came_from(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model_path: m\ntrain_data_path: t\nlora_rnak: 4\n")
    with pytest.raises(ConfigError, match=r"run\.yaml: lora_rnak is not a setting; did you mean 'lora_rank'\?"):
        parsed(file=file)
    with pytest.raises(ConfigError, match=r"run\.yaml and command line: lora_rnak"):
        parsed("--seed", "1", file=file)
    with pytest.raises(ConfigError, match="command line: model_path is required; train_data_path is required"):
        parsed()


def test_a_default_of_the_method_that_is_taken_off_is_written_out() -> None:
    values = {"method": "gspo", "epsilon_high": None, "max_prompt_length": None}
    assert settings.command_line(values) == "droidft train --method gspo --epsilon-high none"
    assert settings.to_yaml(values) == "method: gspo\nepsilon_high: null\n"
    assert settings.command_line({"method": "grpo", "epsilon_high": None}) == "droidft train --method grpo"
