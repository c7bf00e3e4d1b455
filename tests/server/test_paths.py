"""What a client may name, and that nothing outside is ever reached or given away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from droidft.config import TrainingConfig
from droidft.errors import AdapterError, ConfigError, DroidError, ForbiddenPath, NotFound
from droidft.home import Home
from droidft.server import paths
from droidft.server.options import Options

REFUSED = (ForbiddenPath, NotFound, ConfigError)
OUT = [
    "/etc/passwd", "/etc/passwd.jsonl", "/", "//etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin",
    "~root/x.jsonl", "~nobody", "~+", "file:///etc/passwd", "\\\\host\\share\\x.jsonl", "C:\\x.jsonl",
    "../../../etc/passwd", "..", ".", "", " ", "a\0b.jsonl", "a\nb.jsonl", "\ud800.jsonl", "x" * 5000, "x" * 300,
    "/" + "a/" * 2000 + "x", "%2e%2e/%2e%2e/etc/passwd", "..%c0%af..", "．．/．．/etc", "hub:", "hub:../..",
    "hub:a/..",     "hub:org/name/../../x", "hub:/etc/passwd", "hub:org", "hub:org/na me", "HUB:org/name",
]  # fmt: skip


@pytest.fixture
def options(home: Path, tmp_path: Path) -> Options:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    return Options(home=Home(home), roots=(allowed,))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.jsonl").write_text('{"text": "secret"}\n')
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("text", OUT)
@pytest.mark.parametrize("of", [paths.data_ref, paths.model_ref, paths.import_ref])
def test_what_no_client_may_name(options: Options, of: Callable[[Options, str], object], text: str) -> None:
    with pytest.raises(REFUSED) as caught:
        of(options, text)
    assert caught.value.message


def test_a_path_outside_is_forbidden_whether_or_not_it_exists(options: Options, outside: Path) -> None:
    for name in ("secret.jsonl", "absent.jsonl"):
        with pytest.raises(ForbiddenPath, match="lies outside") as caught:
            paths.data_ref(options, str(outside / name))
        assert "--allow" in caught.value.hint
        assert caught.value.field == "train_data_path"


def test_data_below_the_home_folder_and_the_roots_is_taken(options: Options) -> None:
    kept = options.home.data / "rows.jsonl"
    kept.write_text("{}\n")
    assert paths.data_ref(options, str(kept)) == str(kept)
    assert paths.data_ref(options, "rows.jsonl") == str(kept)
    assert paths.data_ref(options, f"{kept.parent}/../data/./rows.jsonl") == str(kept)
    other = options.roots[0] / "a folder" / "zeilen äöü.csv"
    other.parent.mkdir()
    other.write_text("text\n")
    assert paths.data_ref(options, str(other)) == str(other)
    assert paths.data_ref(options, str(other.parent)) == str(other.parent)
    with pytest.raises(NotFound, match=r"there is no .*absent"):
        paths.data_ref(options, str(other.parent / "absent.jsonl"))
    with pytest.raises(NotFound):
        paths.data_ref(options, str(kept / "below a file"))


def test_links_are_followed_before_they_are_judged(options: Options, outside: Path) -> None:
    inside = options.home.data
    (inside / "out.jsonl").symlink_to(outside / "secret.jsonl")
    (inside / "folder").symlink_to(outside)
    (inside / "round.jsonl").symlink_to(inside / "round.jsonl")
    mixed = inside / "mixed"
    mixed.mkdir()
    (mixed / "train.jsonl").symlink_to(outside / "secret.jsonl")
    for name in ("out.jsonl", "folder", "folder/secret.jsonl", "mixed"):
        with pytest.raises(ForbiddenPath):
            paths.data_ref(options, str(inside / name))
    with pytest.raises((ConfigError, NotFound)):
        paths.data_ref(options, str(inside / "round.jsonl"))
    (options.roots[0] / "back.jsonl").symlink_to(inside / "kept.jsonl")
    (inside / "kept.jsonl").write_text("{}\n")
    assert paths.data_ref(options, str(options.roots[0] / "back.jsonl")) == str(inside / "kept.jsonl")


def test_an_allowed_root_may_itself_be_a_link(options: Options, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(options.roots[0])
    (options.roots[0] / "x.jsonl").write_text("{}\n")
    through = Options(home=options.home, roots=(link,))
    assert paths.data_ref(through, str(link / "x.jsonl")) == str(options.roots[0] / "x.jsonl")


def test_a_neighbour_with_a_longer_name_is_outside(options: Options) -> None:
    near = options.roots[0].with_name("allowed-not")
    near.mkdir()
    (near / "x.jsonl").write_text("{}\n")
    with pytest.raises(ForbiddenPath):
        paths.data_ref(options, str(near / "x.jsonl"))


def test_pipes_devices_and_secrets_are_refused(options: Options) -> None:
    pipe = options.home.data / "pipe.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="pipe or a device"):
        paths.data_ref(options, str(pipe))
    secrets = options.home.root / "server"
    secrets.mkdir()
    (secrets / "token.jsonl").write_text("{}")
    with pytest.raises(ForbiddenPath):
        paths.data_ref(options, str(secrets / "token.jsonl"))


def test_hub_references_pass(options: Options) -> None:
    for text in ("hub:org/name", "hub:org/name/data/train-00000-of-00002.parquet", "hub:a.b/c_d-e"):
        assert paths.data_ref(options, text) == text
    for text in ("org/name", "mlx-community/Qwen2.5-0.5B-Instruct-4bit", "smollm2-135m-instruct"):
        assert paths.model_ref(options, text) == text


def test_model_folders(options: Options, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = options.roots[0] / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert paths.model_ref(options, str(folder)) == str(folder)
    with pytest.raises(ConfigError, match="not a model folder"):
        paths.model_ref(options, str(folder / "config.json"))
    with pytest.raises(ForbiddenPath):
        paths.model_ref(options, str(outside))
    (folder / "model.safetensors").symlink_to(outside / "secret.jsonl")
    with pytest.raises(ForbiddenPath):
        paths.model_ref(options, str(folder))
    # Registered by its owner from a terminal: the name is enough, wherever it leads.
    (options.home.models / "mine").symlink_to(outside)
    assert paths.model_ref(options, "mine") == "mine"
    assert paths.model_ref(options, str(options.home.models / "mine")) in ("mine", str(options.home.models / "mine"))


def test_folders_where_the_server_was_started_are_not_reached_by_name(
    options: Options, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outside.parent)
    (outside.parent / "org" / "name").mkdir(parents=True)
    assert paths.model_ref(options, "outside") == str(options.home.models / "outside")
    with pytest.raises(ConfigError, match="full path"):
        paths.model_ref(options, "org/name")
    with pytest.raises(NotFound):
        paths.adapter_ref(options, "outside")


def test_imports(options: Options, outside: Path) -> None:
    file = options.roots[0] / "x.gguf"
    file.write_bytes(b"GGUF")
    assert paths.import_ref(options, str(file)) == file
    for text in (str(outside / "x.gguf"), str(outside)):
        with pytest.raises(ForbiddenPath):
            paths.import_ref(options, text)
    with pytest.raises(NotFound):
        paths.import_ref(options, str(file.with_name("y.gguf")))
    with pytest.raises(ConfigError):
        paths.import_ref(options, "x.gguf")


def test_adapters_are_named_never_pointed_at(options: Options) -> None:
    (options.home.adapters / "till").mkdir()
    for text in ("till", "till@best", "till@latest", "till@200"):
        assert paths.adapter_ref(options, text) == text
    for text in ("../till", "/etc", "till@", "till@x", "till@best@200", "", "a" * 65, "till\n"):
        with pytest.raises(AdapterError):
            paths.adapter_ref(options, text)
    with pytest.raises(NotFound):
        paths.adapter_ref(options, "tell")


def test_a_run_starts_from_a_name_or_from_an_adapter_in_an_allowed_folder(options: Options, tmp_path: Path) -> None:
    (options.home.adapters / "till").mkdir()
    theirs = options.home.root / "theirs"
    theirs.mkdir()
    (theirs / "adapter_config.json").touch()
    for text in ("till@best", str(theirs), f"{theirs}@200", str(theirs / "adapter_config.json")):
        assert paths.start_ref(options, text, field="init_adapter") == text
    with pytest.raises(NotFound):
        paths.start_ref(options, f"{theirs}-gone", field="init_adapter")
    (theirs / "adapter_model.safetensors").symlink_to("/etc/passwd")
    with pytest.raises(ForbiddenPath):
        paths.start_ref(options, str(theirs), field="init_adapter")


def test_a_whole_configuration(options: Options) -> None:
    rows = options.home.data / "rows.jsonl"
    rows.write_text("{}\n")
    config = TrainingConfig(model_path="some", train_data_path="rows.jsonl", val_data_path=str(rows))
    confined = paths.confine(options, config)
    assert (confined.train_data_path, confined.val_data_path) == (str(rows), str(rows))
    assert confined.model_path == "some"
    for change, error in (
        ({"train_data_path": "/etc/hosts"}, ForbiddenPath),
        ({"val_data_path": "/etc/hosts"}, ForbiddenPath),
        ({"model_path": "/etc"}, ForbiddenPath),
        ({"init_adapter": "/etc"}, ForbiddenPath),
        ({"init_adapter": "../etc"}, AdapterError),
        ({"reference_adapter": "/etc/passwd"}, ForbiddenPath),
    ):
        with pytest.raises(error) as caught:
            paths.confine(options, config.model_copy(update=change))
        assert isinstance(caught.value, DroidError)


def test_the_suffixes_are_those_of_the_reader() -> None:
    from droidft.data.readers import SUFFIXES

    assert all(paths.is_data_name(f"rows{suffix}") for suffix in SUFFIXES)


def test_the_embedded_model_is_the_engine_s() -> None:
    from droidft.models import embedded

    assert paths.pull_ref(embedded.NAME) == embedded.NAME
