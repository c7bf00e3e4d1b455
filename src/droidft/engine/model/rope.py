"""Rotary positions as transformers 5 writes them (`rope_parameters`), under the names that mlx-lm reads.

transformers 5 keeps base, share of the rotated width and scaling in one dictionary, which some architectures have
once per kind of layer. mlx-lm reads `rope_theta`, `rope_scaling` and `partial_rotary_factor` (for some architectures
under other names), and for a few architectures `rope_parameters` itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from droidft.errors import ModelError

BASES = ("rope_theta", "rotary_emb_base")
LOCAL_BASES = ("rope_local_base_freq", "rope_local_theta", "swa_rope_theta")
SHARES = ("partial_rotary_factor", "rotary_pct")
_LAYERS = ("full_attention", "sliding_attention", "chunked_attention", "linear_attention")
_PLAIN = (None, "default", "mrope")
_KEEP_TRAINED_LENGTH = ("yarn", "llama3", "longrope", "dynamic")


def translate(config: dict[str, Any], fields: Collection[str], *, share_by_code: float = 1) -> dict[str, Any]:
    """`config` with what its `rope_parameters` say under the names in `fields`, those that mlx-lm's class takes.

    `share_by_code` is the share of the width that is rotated where the class takes none.

    Raises:
        ModelError: they say something that mlx-lm's code of this architecture has no place for.
    """
    written = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(written, dict) or not written:
        return config
    if any(isinstance(value, dict) for value in written.values()):
        return _by_layer(config, written, fields, share_by_code)
    changed = {**config, **_flat(config, written, fields, share_by_code)}
    if "rope_parameters" in fields and "rope_parameters" not in config:
        theta = {"rope_theta": config["rope_theta"]} if "rope_theta" in config else {}
        changed["rope_parameters"] = {**theta, **_named(written)}
    return changed


def _flat(
    config: Mapping[str, Any], written: Mapping[str, Any], fields: Collection[str], share_by_code: float
) -> dict[str, Any]:
    """Values for `fields` from one dictionary."""
    values: dict[str, Any] = {}
    if (theta := written.get("rope_theta")) is not None:
        values |= _place(theta, BASES, fields, "rope_theta", _takes_all(fields))
    if (share := written.get("partial_rotary_factor")) is not None:
        if "rotary_dim" in fields and "rotary_dim" not in config:
            width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
            values["rotary_dim"] = int(width * share)
        else:
            # Where queries and keys have parts without positions, the width of the other is a setting of its own.
            fixed = (
                _takes_all(fields) or "qk_rope_head_dim" in fields or share == share_by_code or "rotary_dim" in fields
            )
            values |= _place(share, SHARES, fields, "partial_rotary_factor", fixed)
    if _kind(written) in _PLAIN:
        if "rope_scaling" in fields and "mrope_section" not in written:
            values["rope_scaling"] = None
        return values
    scaling = _named(written)
    scaling.pop("rope_theta", None)
    if scaling["type"] in _KEEP_TRAINED_LENGTH and "original_max_position_embeddings" not in scaling:
        trained = config.get("original_max_position_embeddings") or config.get("max_position_embeddings")
        if trained is not None:
            scaling["original_max_position_embeddings"] = trained
    return values | _place(scaling, ("rope_scaling",), fields, f"rope_type {scaling['type']!r}", _takes_all(fields))


def _by_layer(
    config: dict[str, Any], written: Mapping[str, Any], fields: Collection[str], share_by_code: float
) -> dict[str, Any]:
    """Values from a dictionary per kind of layer."""
    if _takes_all(fields):
        return config
    kinds = {kind: values for kind, values in written.items() if isinstance(values, dict)}
    full = kinds.get("full_attention") or next(iter(kinds.values()))
    changed = {**config, **_flat(config, full, fields, share_by_code)}
    for kind, values in kinds.items():
        if values is full:
            continue
        theta, local = values.get("rope_theta"), [name for name in LOCAL_BASES if name in fields]
        if local and theta is not None:
            changed[local[0]] = theta
        elif theta != full.get("rope_theta"):
            raise _no_place(f"rope_theta {theta} for the layers of kind {kind!r}")
        # A scaling is of the whole-sequence layers alone wherever mlx-lm tells the two apart.
        apart = bool(local) or "layer_types" in fields
        if _kind(values) not in _PLAIN and not (_named(values) == _named(full) and not apart):
            raise _no_place(f"rope_type {_kind(values)!r} for the layers of kind {kind!r}")
        if values.get("partial_rotary_factor", 1) != full.get("partial_rotary_factor", 1):
            raise _no_place(f"partial_rotary_factor for the layers of kind {kind!r}")
    return changed


def _takes_all(fields: Collection[str]) -> bool:
    """Whether mlx-lm's class reads `rope_parameters` and nothing beside it."""
    return "rope_parameters" in fields and "rope_scaling" not in fields and "rope_theta" not in fields


def _place(value: Any, names: Collection[str], fields: Collection[str], what: str, placed: bool) -> dict[str, Any]:
    if name := next((name for name in names if name in fields), None):
        return {name: value}
    if not placed:
        raise _no_place(what if isinstance(value, dict) else f"{what} {value}")
    return {}


def _kind(written: Mapping[str, Any]) -> Any:
    return written.get("rope_type") or written.get("type")


def _named(written: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary with its kind under both names: mlx-lm looks at `type` first."""
    kind = _kind(written) or "default"
    return {**written, "type": kind, "rope_type": kind}


def _no_place(what: str) -> ModelError:
    return ModelError(
        f"config.json sets {what}, which mlx-lm's code of this architecture does not read",
        hint="its answers would be those of another model; a newer mlx-lm may read it",
    )
