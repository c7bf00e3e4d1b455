"""The command line itself: what is named, what is imported, how errors end."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import NoReturn

import pytest

from droidft import __version__, cli
from droidft.errors import ConfigError, DroidError, RunError

PROGRAM = [sys.executable, "-m", "droidft.cli"]


def droidft(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    import os

    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.alone
def test_help_names_every_command_in_less_than_300_ms() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = droidft("--help")
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0
    for name, (_, summary) in cli.COMMANDS.items():
        assert f"{name:<10}" in done.stdout
        assert summary in " ".join(done.stdout.split())
    assert min(seconds) < 0.3


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom droidft.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in ('mlx', 'pydantic', 'rich', 'numpy', 'yaml', 'transformers') "
        "if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    assert droidft("--version").stdout == f"droidft {__version__}\n"


def test_no_command_shows_the_help_and_is_a_mistake() -> None:
    done = droidft()
    assert done.returncode == 2
    assert "commands:" in done.stdout


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    done = droidft("trian")
    assert done.returncode == 2
    assert done.stderr == (
        "error: 'trian' is not a command; did you mean 'train'?\nhint: `droidft --help` lists the commands\n"
    )


@pytest.mark.parametrize("words", [("config", "--yml"), ("config", "more"), ("config", "--yaml", "--schema")])
def test_wrong_arguments_are_a_mistake_with_a_hint(words: tuple[str, ...]) -> None:
    done = droidft(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("hint: `droidft config --help` lists what can be given\n")
    assert done.stdout == ""


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m droidft.cli config --schema | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stdout == "{"
    assert done.stderr == ""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command `fails` that raises what its `error` attribute holds."""
    module = types.ModuleType("droidft.commands.fails")

    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")

    def run(_: argparse.Namespace) -> NoReturn:
        raise module.error

    vars(module).update(configure=configure, run=run)
    monkeypatch.setitem(sys.modules, "droidft.commands.fails", module)
    monkeypatch.setitem(cli.COMMANDS, "fails", ("fails", "fail"))
    return module


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError("rank 0 is too low", hint="give 1 or more"), 2), (RunError("run x is over", hint="resume it"), 1)],
)
def test_errors_of_ours(
    failing: types.ModuleType, capsys: pytest.CaptureFixture[str], error: DroidError, status: int
) -> None:
    vars(failing)["error"] = error
    assert cli.main(["fails"]) == status
    assert capsys.readouterr().err == f"error: {error.message}\nhint: {error.hint}\n"
    assert cli.main(["fails", "--json"]) == status
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": error.as_dict()}
    assert shown.err == ""


def test_ctrl_c(failing: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    vars(failing)["error"] = KeyboardInterrupt()
    assert cli.main(["fails"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_defect_of_ours_keeps_its_traceback(failing: types.ModuleType) -> None:
    vars(failing)["error"] = ZeroDivisionError("oops")
    with pytest.raises(ZeroDivisionError, match="oops"):
        cli.main(["fails"])


def test_config_as_schema_and_json() -> None:
    from droidft.config import TrainingConfig

    assert json.loads(droidft("config", "--schema").stdout) == TrainingConfig.model_json_schema()
    shown = json.loads(droidft("config", "--json").stdout)
    assert [setting["name"] for setting in shown] == list(TrainingConfig.model_fields)
    assert all(setting["help"] and setting["group"] for setting in shown)


def test_config_as_yaml_is_a_file_to_start_from(tmp_path: Path) -> None:
    from droidft.config import TrainingConfig, load_config_file, parse_config

    file = tmp_path / "start.yaml"
    file.write_text(droidft("config", "--yaml").stdout)
    assert load_config_file(file) == {"model_path": None, "train_data_path": None}

    # With every `#name: value` brought in, it says what the class says.
    lines = file.read_text().splitlines()
    names = tuple(f"#{name}: " for name in TrainingConfig.model_fields)
    file.write_text("\n".join(line.removeprefix("#") if line.startswith(names) else line for line in lines))
    values = load_config_file(file) | {"model_path": "m", "train_data_path": "t"}
    assert values.keys() == TrainingConfig.model_fields.keys()
    assert parse_config(values) == parse_config({"model_path": "m", "train_data_path": "t"})


def test_config_for_reading_fits_80_columns() -> None:
    done = droidft("config", COLUMNS="80")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "learning_rate = 0.0001  number > 0, ≤ 1" in done.stdout
    assert "seed = 0  integer ≥ 0, < 4294967296" in done.stdout


def test_doctor(home: Path) -> None:
    done = droidft("doctor", "--json", DROIDFT_HOME=str(home), OPENBLAS_CORETYPE="")
    report = json.loads(done.stdout)
    assert report["ok"] is (done.returncode == 0)
    assert report["gflops"] > 1
    assert report["device"]["kind"] in {"cpu", "metal", "cuda"}
    assert report["versions"]["droidft"] == __version__
    names = [finding["name"] for finding in report["findings"]]
    assert {"device", "home folder", "memory", "disk", "MLX build", "hub"} < set(names)
    assert {"name": "hub", "value": "offline (HF_HUB_OFFLINE set)", "fix": ""} in report["findings"]


def test_doctor_says_how_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "sh").symlink_to("/bin/sh")
    broken = {"DROIDFT_HOME": str(tmp_path / "file" / "home"), "DROIDFT_BLAS": "none", "PATH": str(tmp_path)}
    done = droidft("doctor", **broken, COLUMNS="80")
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "To fix:" in text
    assert "home folder: set DROIDFT_HOME to a folder that you may write to" in text
    if sys.platform == "linux" and "reference BLAS" in text:
        assert "BLAS: DROIDFT_BLAS=none gives MLX no fast BLAS" in text
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["fix", "home folder", f"{tmp_path}/file/home cannot be written: Not a directory"] in rows


def test_doctor_says_why_mlx_cannot_be_loaded(home: Path, tmp_path: Path) -> None:
    """As MLX's CUDA build fails beside a driver that does not fit it: at its import."""
    package = tmp_path / "path" / "mlx"
    package.mkdir(parents=True)
    (package / "core.py").write_text("raise ImportError('unsupported display driver / cuda driver combination')")
    build = package.parent / "mlx_cuda_13-0.32.4.dist-info"
    build.mkdir()
    (build / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx-cuda-13\nVersion: 0.32.4\n")
    done = droidft("doctor", "--json", DROIDFT_HOME=str(home), PYTHONPATH=str(package.parent))
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["device"], report["gflops"]) == ({}, 0)
    finding = next(finding for finding in report["findings"] if finding["name"] == "device")
    assert "cannot be loaded: unsupported display driver" in finding["value"]
    assert "LD_LIBRARY_PATH" in finding["fix"]
    assert {"home folder", "memory", "disk", "MLX build"} < {found["name"] for found in report["findings"]}
