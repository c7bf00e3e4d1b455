"""Adapters that PEFT itself trained and saved come in with equal logits, and ours train on in PEFT."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from droidft.adapters.folder import read_adapter
from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.imports.settings import KNOWN
from droidft.adapters.imports.sources import open_source
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.foundation import foundation
from droidft.errors import AdapterError
from droidft.models.fingerprint import fingerprint
from tests.adapters.exports.trained import Logits, difference, read
from tests.engine.model.logits.files import VOCABULARY, write_model
from tests.interop.torch_models import golden, load, logits

torch = pytest.importorskip("torch", reason="the extra is not installed: droidft[torch]")
peft = pytest.importorskip("peft", reason="the extra is not installed: droidft[torch]")
pytestmark = pytest.mark.filterwarnings("ignore")

CLOSE = 1e-3
LINEAR = "all-linear"
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def taught(case: str, folder: Path, *, steps: int = 4, **settings: Any) -> tuple[Path, Path, Logits]:
    """Folders of a model and of an adapter that PEFT has trained on random text, and the logits of both."""
    base, saved = write_model(folder / "base", golden(case)), folder / "saved"
    torch.manual_seed(0)
    model = peft.get_peft_model(load(base), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    optimizer = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=0.02)
    random = np.random.default_rng(1)
    for _ in range(steps):
        ids = torch.tensor(random.integers(3, VOCABULARY, (2, 24)))
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(saved)
    return base, saved, logits(model.eval())


def imported(base: Path, saved: Path, target: Path) -> Logits:
    source = open_source(saved)
    assert isinstance(source, Foreign)
    source.on(foundation(base), fingerprint(base))
    target.mkdir()
    source.write(target)
    model, _ = loading.load_model(base)
    adapter_weights.apply(model, read_adapter(target))
    return read(model)


ALL: dict[str, dict[str, Any]] = {
    "llama": {"r": 4, "lora_alpha": 16, "target_modules": LINEAR},
    "qwen2": {"r": 4, "target_modules": LINEAR, "use_rslora": True, "rank_pattern": {"q_proj": 7}},
    "qwen3": {"r": 4, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1, 3]},
    "phi3": {"r": 4, "target_modules": r".*\.(qkv_proj|gate_up_proj|o_proj)"},
    "gpt2": {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "alpha_pattern": {"c_proj": 3}},
    "gemma2": {"r": 4, "target_modules": LINEAR, "init_lora_weights": "gaussian"},
    "gpt_neox": {"r": 4, "target_modules": ["query_key_value", "dense"]},
    "mixtral": {"r": 4, "target_modules": ["q_proj", "v_proj"], "target_parameters": EXPERTS},
    "qwen2_moe": {"r": 4, "target_modules": ["o_proj"], "target_parameters": [*EXPERTS, "mlp.gate.weight"]},
    "gpt_oss": {"r": 4, "target_modules": ["q_proj"], "target_parameters": EXPERTS},
    "granitemoe": {"r": 4, "target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    "deepseek_v3": {"r": 2, "target_modules": ["o_proj"], "target_parameters": ["experts.gate_up_proj"]},
    "qwen3_5": {"r": 4, "target_modules": LINEAR},
    "gemma3": {"r": 4, "target_modules": r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"},
}


@pytest.mark.parametrize("case", ALL)
def test_logits_are_those_of_peft(case: str, tmp_path: Path) -> None:
    base, saved, want = taught(case, tmp_path, **ALL[case])
    assert difference(want, logits(load(base))) > 0.05, "nothing was learned"
    assert difference(imported(base, saved, tmp_path / "in"), want) < CLOSE


@pytest.mark.parametrize("case", ["llama", "qwen2", "phi3", "gpt2", "gemma2"])
def test_dora(case: str, tmp_path: Path) -> None:
    settings = {**ALL[case], "use_dora": True}
    base, saved, want = taught(case, tmp_path, **settings)
    assert difference(imported(base, saved, tmp_path / "in"), want) < CLOSE


def test_embedding_and_head(tmp_path: Path) -> None:
    base, saved, want = taught("llama", tmp_path, r=4, target_modules=["embed_tokens", "lm_head", "q_proj"])
    assert difference(imported(base, saved, tmp_path / "in"), want) < CLOSE


@pytest.mark.parametrize(
    ("case", "settings", "named"),
    [
        ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "modules_to_save"),
        ("llama", {"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "pissa"),
        ("llama-linear", {"target_modules": ["q_proj"], "bias": "lora_only"}, "bias 'lora_only'"),
        ("llama", {"target_modules": ["embed_tokens"], "use_dora": True}, "DoRA on the embedding"),
        ("gemma2", {"target_modules": ["embed_tokens"]}, "the output head is the embedding"),
        ("llama", {"target_modules": ["q_proj"], "trainable_token_indices": [3]}, "trainable_token_indices"),
        ("llama", {"target_modules": ["q_proj"], "lora_bias": True}, "lora_bias"),
    ],
)
def test_what_would_compute_something_else_is_refused(
    case: str, settings: dict[str, Any], named: str, tmp_path: Path
) -> None:
    base, saved, _ = taught(case, tmp_path, steps=1, r=2, **settings)
    with pytest.raises(AdapterError, match=named):
        imported(base, saved, tmp_path / "in")


@pytest.mark.parametrize("case", ["mixtral", "qwen2_moe", "gpt_oss"])
def test_experts_one_after_the_other_are_noticed(case: str, tmp_path: Path) -> None:
    base, saved, want = taught(case, tmp_path, steps=10, **ALL[case])
    file = saved / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, values in tensors.items():
        if "experts" in name and "lora_B" in name:
            stack = values.reshape(len(values), -1, 4)
            tensors[name] = np.ascontiguousarray(stack.swapaxes(1, 2)).reshape(values.shape)
    save_file(tensors, file)
    assert difference(imported(base, saved, tmp_path / "in"), want) < CLOSE


def test_settings_of_an_installed_peft_are_all_known(tmp_path: Path) -> None:
    peft.LoraConfig(r=4, target_modules=["q_proj"]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {name for name, value in config.items() if value} <= KNOWN
