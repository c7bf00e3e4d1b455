"""Faults as exporters of others have them, planted into exports of a trained model: the certificate catches each.

The same model's sound exports pass, in every form.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import droidft
from droidft.adapters.exports.certificate import Certificate, Circumstances, Hashes, judge
from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.evidence import collect
from droidft.adapters.exports.readers.reading import Reading, Request
from droidft.adapters.exports.updates import updates
from droidft.adapters.folder import AdapterInfo, find_adapter, read_adapter
from droidft.engine.evaluation import certify
from droidft.engine.evaluation.unseen import rows_of_run
from droidft.engine.model import adapter_weights, loading
from droidft.models.gguf.write import write_gguf
from tests import tiny
from tests.adapters.exports.trained import Trained
from tests.interop import models
from tests.interop.forms import FORMS, Exported, gguf, merged, peft
from tests.models.gguf.tiny import ROWS

pytestmark = pytest.mark.xdist_group("planted")  # they share a trained model


@dataclass(frozen=True)
class Chosen(Trained):
    """A run's adapter, whose weights are the best ones."""

    which: str = "best"

    @property
    def info(self) -> AdapterInfo:
        return read_adapter(self.adapter, "best")


@dataclass(frozen=True)
class Certified:
    """A trained model, and what is needed to certify its exports."""

    made: Trained
    request: Request
    base: Reading
    trained: Reading

    def certificate(self, form: str, exported: Exported, *, quantisation: str | None = None) -> Certificate:
        def never() -> Reading:
            raise AssertionError("the reader that is not ours has to do it")

        evidence = collect(
            form,
            [exported.base, exported.export],
            self.request,
            base=self.base,
            trained=self.trained,
            read_back=never,
        )
        hashes = Hashes(base="", adapter="", data="", files={})
        return judge(evidence, Circumstances(form, hashes, {}, "", quantisation=quantisation))


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """A tiny Llama that has learned a lot."""
    return _certified(tmp_path_factory.mktemp("much"), iterations=40, learning_rate=3e-3)


@pytest.fixture(scope="module")
def slightly(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """One that has learned a little: its update is small beside a step of 4 bits."""
    return _certified(tmp_path_factory.mktemp("little"), iterations=10, learning_rate=3e-4)


def _certified(folder: Path, **settings: Any) -> Certified:
    """The model trained here, and read on its validation rows."""
    base = models.write("llama", folder / "base")
    run = droidft.train(
        model_path=str(base),
        train_data_path=str(tiny.write_chat(folder / "chat.jsonl", rows=120)),
        home=models.write_home(folder / "home"),
        validation_fraction=0.3,
        steps_per_eval=10,
        lora_rank=4,
        **settings,
    ).wait()
    adapter, _ = find_adapter(run.adapter, adapters_dir=folder / "home" / "adapters")
    info = read_adapter(adapter, "best")
    model, _ = loading.load_model(base)
    tokenizer = loading.load_tokenizer(base)
    rows = rows_of_run(run.config, tokenizer, context_length=256, draw=lambda prompts: prompts)
    request = certify.request_of(rows.tokens, tokenizer, vocabulary=ROWS)
    request = request.model_copy(update={"threads": 1})  # of so small a model, threads wait for each other
    plain = certify.read(model, tokenizer, request)
    adapter_weights.apply(model, info)
    empty = np.zeros((0, 0), np.float32)
    return Certified(Chosen(base, adapter, empty, empty), request, plain, certify.read(model, tokenizer, request))


@pytest.mark.parametrize("form", FORMS)
def test_sound_exports_pass(form: str, certified: Certified, tmp_path: Path) -> None:
    made = certified.certificate(form, FORMS[form].write(certified.made, tmp_path))
    assert made.passed, made.sentence
    assert made.tolerance.by == "loss"
    assert made.greedy.equal == made.greedy.answers
    assert "droidft" not in made.reader


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_K_M"])
def test_sound_types_pass(kind: str, certified: Certified, tmp_path: Path) -> None:
    quantisation = kind if kind.startswith("Q") else None
    made = certified.certificate("gguf", gguf(certified.made, tmp_path, kind=kind), quantisation=quantisation)
    assert made.passed, made.sentence


def untransposed(made: Trained, folder: Path) -> Exported:
    """The values of each factor A in the order that they have here, (in, rank), under PEFT's shape (rank, in)."""
    exported = peft(made, folder)
    file = folder / "peft" / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, values in tensors.items():
        if "lora_A" in name:
            tensors[name] = np.ascontiguousarray(values.T).reshape(values.shape)
    save_file(tensors, file, metadata={"format": "pt"})
    return exported


def undivided(made: Trained, folder: Path) -> Exported:
    """An alpha that is right where it is not divided by the rank."""
    exported = peft(made, folder)
    file = folder / "peft" / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["lora_alpha"] /= settings["r"]
    file.write_text(json.dumps(settings))
    return exported


def in_other_order(made: Trained, folder: Path) -> Exported:
    """The update's rows of queries and keys as llama.cpp's converter finds them, who permutes only the base's."""
    exported = gguf(made, folder)

    class Unpermuted(Checkpoint):
        def load(self, name: str) -> Any:
            values = super().load(name)
            if not name.endswith(("q_proj.weight", "k_proj.weight")):
                return values
            plain = Checkpoint(made.base, []).load(name)
            heads = 4 if "q_proj" in name else 2
            update = (values - plain).reshape(heads, -1, 2, values.shape[-1]).swapaxes(1, 2)
            return plain + update.reshape(values.shape)

    weights = Unpermuted(made.base, updates(made.info, made.origins()))
    write_gguf(made.base, weights, exported.export.model, kind="F32")
    return exported


def left_out(made: Trained, folder: Path) -> Exported:
    """The base itself."""
    exported = gguf(made, folder)
    return replace(exported, export=exported.base)


def requantised(made: Trained, folder: Path) -> Exported:
    """Every merged matrix through 4 bits, as by a tool that packs what it has merged into a packed base."""
    exported = merged(made, folder)
    file = exported.export.model / "model.safetensors"
    tensors = load_file(file)
    for name, values in tensors.items():
        if name.endswith("proj.weight"):
            packed = mx.quantize(mx.array(values), group_size=32, bits=4)
            tensors[name] = np.array(mx.dequantize(*packed, group_size=32, bits=4))
    save_file(tensors, file, metadata={"format": "pt"})
    return exported


FAULTS: dict[str, tuple[str, Callable[[Trained, Path], Exported]]] = {
    "a factor is not transposed": ("peft", untransposed),
    "alpha is not divided by the rank": ("peft", undivided),
    "the rows of queries and keys are in another order": ("gguf", in_other_order),
    "the adapter is left out": ("gguf", left_out),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault: str, certified: Certified, tmp_path: Path) -> None:
    form, plant = FAULTS[fault]
    made = certified.certificate(form, plant(certified.made, tmp_path))
    assert not made.passed, made.sentence
    assert made.loss.exported is not None, "the files load: only numbers notice"


def test_a_small_update_that_4_bits_erase_is_caught(slightly: Certified, tmp_path: Path) -> None:
    made = slightly.certificate("merged", requantised(slightly.made, tmp_path))
    assert not made.passed, made.sentence
    assert slightly.certificate("merged", merged(slightly.made, _below(tmp_path))).passed


def test_what_4_bits_do_to_a_large_update_is_seen_in_the_logits(certified: Certified, tmp_path: Path) -> None:
    """Its loss stays within a tenth of what the adapter changes, so the verdict cannot see it; the logits show it."""
    made = certified.certificate("merged", requantised(certified.made, tmp_path))
    assert made.passed
    assert made.logits is not None
    assert made.noise is not None
    assert made.logits.largest > 1000 * made.noise.largest


def _below(folder: Path) -> Path:
    (folder / "sound").mkdir()
    return folder / "sound"


def test_tensors_that_peft_leaves_out_are_a_fault_of_the_export(certified: Certified, tmp_path: Path) -> None:
    """PEFT drops what it has no place for, and says nothing."""
    exported = peft(certified.made, tmp_path)
    file = tmp_path / "peft" / "adapter_model.safetensors"
    tensors = {
        name.replace("layers.1.mlp.up_proj", "layers.1.mlp.upward"): it for name, it in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    made = certified.certificate("peft", exported)
    assert not made.passed
    assert "PEFT has no place for 2 tensors of the adapter" in made.sentence
