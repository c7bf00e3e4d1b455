"""Checkpoints: complete, hashed, or refused by name."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import mlx.core as mx
import pytest

from droidft.engine.training import checkpoint
from droidft.engine.training.checkpoint import RunState
from droidft.errors import CheckpointError, NonFiniteError, StorageError

ARRAYS = {"a": mx.arange(64, dtype=mx.float32), "b": mx.ones((4, 4))}


def state(step: int) -> RunState:
    return RunState(step=step, config_hash="c", data_hash="d", versions={})


def save(root: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save(root, state(step), ARRAYS, {"step": mx.array(step)})


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 5, 10)
    folder, found, complaints = checkpoint.newest_good(tmp_path)
    assert (found.step, complaints) == (10, [])
    adapter, optimizer, method = checkpoint.load_arrays(folder)
    assert mx.array_equal(adapter["a"], ARRAYS["a"]).item()
    assert optimizer["step"].item() == 10
    assert method == {}


def test_what_a_method_keeps_comes_back_and_is_held_to_its_hash(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(5), ARRAYS, {"step": mx.array(5)}, {"tokens": mx.array([1, 2])})
    folder, _, _ = checkpoint.newest_good(tmp_path)
    assert checkpoint.load_arrays(folder)[2]["tokens"].tolist() == [1, 2]
    (folder / "method.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"method\.safetensors"):
        checkpoint.newest_good(tmp_path)


@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, 5)
    (tmp_path / "0000005" / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        checkpoint.newest_good(tmp_path)


def test_every_flipped_byte_is_noticed_and_the_older_checkpoint_used(tmp_path: Path) -> None:
    """500 single flipped bytes in any file of a checkpoint: all detected, the damaged one kept aside."""
    save(tmp_path, 5, 10)
    generator = random.Random(0)
    files = sorted((tmp_path / "0000010").iterdir())
    for _ in range(500):
        path = generator.choice(files)
        original = path.read_bytes()
        at = generator.randrange(len(original))
        flipped = bytes([original[at] ^ (1 << generator.randrange(8))])
        path.write_bytes(original[:at] + flipped + original[at + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.verify(tmp_path / "0000010")
        path.write_bytes(original)
    path.write_bytes(original[:-1])
    _, found, complaints = checkpoint.newest_good(tmp_path)
    assert found.step == 5
    assert path.name in complaints[0]
    assert (tmp_path / "damaged-0000010").is_dir()


def test_nothing_non_finite_is_written(tmp_path: Path) -> None:
    save(tmp_path, 5)
    with pytest.raises(NonFiniteError, match="b holds NaN"):
        checkpoint.save(tmp_path, state(10), {**ARRAYS, "b": mx.array([1.0, float("nan")])}, {})
    assert checkpoint.steps(tmp_path) == [5]


def test_old_ones_and_leftovers_of_crashes_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, 15)
    (tmp_path / ".0000020.tmp").mkdir()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000010", "0000015"]


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save(blocked / "checkpoints", 5)


SAVE_AND_DIE = """
    import os, sys
    from pathlib import Path
    from droidft.engine.training import checkpoint
    import mlx.core as mx
    root, fatal, calls = Path(sys.argv[1]), int(sys.argv[2]), [0]
    def deadly(name):
        original = getattr(os, name)
        def call(*args, **options):
            calls[0] += 1
            if calls[0] == fatal:
                os._exit(137)
            return original(*args, **options)
        setattr(os, name, call)
    for name in ("open", "write", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "close"):
        deadly(name)
    state = checkpoint.RunState(step=10, config_hash="c", data_hash="d", versions={})
    checkpoint.save(root, state, {"a": mx.ones(8)}, {"step": mx.array(10)})
    print(calls[0])
"""


@pytest.mark.parametrize("die", [False, True])
def test_a_checkpoint_replaced_by_one_of_the_same_step_is_never_lost(tmp_path: Path, die: bool) -> None:
    """Stopping after an evaluation saves its step again: whatever call the crash hits, one of the two is there."""
    if not die:
        save(tmp_path, 10)
        save(tmp_path, 10)
        assert [path.name for path in tmp_path.iterdir()] == ["0000010"]
        return
    save(tmp_path / "count", 10)
    calls = int(die_at(tmp_path / "count", 0).stdout)
    for call in range(1, calls + 1):
        root = tmp_path / str(call)
        save(root, 10)
        assert die_at(root, call).returncode == 137
        assert checkpoint.any_saved(root)
        _, found, complaints = checkpoint.newest_good(root)
        assert (found.step, complaints) == (10, [])


def test_a_checkpoint_of_another_version_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(checkpoint, "FORMAT", 99)
        save(tmp_path, 5)
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoint.newest_good(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0000005"]


def die_at(root: Path, call: int) -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(SAVE_AND_DIE)
    return subprocess.run([sys.executable, "-c", script, str(root), str(call)], capture_output=True, text=True)


def test_a_crash_at_any_system_call_of_a_save_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    """The process dies at each call in turn; afterwards a checkpoint verifies, the old one or the new one."""
    counted = die_at(tmp_path / "count", 0)
    assert counted.returncode == 0, counted.stderr
    calls = int(counted.stdout)
    assert calls >= 10
    for call in range(1, calls + 1):
        root = tmp_path / str(call)
        save(root, 5)
        assert die_at(root, call).returncode == 137
        _, found, complaints = checkpoint.newest_good(root)
        assert found.step in (5, 10)
        assert complaints == []
        save(root, 15)
        checkpoint.prune(root, keep=1)
        assert [path.name for path in root.iterdir()] == ["0000015"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux to mount a tmpfs")
@pytest.mark.parametrize("megabytes", [1, 2, 3])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, megabytes: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        save(disk, 5)
        with pytest.raises(StorageError, match="MB are free"):
            checkpoint.save(disk, state(10), {"big": mx.ones((megabytes * 2**20,))}, {})
        assert checkpoint.newest_good(disk)[1].step == 5
    finally:
        subprocess.run(["umount", str(disk)], check=True)
