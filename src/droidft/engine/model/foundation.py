"""The model under an adapter that comes in, as far as converting the adapter needs it. Reads no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from droidft.adapters.exports.origins import Origins, Role
from droidft.adapters.imports.matrices import Base, Module
from droidft.engine.model import origins
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.projections import Kind, Projection
from droidft.engine.model.targets import Survey
from droidft.models import headers
from droidft.models.catalog import load_config, stored_names
from droidft.models.folder import weight_files


def foundation(path: Path) -> Base:
    """What `adapters.imports` needs to know of the model in `path`.

    Raises:
        ModelError: the folder holds no model that can be loaded.
    """
    config = load_config(path)
    survey = Survey(build_lazily(config, stored=stored_names(path)))
    all_of_them = [each for block in survey.blocks for each in block.values()] + list(survey.outside.values())
    modules = {each.path: _module(each) for each in all_of_them if not each.uncalled}

    def trace(names: Sequence[str]) -> Origins:
        return origins.trace(path, names) if names else Origins({}, {})

    return Base(
        path,
        str(config["model_type"]),
        headers.tensors(*weight_files(path)),
        modules,
        len(survey.blocks),
        _tied(modules),
        trace,
    )


def _module(projection: Projection) -> Module:
    role = Role(projection.kind.value)
    rows, width = projection.out_dims, projection.in_dims
    if projection.kind is Kind.EMBEDDING:
        rows, width = width, rows
    return Module(projection.path, projection.key, projection.block, role, width, rows, projection.experts)


def _tied(modules: dict[str, Module]) -> bool:
    """Whether no layer outside the blocks has the shape of the embedding, as an output head has."""
    outside = [module for module in modules.values() if module.block is None]
    sizes = {(module.outputs, module.inputs) for module in outside if module.role is Role.EMBEDDING}
    return not any(module.role is Role.LINEAR and (module.outputs, module.inputs) in sizes for module in outside)
