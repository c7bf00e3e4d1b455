"""Every form of export, as a function that writes it; a new one is a function and a line in `FORMS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.factors import factors
from droidft.adapters.exports.merged import write_merged
from droidft.adapters.exports.peft import write_peft
from droidft.adapters.exports.readers import LLAMA_CPP, MLX_LM, PEFT, TRANSFORMERS, Reader
from droidft.adapters.exports.readers.reading import Subject
from droidft.adapters.exports.updates import updates
from droidft.engine.model.merging import write_mlx
from droidft.models.catalog import load_config
from droidft.models.gguf.lora import write_gguf_lora
from droidft.models.gguf.write import write_gguf
from tests.adapters.exports.trained import Trained


@dataclass(frozen=True)
class Exported:
    """What a reader is given: the base in the form's own format, and the export."""

    base: Subject
    export: Subject


def peft(made: Trained, folder: Path) -> Exported:
    pairs = factors(updates(made.info, made.origins()), _shapes(made.base))
    target = folder / "peft"
    target.mkdir()
    config = load_config(made.base)
    write_peft(
        pairs,
        target,
        base=str(made.base),
        model_type=config["model_type"],
        dropout=0.0,
        tied=bool(config.get("tie_word_embeddings")),
    )
    return Exported(Subject(model=made.base), Subject(model=made.base, adapter=target))


def merged(made: Trained, folder: Path) -> Exported:
    target = folder / "merged"
    target.mkdir()
    write_merged(Checkpoint(made.base, updates(made.info, made.origins())), target)
    return Exported(Subject(model=made.base), Subject(model=target))


def mlx(made: Trained, folder: Path) -> Exported:
    for name, adapter in (("mlx-base", None), ("mlx", made.info)):
        (folder / name).mkdir()
        write_mlx(made.base, adapter, folder / name)
    return Exported(Subject(model=folder / "mlx-base"), Subject(model=folder / "mlx"))


def gguf(made: Trained, folder: Path, *, kind: str = "F32") -> Exported:
    files = []
    for name, changes in (("base", []), ("merged", updates(made.info, made.origins()))):
        file = folder / f"{name}-{kind}.gguf"
        write_gguf(made.base, Checkpoint(made.base, changes), file, kind=kind)
        files.append(Subject(model=file))
    return Exported(*files)


def gguf_adapter(made: Trained, folder: Path) -> Exported:
    pairs = factors(updates(made.info, made.origins()), _shapes(made.base))
    model, adapter = folder / "base.gguf", folder / "adapter.gguf"
    write_gguf(made.base, Checkpoint(made.base, []), model, kind="F32")
    write_gguf_lora(made.base, pairs, adapter)
    return Exported(Subject(model=model), Subject(model=model, adapter=adapter))


def _shapes(base: Path) -> dict[str, tuple[int, ...]]:
    checkpoint = Checkpoint(base, [])
    return {name: checkpoint.shape(name) for name in checkpoint.names}


@dataclass(frozen=True)
class Form:
    """How a form is written, what reads it, and for which architectures."""

    write: Callable[[Trained, Path], Exported]
    reader: Reader
    architectures: tuple[str, ...]


SEVEN = ("llama", "qwen2", "qwen3", "gemma2", "phi3", "mixtral", "qwen2_moe")
IN_GGUF = tuple(name for name in SEVEN if name != "qwen2_moe")
FORMS = {
    "peft": Form(peft, PEFT, SEVEN),
    "merged": Form(merged, TRANSFORMERS, SEVEN),
    "mlx": Form(mlx, MLX_LM, SEVEN),
    "gguf": Form(gguf, LLAMA_CPP, IN_GGUF),
    "gguf-adapter": Form(gguf_adapter, LLAMA_CPP, IN_GGUF),
}
