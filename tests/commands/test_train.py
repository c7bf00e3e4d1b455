"""`droidft train`, `resume` and `runs` as a user types them, on a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import tiny, typed


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("material")
    model, data = tiny.write_model(folder / "model"), tiny.write_chat(folder / "chat.jsonl")
    return ["--model-path", str(model), "--train-data-path", str(data), "--batch-size", "4", "--lora-rank", "4"]


def droidft(*words: str, status: int = 0) -> str:
    done = typed.droidft(*words)
    assert done.status == status, done
    return done.out + done.err


def test_train_then_list_show_and_delete(home: Path, material: list[str]) -> None:
    text = droidft("train", *material, "--iterations", "6", "--steps-per-report", "2", "--adapter-name", "mine")
    assert "LoRA Configuration: rank=4, alpha=32.0, scale=8.0, dropout=0.0, layers=-1, keys=7" in text
    assert "trainable 4,096 of 27,296" in text
    assert "finished  6 steps" in text
    (row,) = json.loads(droidft("runs", "list", "--json"))
    assert (row["status"], row["step"], row["adapter"]) == ("finished", 6, "mine")
    helped = droidft("resume", "--help")
    assert "--epochs" in helped
    assert "--lora-rank" not in helped
    assert "mine" in droidft("adapters", "list")
    shown = json.loads(droidft("runs", "show", "last", "--json"))
    assert shown["config"]["lora_rank"] == 4
    assert shown["events"][0]["event"]["type"] == "run_started"
    assert "is finished: it has done all 6 steps" in droidft("resume", "last", status=1)
    refused = droidft("resume", "last", "--iterations", "8", "--lora-rank", "8", status=2)
    assert "lora_rank cannot change: the trained weights have its shape" in refused
    longer = droidft("resume", "last", "--iterations", "8")
    assert "settings changed from here on: iterations 6 -> 8" in longer
    assert "finished  8 steps" in longer
    assert "settings changed from here on: iterations 6 -> 8" in droidft("runs", "show", "last")
    assert "iterations 8 -> 10" in droidft("train", "--resume", "last", "--iterations", "10")
    assert "exists" in droidft("train", *material, "--adapter-name", "mine", status=2)
    droidft("runs", "delete", "last", "--files")
    assert json.loads(droidft("runs", "list", "--json")) == []
    assert not (home / "adapters/mine").exists()


def test_ctrl_c_saves_a_checkpoint_and_resume_finishes(home: Path, material: list[str]) -> None:
    command = [sys.executable, "-m", "droidft.cli", "train", *material, "--iterations", "3000"]
    command += ["--steps-per-report", "1", "--steps-per-eval", "3000", "--save-every", "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as shown:
        assert shown.stdout is not None
        for line in shown.stdout:
            if line.startswith("train "):
                break
        time.sleep(0.1)
        os.kill(shown.pid, signal.SIGINT)
        rest = shown.stdout.read()
        assert shown.wait(timeout=30) == 0
    assert "saving a checkpoint" in rest
    assert "continue with: droidft resume" in rest
    (row,) = json.loads(droidft("runs", "list", "--json"))
    assert row["status"] == "stopped"
    assert 0 < row["step"] < 3000
    command = [sys.executable, "-m", "droidft.cli", "resume", "last"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as resumed:
        assert resumed.stdout is not None
        lines = []
        for line in resumed.stdout:
            lines.append(line)
            if line.startswith("train "):
                break
        os.kill(resumed.pid, signal.SIGINT)
        lines += resumed.stdout.readlines()
        assert resumed.wait(timeout=30) == 0
    assert any(line.startswith("resumed   from the checkpoint of step") for line in lines)


def test_bad_settings_are_refused_before_a_run_is_made(home: Path, material: list[str]) -> None:
    assert "lora_dropout" in droidft("train", *material, "--lora-dropout", "1.5", status=2)
    assert json.loads(droidft("runs", "list", "--json")) == []


def test_a_failing_run_ends_with_its_reason_and_status(home: Path, material: list[str], tmp_path: Path) -> None:
    # Rows of large files are read by the worker alone.
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n' * 300_000)
    text = droidft("train", *material, "--train-data-path", str(bad), status=1)
    assert "bad.jsonl:1" in text
    assert "lacks 'completion'" in text


def test_what_cannot_be_trained_makes_no_run(home: Path, material: list[str]) -> None:
    text = droidft("train", *material, "--lora-num-layers", "7", status=2)
    assert "lora_num_layers 7 is more than the model's 2 blocks" in text
    assert not list((home / "runs").glob("*"))
