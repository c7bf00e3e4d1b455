"""Every architecture's adapter in PEFT: it computes there what it computes here, or is refused by name."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx_lm.models
import pytest

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.merged import write_merged
from droidft.adapters.exports.places import JOINED, renamed
from droidft.adapters.exports.updates import updates
from droidft.engine.model.compared import DIFFERS
from droidft.errors import AdapterError
from tests.adapters.exports.trained import difference, trained
from tests.engine.model.logits.cases import CASES, REFUSED
from tests.engine.model.logits.files import write_model
from tests.interop.torch_models import adapted, bare, export, golden, load, logits

torch = pytest.importorskip("torch", reason="the extra is not installed: droidft[torch]")
transformers = pytest.importorskip("transformers", reason="the extra is not installed: droidft[torch]")
pytest.importorskip("peft", reason="the extra is not installed: droidft[torch]")
# Of the libraries: PEFT warns of patterns of ranks that are those of parameters, although it uses them.
pytestmark = pytest.mark.filterwarnings("ignore")

CLOSE = 1e-3
"""Of the logits' standard deviation."""
UNTRACED = {"falcon_h1"}
"""Weights that are rescaled on loading have no origin, which is refused before."""
REMOTE = {"exaone"}
"""Not in transformers: only with code from elsewhere."""
SILENT = {"falcon_mamba", "jamba", "mamba", "mamba2", "nemotron_h"}
"""PEFT cannot adapt one of the modules that are adapted by default."""
SHARED: dict[str, dict[str, Any]] = {
    "falcon_mamba": {"lora_keys": ["mixer.in_proj", "mixer.x_proj"]},
    "jamba": {"lora_keys": ["mamba.in_proj", "mamba.out_proj", "feed_forward.switch_mlp.up_proj"]},
    "mamba": {"lora_keys": ["mixer.in_proj", "mixer.x_proj"]},
    "mamba2": {"lora_keys": ["mixer.in_proj"]},
    "nemotron_h": {"lora_keys": ["mixer.in_proj", "mixer.q_proj", "mixer.switch_mlp.fc1", "mixer.switch_mlp.fc2"]},
}
"""What it can adapt of them."""
READ = [case for case in CASES if case.partition("-")[0] not in {*REFUSED, *UNTRACED, *REMOTE}]


def check(case: str, folder: Path, **settings: Any) -> None:
    made = trained(case, folder, **settings)
    assert difference(made.plain, made.adapted) > 0.1, "the adapter changes nothing"
    there = logits(adapted(made.base, export(made, folder / "peft")))
    merged = folder / "merged"
    merged.mkdir()
    write_merged(Checkpoint(made.base, updates(made.info, made.origins())), merged)
    assert difference(there, logits(load(merged))) < CLOSE, "PEFT and the merged model differ"
    if case not in DIFFERS:
        noise = difference(logits(load(made.base)), made.plain)
        assert difference(there, made.adapted) < max(CLOSE, 3 * noise)


@pytest.mark.parametrize("case", [case for case in READ if case.partition("-")[0] not in SILENT])
def test_logits_in_peft_are_those_here(case: str, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize("case", sorted(SILENT))
def test_what_peft_cannot_adapt_is_refused_and_the_rest_is_not(case: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=f"models of type {case} use its weight without calling it"):
        export(trained(case, tmp_path / "all"), tmp_path / "peft")
    check(case, tmp_path / "rest", lora_targets="custom", **SHARED[case])


@pytest.mark.parametrize("case", sorted(set(READ) & JOINED - SILENT))
def test_routers_are_adapted_too(case: str, tmp_path: Path) -> None:
    check(case, tmp_path, lora_routers="on")


@pytest.mark.parametrize("case", ["llama", "qwen2", "phi3", "gemma2", "gpt2", "cohere2", "starcoder2", "gpt_neox"])
def test_dora(case: str, tmp_path: Path) -> None:
    check(case, tmp_path, fine_tune_type="dora")


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        ("llama", ["model.embed_tokens", "lm_head"]),
        ("gemma2", ["model.embed_tokens"]),
        ("gpt2", ["model.wte"]),
        ("gpt_neox", ["model.embed_in", "model.embed_out"]),
        ("mixtral", ["model.embed_tokens", "lm_head", "self_attn.q_proj"]),
    ],
)
def test_embeddings_and_heads(case: str, keys: list[str], tmp_path: Path) -> None:
    check(case, tmp_path, lora_targets="custom", lora_keys=keys)


def test_the_last_block_alone(tmp_path: Path) -> None:
    check("mixtral", tmp_path, lora_num_layers=1)


OTHERS = re.compile(r"\.experts\.|patch_merge_mlp|moe_statics")
"""Names apart: joined experts, what sees, a bias of a router."""


@pytest.mark.parametrize("case", [case for case in READ if "-" not in case])
def test_names_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    made = golden(case)
    with torch.device("meta"):
        model = bare(write_model(tmp_path, made))
    there = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    stored = {renamed(name, case) for name, shape in made.shapes.items() if len(shape) == 2}
    if case == "minimax_m3_vl":
        stored = {re.sub(r"\.(gate|up)_proj\.weight$", ".gate_up_proj.weight", name) for name in stored}
    assert {name for name in stored - there if not OTHERS.search(name)} == set()


def test_joined_experts_are_those_that_transformers_joins() -> None:
    joining = import_module("transformers.core_model_loading").MergeModulelist
    changes = import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping
    ours = {file.stem for file in Path(mlx_lm.models.__path__[0]).glob("*.py")}
    known = ours & set(transformers.CONFIG_MAPPING)
    joined = {
        model_type
        for model_type in known
        for change in changes(model_type) or []
        if any(isinstance(step, joining) for step in getattr(change, "operations", []))
    }
    assert joined - JOINED == set()
    assert set(transformers.CONFIG_MAPPING) >= JOINED
