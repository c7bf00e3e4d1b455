"""The forms, and requests for them."""

from typing import Any

import pytest
from pydantic import ValidationError

from droidft.adapters.exports import forms
from droidft.adapters.exports.forms import ExportRequest, Form
from droidft.models.gguf import kinds


def asked(form: str, type: str | None = None) -> ExportRequest:
    return ExportRequest.model_validate({"adapter": "poet", "form": form, "type": type})


def test_every_form_is_told_about() -> None:
    assert [each.form for each in forms.facts()] == list(Form)
    assert all(each.what and each.loads_in for each in forms.facts())


def test_types_of_gguf_files_are_those_that_can_be_written() -> None:
    assert forms.GGUF_TYPES == kinds.KINDS


@pytest.mark.parametrize(("form", "type"), [("merged", "Q8_0"), ("mlx", "3"), ("gguf", "Q2_K"), ("peft", "F16")])
def test_an_unknown_type_is_refused_with_those_that_are_known(form: str, type: str) -> None:
    with pytest.raises(ValidationError, match=f"type is '{type}'; for {form} (it can be one of|there is none)"):
        asked(form, type)


def test_only_types_that_lose_more_than_rounding_count_as_quantised() -> None:
    assert asked("gguf").quantised == "Q8_0"
    assert asked("gguf", "F16").quantised is None
    assert asked("mlx", "4").quantised == "4 bits"
    assert asked("merged").quantised is None


def test_the_command_repeats_the_request() -> None:
    assert asked("gguf", "Q4_K_M").command == "droidft export poet --to gguf --type Q4_K_M"
    fewer = asked("merged").model_copy(update={"row_count": 8, "rows": "my rows.jsonl"})
    assert fewer.command == "droidft export poet --to merged --rows 'my rows.jsonl' --row-count 8"


def test_names_say_adapter_form_and_type() -> None:
    assert forms.default_name(asked("gguf", "F16"), "poet") == "poet-gguf-F16"


@pytest.mark.parametrize(
    ("adapter", "name"), [("my poet é", "my-poet-peft"), (".hidden", "hidden-peft"), ("äö", "adapter-peft")]
)
def test_an_adapter_from_anywhere_has_an_export_with_a_name_that_may_be(adapter: str, name: str) -> None:
    assert forms.default_name(asked("peft"), adapter) == name


def test_a_long_name_of_an_adapter_leaves_room_for_the_form() -> None:
    long = "p" * 64
    names = {forms.default_name(asked(form, type), long) for form, type in [("peft", None), ("gguf", "F16")]}
    assert names == {"p" * 59 + "-peft", "p" * 55 + "-gguf-F16"}


@pytest.mark.parametrize(
    "values",
    [
        {"adapter": "poet", "form": "peft"},
        {"adapter": "my poet@20", "form": "gguf", "type": "Q4_K_M", "rows": "a b.jsonl", "row_count": 7},
        {"adapter": "poet", "form": "mlx", "model": "/m/tiny", "into": "org/whole"},
    ],
)
def test_a_command_is_read_back(values: dict[str, Any]) -> None:
    request = ExportRequest.model_validate(values)
    assert ExportRequest.of_command(request.command) == request


@pytest.mark.parametrize("command", ["", "droidft export", "droidft export x", "rm -rf x --to peft", "a 'b"])
def test_what_is_no_command_of_an_export_is_none(command: str) -> None:
    assert ExportRequest.of_command(command) is None
