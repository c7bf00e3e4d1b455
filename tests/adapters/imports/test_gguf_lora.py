"""A GGUF LoRA file comes in and computes what the adapter it was made from does."""

from pathlib import Path

import pytest

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.updates import updates
from droidft.adapters.folder import read_adapter
from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.imports.sources import open_source
from droidft.engine.model import adapter_weights, loading
from droidft.engine.model.foundation import foundation
from droidft.models.fingerprint import fingerprint
from droidft.models.gguf.lora import write_gguf_lora
from tests.adapters.exports.trained import difference, read, trained


@pytest.mark.parametrize("case", ["llama", "qwen2", "qwen3", "mixtral"])
def test_what_was_written_comes_back(case: str, tmp_path: Path) -> None:
    made = trained(case, tmp_path)
    base = Checkpoint(made.base, [])
    pairs = factors(updates(made.info, made.origins()), {name: base.shape(name) for name in base.names})
    file = tmp_path / "poet.gguf"
    write_gguf_lora(made.base, pairs, file)
    source = open_source(file)
    assert isinstance(source, Foreign)
    assert source.name == "poet"
    source.on(foundation(made.base), fingerprint(made.base))
    (tmp_path / "in").mkdir()
    source.write(tmp_path / "in")
    info = read_adapter(tmp_path / "in")
    assert (info.scale, info.record["from"]) == (1.0, "GGUF LoRA")
    model, _ = loading.load_model(made.base)
    adapter_weights.apply(model, info)
    assert difference(read(model), made.adapted) < 1e-4
