"""An adapter held against a base model of which no weights are loaded."""

from __future__ import annotations

from pathlib import Path

from droidft.adapters.diagnostics import Diagnostic, check_fits, diagnose
from droidft.adapters.folder import AdapterInfo
from droidft.engine.model import adapter_weights
from droidft.engine.model.architectures import build_lazily
from droidft.models import catalog


def judge(
    info: AdapterInfo, ref: str, *, models_dir: Path, cache_dir: Path, offline: bool = False
) -> list[Diagnostic]:
    """Everything doubtful about the adapter on the model that `ref` means; links and hub ids are resolved.

    The first time, the model's weight files are hashed, which takes a while.

    Raises:
        AdapterError: it does not fit the model.
        NotFound, ModelError, DownloadError: see `models.find_config`.
    """
    path = catalog.find_config(ref, models_dir=models_dir, offline=offline)
    built = build_lazily(catalog.load_config(path), stored=catalog.stored_names(path))
    check_fits(info, adapter_weights.expected_tensors(built, info))
    known = catalog.fingerprint(path, cache=cache_dir / "fingerprints.json") if catalog.weight_files(path) else None
    return diagnose(info, adapter_weights.describe_base(built, path=path, ref=ref, fingerprint=known))
