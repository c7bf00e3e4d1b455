"""Drafts: every problem at once, the same run as a command line and as YAML, and there and back."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as configure
from hypothesis import strategies as st
from starlette.testclient import TestClient

from droidft.commands import _settings
from droidft.config import LrSchedule, TrainingConfig, parse_config, parse_config_text, settings
from droidft.errors import ConfigError
from droidft.server.runs import drafts
from tests.server import questions
from tests.server.serving import serving

WHOLE = {"model_path": "m", "train_data_path": "t.jsonl"}
REWARD = [{"kind": "length_window"}]


@pytest.fixture
def asker(home: Path) -> Iterator[TestClient]:
    with serving(home) as found:
        yield found


def test_every_setting_is_told(asker: TestClient) -> None:
    found = asker.get("/api/settings").json()["settings"]
    assert [each["name"] for each in found] == list(TrainingConfig.model_fields)
    by_name = {each["name"]: each for each in found}
    assert by_name["lora_rank"]["bounds"] == {"min": 1, "max": None, "above": False, "below": False}
    assert by_name["lora_dropout"]["bounds"] == {"min": 0, "max": 1, "above": False, "below": True}
    assert by_name["optimizer"]["choices"] == ["adamw", "adam", "sgd", "lion"]
    assert by_name["iterations"]["optional"]
    assert by_name["iterations"]["default"] is None


def test_a_good_draft(asker: TestClient) -> None:
    values = {**WHOLE, "learning_rate": "2e-4", "lora_rank": 16, "lora_alpha": 32, "patience": 3}
    report = asker.post("/api/settings/check", json={"values": values, "rows": 17}).json()
    assert report["ok"]
    assert report["problems"] == []
    assert report["scale"] == 2.0
    assert report["plan"] == {"steps": 51, "steps_per_epoch": 17, "epochs": 3.0, "effective_batch": 1}
    assert report["changed"] == ["learning_rate", "lora_rank"]
    assert report["command"] == (
        "droidft train --model-path m --train-data-path t.jsonl --learning-rate 0.0002 --lora-rank 16"
    )
    assert parse_config_text(report["yaml"], source="it") == {**WHOLE, "learning_rate": 2e-4, "lora_rank": 16}
    assert report["schedule"][0] == [1, 2e-4]
    assert report["schedule"][-1] == [51, 2e-4]


def test_every_problem_is_named_at_once(asker: TestClient) -> None:
    values = {
        "model_path": "", "learning_rate": "fast", "batch_size": None, "lora_rnak": 8, "lora_rank": 0,
        "iterations": 5, "epochs": 2, "lora_keys": ["a.b"], "lora_num_layers": 0, "seed": 2**40,
    }  # fmt: skip
    report = asker.post("/api/settings/check", json={"values": values}).json()
    assert not report["ok"]
    found = {(each["field"], each["message"]) for each in report["problems"]}
    fields = [field for field, _ in found if field]
    assert sorted(fields) == sorted(
        ["model_path", "train_data_path", "learning_rate", "batch_size", "lora_rnak", "lora_rank", "lora_num_layers",
         "seed"]
    )  # fmt: skip
    assert ("model_path", "is required") in found
    assert ("batch_size", "needs a value") in found
    assert ("lora_rnak", "is not a setting; did you mean 'lora_rank'?") in found
    assert (None, "give iterations or epochs, not both") in found
    assert (None, "lora_keys needs lora_targets 'custom'") in found
    assert report["scale"] is None
    assert report["schedule"] == []
    assert report["command"] == "droidft train --iterations 5 --epochs 2.0 --lora-keys a.b"


def test_warnings_of_the_configuration(asker: TestClient) -> None:
    values = {**WHOLE, "lora_rank": 512, "lora_alpha": 1, "lr_end_fraction": 0.5}
    warnings = asker.post("/api/settings/check", json={"values": values}).json()["warnings"]
    assert len(warnings) == 3
    assert warnings == parse_config(values).warnings()


@pytest.mark.parametrize("schedule", LrSchedule)
@pytest.mark.parametrize("steps", [1, 2, 3, 199, 200, 201, 12_345, 100_000_000])
def test_the_schedule_is_drawn_with_few_points(schedule: LrSchedule, steps: int) -> None:
    values = {**WHOLE, "lr_schedule": schedule.value, "warmup_steps": min(10, steps - 1), "learning_rate": 1e-3}
    points = drafts.check({**values, "iterations": steps}).schedule
    assert len(points) <= 200
    assert [step for step, _ in points] == sorted({step for step, _ in points})
    assert points[-1][0] == steps
    assert points[0][0] == 1
    assert max(rate for _, rate in points) == pytest.approx(1e-3)


def rewards() -> st.SearchStrategy[dict[str, Any]]:
    """Rewards of several kinds as they stand in a file, each with a label of its own."""
    text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
    common = {
        "weight": st.floats(-1000, 1000, allow_nan=False),
        "label": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
    }
    return st.one_of(
        st.fixed_dictionaries({"kind": st.just("lexical_f1"), "column": text, **common}),
        st.fixed_dictionaries({"kind": st.just("exact_answer"), "after": st.none() | text, **common}),
        st.fixed_dictionaries({"kind": st.just("length_window"), "minimum": st.integers(0, 100), **common}),
        st.fixed_dictionaries(
            {
                "kind": st.just("keyword_coverage"),
                "keywords": st.lists(text.filter(str.strip), min_size=1, max_size=3),
                **common,
            }
        ),
    )


def values_of(setting: settings.Setting) -> st.SearchStrategy[Any]:
    """Values that are right for one setting, odd ones among them."""
    text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
    match setting.kind:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(8, int(setting.bounds.max or 2**31) - setting.bounds.below)
        case "number":
            return st.floats(1e-8, 0.999)
        case "list":
            return st.lists(st.from_regex(r"[a-z_.]{1,12}", fullmatch=True), min_size=1, max_size=4, unique=True)
        case "objects":
            return st.lists(rewards(), max_size=3, unique_by=lambda reward: reward["label"])
        case "object":
            return st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), text | st.booleans(), max_size=3)
    if setting.name == "template_date":
        return st.dates().map(str)
    if setting.choices:
        return st.sampled_from([choice for choice in setting.choices if choice != "custom"])
    if setting.name in ("adapter_name", "resume"):
        return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
    return text


@st.composite
def drawn(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(settings.settings()), max_size=12, unique_by=lambda setting: setting.name))
    values = {**WHOLE, **{setting.name: draw(values_of(setting)) for setting in chosen}}
    if values.get("iterations") is not None:
        values.pop("epochs", None)
        values["warmup_steps"] = values["iterations"] - 1
    if values.get("validation") == "none":
        values.pop("val_data_path", None)
    if values.get("train_on") == "last-turn":
        values["mask_prompt"] = True
    if "lora_keys" in values:
        values["lora_targets"] = "custom"
    if parse_config(WHOLE | {"method": values.get("method", "sft"), "rewards": REWARD}).method.family == "rewards":
        values["rewards"] = values.get("rewards") or REWARD
    if values.get("fine_tune_type") == "full":
        values["method"] = "sft"
    return values


@configure(deadline=None)
@given(drawn())
def test_there_and_back_as_yaml_and_as_a_command_line(values: dict[str, Any]) -> None:
    config = parse_config(values)
    report = drafts.check(values)
    assert report.ok
    assert parse_config(drafts.parse(report.yaml)) == config
    parser = argparse.ArgumentParser(allow_abbrev=False)
    _settings.add_setting_flags(parser)
    words = shlex.split(report.command)
    assert words[:2] == ["droidft", "train"]
    assert _settings.config_from(parser.parse_args(words[2:])) == config
    # What the file says is a fixed point: loading it into the form and saving again changes nothing.
    assert drafts.check(drafts.parse(report.yaml)).yaml == report.yaml


def test_a_file_is_parsed_and_judged_later(asker: TestClient) -> None:
    text = "model_path: m\nlearning_rate: 1e-4\nlora_rnak: 3\nlora_keys: [a, b]\nmask_prompt: on\n"
    values = asker.post("/api/settings/parse", json={"text": text}).json()["values"]
    assert values == {
        "model_path": "m", "learning_rate": "1e-4", "lora_rnak": 3, "lora_keys": ["a", "b"], "mask_prompt": True,
    }  # fmt: skip
    assert asker.post("/api/settings/parse", json={"text": '{"lora_rank": 4}'}).json()["values"] == {"lora_rank": 4}


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        "", "- 1", "just text", "a: [", "a: !!python/object/apply:os.system ['true']", "a: 2024-01-01", "a: .nan",
        "a: .inf", "a: !!binary aGk=", 'a: "\\ud800"', "a: " + "9" * 5000, "a: " + "[" * 5000, BOMB, "a: &x [*x]",
        "a: 2024-13-45", "a: {? [1]: 2}", "\t", "a: !!set {1}", "\ufeff",
    ],
)  # fmt: skip
def test_what_is_no_settings_file_is_refused(asker: TestClient, text: str) -> None:
    with pytest.raises(ConfigError):
        drafts.parse(text)
    told = questions.error(asker.post("/api/settings/parse", json={"text": text}), 400)
    assert told["code"] == "config"
    assert len(told["message"]) < 2000


def test_drafts_of_anything_are_answered() -> None:
    odd: list[Any] = [
        None, True, 0, -1, 2**53, 10**400, 1e308, 5e-324, "", "x" * 10_000, "\ud800", "a\0b", [], [[]], {},
        {"a": [1]},
        [None], ["a", "a"], "none", "1e999", "٣",
    ]  # fmt: skip
    for name in [*TrainingConfig.model_fields, "\ud800", "", "a" * 5000]:
        for value in odd:
            report = drafts.check({**WHOLE, name: value}, rows=7)
            assert report.model_dump_json()
            assert report.ok == (not report.problems)
