"""Exports from request to folder: checked, written out of sight, certified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from droidft.adapters.exports import certificate as certificates
from droidft.adapters.exports.forms import ExportRequest, Form
from droidft.config import TrainingConfig
from droidft.errors import AdapterError, ConfigError, NotFound
from droidft.home import Home
from droidft.workers import export_plan
from droidft.workers.export import export, plan_export
from tests.adapters.exports.trained import adapted, logits_of
from tests.models.gguf.checkpoints import write_byte_level
from tests.tiny import write_chat, write_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("DROIDFT_HOME", str(tmp_path / "home"))
    home = Home(tmp_path / "home")
    write_model(home.models / "tiny")
    write_byte_level(home.models / "tiny", "qwen2")
    adapted(home.models / "tiny", home.adapters / "poet")
    write_chat(home.data / "rows.jsonl", rows=12)
    return home


def asked(home: Home, form: Form, **more: object) -> ExportRequest:
    rows = str(home.data / "rows.jsonl")
    return ExportRequest.model_validate({"adapter": "poet", "form": form, "rows": rows, "row_count": 4, **more})


def quiet(what: str, done: int, total: int) -> None:
    """No progress."""


@pytest.mark.parametrize("form", [Form.MERGED, Form.MLX])
def test_an_export_passes_and_computes_what_was_trained(home: Home, form: Form) -> None:
    done = export(plan_export(asked(home, form), home), home, quiet)
    assert done.certificate.passed, done.certificate.sentence
    assert certificates.read(done.path) == done.certificate
    assert done.path == home.exports / f"poet-{form.value}"
    assert done.bytes == sum(file.stat().st_size for file in done.path.iterdir())
    assert (done.path / "README.md").is_file()
    made = adapted(home.models / "tiny", home.root / "again")
    np.testing.assert_allclose(logits_of(done.path), made.adapted, atol=1e-4)
    assert sorted(path.name for path in home.exports.iterdir()) == [done.name], "something was left behind"


@pytest.mark.parametrize(
    ("form", "type"), [(Form.GGUF, "F32"), (Form.GGUF, None), (Form.GGUF_ADAPTER, None), (Form.OLLAMA, "F16")]
)
def test_gguf_forms_pass(home: Home, form: Form, type: str | None) -> None:
    done = export(plan_export(asked(home, form, type=type), home), home, quiet)
    assert done.certificate.passed, done.certificate.sentence
    assert done.certificate.tokens_equal.conversations == 4
    assert done.certificate.quantisation == ("Q8_0" if (form, type) == (Form.GGUF, None) else None)
    assert [file.name for file in done.path.glob("*.gguf")] == [f"{done.name}.gguf"]


def test_adapters_in_peft_s_format_pass(home: Home) -> None:
    done = export(plan_export(asked(home, Form.PEFT), home), home, quiet)
    assert done.certificate.passed, done.certificate.sentence
    assert (done.path / "adapter_model.safetensors").is_file()
    assert not (done.path / "model.safetensors").exists()


def test_quantised_weights_are_held_to_a_wider_tolerance(home: Home) -> None:
    write_model(home.models / "wide", hidden_size=64)
    adapted(home.models / "wide", home.adapters / "wide")
    done = export(plan_export(asked(home, Form.MLX, adapter="wide", type="8"), home), home, quiet)
    assert done.certificate.quantisation == "8 bits"
    assert done.certificate.tolerance.share == 0.25


def test_a_fault_in_the_files_fails_the_certificate_and_keeps_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_plan, "updates", lambda info, origins: [])  # the adapter is left out
    done = export(plan_export(asked(home, Form.MERGED), home), home, quiet)
    assert not done.certificate.passed
    assert done.certificate.sentence.startswith("failed")
    assert certificates.read(done.path).verdict == "failed"


def test_what_is_called_off_leaves_nothing(home: Home) -> None:
    class Off(Exception):
        pass

    def off(what: str, done: int, total: int) -> None:
        if what == "merging":
            raise Off

    with pytest.raises(Off):
        export(plan_export(asked(home, Form.MERGED), home), home, off)
    assert list(home.exports.iterdir()) == []


def test_a_name_is_taken_once_unless_it_is_to_be_replaced(home: Home) -> None:
    export(plan_export(asked(home, Form.MERGED), home), home, quiet)
    with pytest.raises(ConfigError, match="already an export named 'poet-merged'"):
        plan_export(asked(home, Form.MERGED), home)
    export(plan_export(asked(home, Form.MERGED, replace=True), home), home, quiet)


def test_an_export_that_was_made_meanwhile_is_not_replaced(home: Home) -> None:
    slow = plan_export(asked(home, Form.MERGED), home)
    first = export(plan_export(asked(home, Form.MERGED), home), home, quiet)
    said: list[str] = []
    with pytest.raises(ConfigError, match="already an export named 'poet-merged'"):
        export(slow, home, lambda what, *_: said.append(what))
    assert said == [], "nothing was read or written for it"
    assert certificates.read(first.path) == first.certificate
    assert [path.name for path in home.exports.iterdir()] == [first.name]


def test_a_name_is_reserved_while_its_export_is_made(home: Home) -> None:
    class Off(Exception):
        pass

    def another(what: str, done: int, total: int) -> None:
        for replace in (False, True):
            with pytest.raises(ConfigError, match="'poet-merged' is being made at this moment"):
                plan_export(asked(home, Form.MERGED, replace=replace), home)
        assert plan_export(asked(home, Form.MERGED, name="poet-merged.v2"), home).target.name == "poet-merged.v2"
        raise Off

    with pytest.raises(Off):
        export(plan_export(asked(home, Form.MERGED), home), home, another)
    assert plan_export(asked(home, Form.MERGED), home).target.name == "poet-merged"


def test_weights_that_are_not_the_best_have_a_name_of_their_own(home: Home) -> None:
    assert plan_export(asked(home, Form.MERGED, adapter="poet@latest"), home).target.name == "poet-latest-merged"


def test_without_run_or_rows_there_is_nothing_to_compare_on(home: Home) -> None:
    with pytest.raises(ConfigError, match="no rows to compare the export on"):
        plan_export(asked(home, Form.MERGED, rows=None), home)
    assert list(home.exports.iterdir()) == []


def test_data_of_the_run_that_is_gone_asks_for_rows(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = TrainingConfig(model_path="tiny", train_data_path=str(home.data / "gone.jsonl"))
    monkeypatch.setattr(export_plan, "run_config", lambda info, home: gone)
    with pytest.raises(ConfigError, match=r"poet is gone: there is no .*gone\.jsonl") as caught:
        plan_export(asked(home, Form.MERGED, rows=None), home)
    assert ("--rows FILE" in caught.value.hint, caught.value.field) == (True, "rows")


def test_no_room_is_seen_before_anything_is_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("droidft.support.room.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(Exception, match="the export needs"):
        plan_export(asked(home, Form.MERGED), home)


def test_what_a_form_cannot_hold_is_refused_with_one_that_can(home: Home) -> None:
    adapted(home.models / "tiny", home.adapters / "whole", fine_tune_type="full")
    with pytest.raises(AdapterError, match="holds factors only") as refused:
        plan_export(asked(home, Form.PEFT, adapter="whole"), home)
    assert "merged" in refused.value.hint


def test_another_model_or_adapter_is_refused(home: Home) -> None:
    with pytest.raises(NotFound):
        plan_export(asked(home, Form.MERGED, adapter="nobody"), home)
    write_model(home.models / "other", hidden_size=64)
    with pytest.raises(AdapterError, match="has shape"):
        plan_export(asked(home, Form.MERGED, model="other"), home)


def test_a_quantised_base_needs_its_original_or_the_mlx_form(home: Home) -> None:
    from droidft.engine.model.merging import write_mlx

    write_model(home.models / "plain", hidden_size=64)
    (home.models / "packed").mkdir()
    write_mlx(home.models / "plain", None, home.models / "packed", bits=4)
    adapted(home.models / "packed", home.adapters / "qlora")
    with pytest.raises(AdapterError, match="packed is quantised"):
        plan_export(asked(home, Form.MERGED, adapter="qlora"), home)
    done = export(plan_export(asked(home, Form.MLX, adapter="qlora"), home), home, quiet)
    assert done.certificate.passed
    into = export(plan_export(asked(home, Form.MERGED, adapter="qlora", into="plain"), home), home, quiet)
    assert "quantization" not in json.loads((into.path / "config.json").read_text())


@pytest.mark.parametrize("form", [Form.PEFT, Form.GGUF_ADAPTER])
def test_an_adapter_of_a_quantised_base_leaves_for_its_original(home: Home, form: Form) -> None:
    from droidft.engine.model.merging import write_mlx

    write_model(home.models / "plain", hidden_size=64)
    write_byte_level(home.models / "plain", "qwen2")
    (home.models / "packed").mkdir()
    write_mlx(home.models / "plain", None, home.models / "packed", bits=8)
    adapted(home.models / "packed", home.adapters / "qlora")
    with pytest.raises(AdapterError, match="packed is quantised in a way") as refused:
        plan_export(asked(home, form, adapter="qlora"), home)
    assert "--into" in refused.value.hint
    done = export(plan_export(asked(home, form, adapter="qlora", into="plain"), home), home, quiet)
    assert done.certificate.passed
    if form is Form.PEFT:
        assert json.loads((done.path / "adapter_config.json").read_text())["base_model_name_or_path"] == "plain"
        assert str(home.models / "plain") in done.usage[0].code
