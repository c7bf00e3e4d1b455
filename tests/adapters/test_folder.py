from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from droidft.adapters.diagnostics import BaseModel, diagnose
from droidft.adapters.folder import AdapterInfo, Origin, find_adapter, list_adapters, read_adapter
from droidft.errors import AdapterError, NotFound
from tests.adapters.files import ATTENTION_QV, FULL_LAYER, edit_config, edit_weights, write_adapter
from tests.tiny import llama


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    return BaseModel(tmp_path / "models" / "tiny", "tiny", 2, tuple(FULL_LAYER), "c" * 64, "w" * 64, "t" * 64)


def codes(info: AdapterInfo, base: BaseModel | None = None) -> list[str]:
    return [diagnostic.code for diagnostic in diagnose(info, base)]


def ours(tmp_path: Path, **record: Any) -> Path:
    """An adapter with our section, trained on the `base` of these tests, with best weights."""
    section = {
        "alpha": 4.0,
        "scaling": "standard",
        "base": {"path": str(tmp_path / "models" / "tiny"), "config_sha256": "c" * 64, "weights_sha256": "w" * 64},
        "chat_template_sha256": "t" * 64,
    }
    folder = write_adapter(tmp_path / "ours", llama(), config={"droidft": {**section, **record}})
    (folder / "best_adapters.safetensors").symlink_to("adapters.safetensors")
    return folder


class TestReading:
    def test_what_the_folder_says(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(ours(tmp_path))
        assert (info.name, info.fine_tune_type, info.rank, info.scale, info.num_layers) == (
            "ours",
            "lora",
            4,
            1.0,
            -1,
        )
        assert info.alpha == 4.0, "scale x rank"
        assert set(info.modules) == set(FULL_LAYER)
        assert info.layers == (0, 1)
        assert info.tensors["model.layers.1.mlp.up_proj.lora_a"] == (32, 4)
        assert info.parameters == 2 * 4 * (64 + 48 + 48 + 64 + 96 * 3)
        assert diagnose(info, base) == []

    def test_neither_mlx_nor_transformers_is_imported(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        code = (
            "import sys; from pathlib import Path; from droidft.adapters.folder import read_adapter;"
            f"read_adapter(Path({str(folder)!r})); assert not {{'mlx', 'transformers'}} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_best_latest_and_numbered(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        write_adapter(folder, llama(), name="best_adapters.safetensors")
        write_adapter(folder, llama(), name="0000025_adapters.safetensors")
        assert read_adapter(folder).file.name == "adapters.safetensors"
        assert read_adapter(folder, "best").file.name == "best_adapters.safetensors"
        assert read_adapter(folder, 25).file.name == "0000025_adapters.safetensors"
        with pytest.raises(NotFound, match="0000050_adapters") as caught:
            read_adapter(folder, 50)
        assert caught.value.hint == "it has @latest, @best, @25"

    def test_config_of_an_older_mlx_lm(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama(), keys=ATTENTION_QV)
        edit_config(folder, fine_tune_type=None, num_layers=None, lora_layers=16, model="acme/base")
        info = read_adapter(folder)
        assert (info.fine_tune_type, info.num_layers, info.base) == ("lora", 16, "acme/base")
        edit_config(folder, use_dora=True)
        with pytest.raises(AdapterError, match="lacks m"):
            read_adapter(folder)

    def test_full_fine_tuning(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama(), kind="full", num_layers=1)
        info = read_adapter(folder)
        assert (info.fine_tune_type, info.rank, info.layers) == ("full", None, (1,))

    def test_what_a_run_publishes(self, tmp_path: Path, base: BaseModel) -> None:
        from droidft.adapters import publish
        from droidft.config import TrainingConfig
        from droidft.events import LoraAttached, TargetCount

        config = TrainingConfig(model_path="tiny", train_data_path="rows.jsonl", lora_rank=4, lora_alpha=8)
        weights = write_adapter(tmp_path / "made", llama(), scale=2.0) / "adapters.safetensors"
        attached = LoraAttached(
            targets=[TargetCount(key=key, modules=2, trainable=1) for key in FULL_LAYER],
            trainable=1,
            total=2,
            rank=4,
            alpha=8.0,
            scale=2.0,
            dropout=0.0,
            num_layers=-1,
            log_line="",
        )
        known = {"config_sha256": base.config_sha256, "weights_sha256": base.weights_sha256}
        folder = tmp_path / "published"
        origin = Origin(base.path, known, "chat", base.chat_template_sha256, versions={"mlx": "0"})
        publish.prepare_folder(folder, config, attached, origin, run_id="run-1")
        publish.publish(folder, weights, step=25, best=True, keep=2)
        publish.publish(folder, weights, step=50, best=False, keep=2)
        info = read_adapter(folder)
        assert (info.rank, info.alpha, info.scale, info.record["run"]) == (4, 8.0, 2.0, "run-1")
        assert diagnose(info, base) == []
        assert read_adapter(folder, "best").file.resolve().name == "0000025_adapters.safetensors"
        assert read_adapter(folder, 50).file.name == "0000050_adapters.safetensors"

    def test_find(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "adapters" / "poet", llama())
        assert find_adapter("poet", adapters_dir=tmp_path / "adapters") == (folder, "latest")
        assert find_adapter("poet@best", adapters_dir=tmp_path / "adapters") == (folder, "best")
        assert find_adapter(f"{folder}@200", adapters_dir=tmp_path) == (folder, 200)
        with pytest.raises(NotFound) as caught:
            find_adapter("poets", adapters_dir=tmp_path / "adapters")
        assert "poet" in caught.value.hint
        with pytest.raises(AdapterError, match="'newest'"):
            find_adapter("poet@newest", adapters_dir=tmp_path / "adapters")

    def test_list_shows_broken_ones_with_their_problem(self, tmp_path: Path) -> None:
        write_adapter(tmp_path / "good", llama())
        (write_adapter(tmp_path / "bare", llama()) / "adapter_config.json").unlink()
        bare, good = list_adapters(tmp_path)
        assert (bare.info, good.problem) == (None, "")
        assert "adapter_config.json" in bare.problem


def remove(name: str) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        del arrays[name]

    return change


def put(name: str, value: float, dtype: str = "float32") -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        array = arrays[name].astype(dtype)
        array.flat[3] = value
        arrays[name] = array

    return change


class TestDamage:
    """Each kind of damage is refused with its own reason."""

    NAME = "model.layers.0.self_attn.q_proj"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (remove(f"{NAME}.lora_b"), "q_proj lacks lora_b"),
            (put(f"{NAME}.lora_a", np.nan), "1 values that are NaN or infinite"),
            (put(f"{NAME}.lora_b", -np.inf), "NaN or infinite"),
            (put(f"{NAME}.lora_b", np.inf, "float16"), "NaN or infinite"),
            (put(f"{NAME}.lora_b", np.nan, "float64"), "NaN or infinite"),
            (lambda arrays: arrays.update(stray=np.zeros(3)), "stray, which is no part of an adapter"),
            (lambda arrays: arrays.clear(), "holds no tensors"),
        ],
    )
    def test_weights(self, tmp_path: Path, change: Any, reason: str) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        edit_weights(folder, change)
        with pytest.raises(AdapterError, match=reason):
            read_adapter(folder)

    def test_nan_in_bfloat16(self, tmp_path: Path) -> None:
        import mlx.core as mx

        folder = write_adapter(tmp_path / "a", llama())
        arrays = {
            name: array.astype(mx.bfloat16) for name, array in mx.load(str(folder / "adapters.safetensors")).items()
        }
        mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
        read_adapter(folder)
        arrays[f"{self.NAME}.lora_a"] = arrays[f"{self.NAME}.lora_a"] / 0
        mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
        with pytest.raises(AdapterError, match=r"128 values that are NaN or infinite, in model\.layers\.0"):
            read_adapter(folder)

    def test_cut_anywhere(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        file = folder / "adapters.safetensors"
        whole = file.read_bytes()
        for length in [*range(0, 120, 7), 1000, len(whole) // 2, len(whole) - 1]:
            file.write_bytes(whole[:length])
            with pytest.raises(AdapterError, match="damaged"):
                read_adapter(folder)

    def test_no_config(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        (folder / "adapter_config.json").unlink()
        with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
            read_adapter(folder)

    @pytest.mark.parametrize("content", ["", "[]", "nonsense", "[" * 100_000])
    def test_config_that_is_none(self, tmp_path: Path, content: str) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        (folder / "adapter_config.json").write_text(content)
        with pytest.raises(AdapterError, match=r"adapter_config\.json"):
            read_adapter(folder)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"num_layers": 0}, "num_layers 0"),
            ({"num_layers": -2}, "num_layers -2"),
            ({"num_layers": "all"}, "num_layers 'all'"),
            ({"fine_tune_type": "ia3"}, "'ia3'"),
            ({"lora_parameters": [1]}, "no lora_parameters"),
            ({"lora_parameters": {"rank": 0, "scale": 1.0}}, "rank 0"),
            ({"lora_parameters": {"rank": True, "scale": 1.0}}, "rank True"),
            ({"lora_parameters": {"rank": 4}}, "scale None"),
            ({"lora_parameters": {"rank": 4, "scale": "2"}}, "scale '2'"),
            ({"lora_parameters": {"rank": 4, "scale": 1.0, "dropout": 1.0}}, "dropout 1.0"),
            ({"lora_parameters": {"rank": 4, "scale": 1.0, "keys": []}}, r"keys \[\]"),
            ({"lora_parameters": {"rank": 8, "scale": 1.0}}, "its config says rank 8"),
        ],
    )
    def test_config_that_makes_no_sense(self, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        edit_config(folder, **changes)
        with pytest.raises(AdapterError, match=reason):
            read_adapter(folder)

    def test_a_section_of_ours_that_is_none_is_no_obstacle(self, tmp_path: Path, base: BaseModel) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        for record in ([1], {"base": 3}, {"base": {"path": None}}):
            edit_config(folder, droidft=record)
            assert "base_unknown" in codes(read_adapter(folder), base)


class TestDiagnostics:
    def test_base_known_by_its_weights_wherever_it_lies(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(ours(tmp_path))
        assert codes(info, replace(base, path=tmp_path / "moved", ref="moved")) == []

    def test_other_weights(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(ours(tmp_path))
        (found,) = diagnose(info, replace(base, weights_sha256="x" * 64))
        assert found.code == "base_mismatch"
        assert "tiny" in found.message

    def test_changed_config_and_template(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(ours(tmp_path))
        changed = replace(base, config_sha256="x" * 64, chat_template_sha256="y" * 64)
        assert codes(info, changed) == ["base_config_changed", "template_mismatch"]

    def test_base_known_by_path_link_or_hub_id(self, tmp_path: Path, base: BaseModel) -> None:
        snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / "1"
        snapshot.mkdir(parents=True)
        link = tmp_path / "link"
        link.symlink_to(snapshot)
        here = replace(base, path=link, ref=str(link))
        info = read_adapter(write_adapter(tmp_path / "a", llama()))
        for recorded in ("acme/tiny", str(link), str(snapshot)):
            assert "base_mismatch" not in codes(replace(info, base=recorded), here), recorded
        for recorded in ("acme/other", "tiny", str(tmp_path)):
            assert "base_mismatch" in codes(replace(info, base=recorded), here), recorded
        assert "base_unknown" in codes(replace(info, base=None), here)

    def test_fewer_layers(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(write_adapter(tmp_path / "a", llama(num_hidden_layers=18), num_layers=16))
        found = {d.code: d.message for d in diagnose(info, replace(base, num_layers=18))}
        assert found["layers"] == "adapts 16 of the model's 18 blocks; 16 is mlx-lm's default num_layers"

    def test_attention_only(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(write_adapter(tmp_path / "a", llama(), keys=ATTENTION_QV))
        found = {d.code: d.message for d in diagnose(info, base)}
        assert "2 of the 7 projections" in found["attention_only"]
        assert "mlp.down_proj" in found["attention_only"]

    def test_some_keys_missing(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(write_adapter(tmp_path / "a", llama(), keys=FULL_LAYER[:-1]))
        assert "keys_missing" in codes(info, base)
        assert "attention_only" not in codes(info, base)

    def test_no_keys(self, tmp_path: Path, base: BaseModel) -> None:
        info = read_adapter(write_adapter(tmp_path / "a", llama(), keys=None))
        found = {d.code: d.message for d in diagnose(info, base)}
        assert "0.28.2" in found["no_keys"]
        assert "keys_missing" not in found

    @pytest.mark.parametrize(
        ("rank", "scale", "record", "warned"),
        [
            (32, 32.0, {}, True),
            (16, 32.0, {"alpha": 32.0, "scaling": "standard"}, True),
            (32, 32.0, {"alpha": 32.0, "scaling": "raw"}, False),
            (32, 32.0, {"alpha": 1024.0, "scaling": "standard"}, False),
            (8, 20.0, {}, False),
            (32, 1.0, {}, False),
        ],
    )
    def test_scale(self, tmp_path: Path, rank: int, scale: float, record: dict[str, Any], *, warned: bool) -> None:
        folder = write_adapter(tmp_path / "a", llama(), rank=rank, scale=scale, config={"droidft": record})
        assert ("scale_raw" in codes(read_adapter(folder))) is warned

    def test_no_best(self, tmp_path: Path) -> None:
        folder = write_adapter(tmp_path / "a", llama())
        assert "no_best" in codes(read_adapter(folder))
        (folder / "best_adapters.safetensors").symlink_to("adapters.safetensors")
        assert "no_best" not in codes(read_adapter(folder))

    def test_every_message_is_a_sentence_about_the_adapter(self, tmp_path: Path, base: BaseModel) -> None:
        folder = write_adapter(tmp_path / "a", llama(), keys=None, rank=32, scale=32.0, num_layers=1)
        found = diagnose(read_adapter(folder), base)
        assert len(found) == len({d.code for d in found}) == 5
        assert json.dumps([d.message for d in found]).isascii()
