"""Write `docs/architectures.md` from the table that the tests check: `python -m scripts.architectures_page`."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import mlx_lm
from tests.engine.model.architectures import TABLE
from tests.engine.model.architectures.entry import Architecture
from tests.engine.model.logits.cases import CASES, REFUSED

from droidft.config import LoraRouters
from droidft.engine.model.architectures import build_lazily
from droidft.engine.model.compared import CORRECTED, DIFFERS
from droidft.engine.model.renamed import module_of
from droidft.engine.model.targets import resolve

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"

_HEAD = f"""# Architectures

Every model type of mlx-lm {mlx_lm.__version__}, with what `lora_targets: full-layer` adapts in it: the projections of
attention (or of whatever mixes tokens in its place) and of the MLP, experts and shared experts included. A key
names a module inside a block; some keys exist in some blocks only.

Routers are adapted with `lora_routers: on`; those marked † also with `auto`, the default. *Gradients* shows whether
every adapter of a small model of this type receives a finite, non-zero gradient in the tests.

*Logits* compares tiny models that transformers 5 saves with the same models here, in float32: **same** is a largest
difference below 1e-3 of the logits' standard deviation (1e-5 to 1e-4 is what rounding makes), in one pass and, with
what was kept of earlier tokens, token by token. Where they differ or are refused, the note says how; a run of a model
that differs begins with a warning. A dash means that transformers has no code to compare with, or none whose tiny
models it can save. *Put right* is what Droid FineTuning changes in mlx-lm's code.

This page is written by `python -m scripts.architectures_page` from `tests/engine/model/architectures`;
a test fails when it is stale.

| model type | full-layer keys | routers | gradients | logits | notes |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    entries = sorted(TABLE.values(), key=lambda entry: entry.model_type.lower())
    checked = sum(1 for entry in entries if not (entry.untrainable or entry.unadaptable))
    same = sum(1 for entry in entries if _logits(entry)[0] == "same")
    foot = f"\n{len(entries)} model types; gradients seen in {checked}, the makers' logits in {same}.\n"
    return _HEAD + "".join(f"{_row(entry)}\n" for entry in entries) + foot


def _row(entry: Architecture) -> str:
    routers = ", ".join(f"`{key}`" + (" †" if key in entry.auto_routers else "") for key in entry.routers)
    logits, why = _logits(entry)
    notes = "; ".join([*why, *_reasons(entry), *_notes(entry)])
    seen = "no" if entry.untrainable or entry.unadaptable else "yes, but see note" if entry.dead else "yes"
    return f"| {entry.model_type} | {_grouped(entry.full_layer)} | {routers} | {seen} | {logits} | {notes} |"


def _logits(entry: Architecture) -> tuple[str, list[str]]:
    """How the logits of this module's cases compare, and what is to be said about it."""
    cases = [case for case in CASES if _module(case) == entry.model_type]
    refused = [case for case in cases if case in REFUSED]
    if what := DIFFERS.get(entry.model_type):
        return "differ", [f"logits differ: {what}"]
    if not cases:
        return "–", []
    why = [f"put right: {CORRECTED[entry.model_type]}"] if entry.model_type in CORRECTED else []
    if len(refused) < len(cases):
        others = {case.split("-")[0] for case in cases if case not in refused} - {entry.model_type}
        return "same", why + ([f"compared as {', '.join(sorted(others))}"] if others else [])
    return "refused", [f"what transformers 5 saves as {case} is refused: {REFUSED[case]}" for case in refused]


def _module(case: str) -> str:
    return module_of({"model_type": case.split("-")[0]})


def _reasons(entry: Architecture) -> list[str]:
    dead = [f"no gradient for {', '.join(entry.dead)}: {reason}" for reason in dict.fromkeys(entry.dead.values())]
    package = [f"needs the package `{entry.package}`"] if entry.package else []
    return [reason for reason in (entry.unadaptable, entry.untrainable) if reason] + dead + package


def _notes(entry: Architecture) -> list[str]:
    if entry.unadaptable:
        return []
    if entry.package:
        sys.modules.setdefault(entry.package, types.ModuleType(entry.package))
    model = build_lazily({"model_type": entry.model_type, **entry.config})
    notes = list(resolve(model, routers=LoraRouters.ON).notes)
    told = " ".join(notes)
    if beyond := [key for key in entry.outside if key not in told]:
        notes.append(f"outside attention and MLP: {', '.join(beyond)}")
    return notes


def _grouped(keys: tuple[str, ...]) -> str:
    """`self_attn.{q_proj,k_proj}` for keys with the same owner."""
    owners: dict[str, list[str]] = {}
    for key in keys:
        owner, _, leaf = key.rpartition(".")
        owners.setdefault(owner, []).append(leaf)
    parts = []
    for owner, leaves in owners.items():
        named = leaves[0] if len(leaves) == 1 else f"{{{','.join(leaves)}}}"
        parts.append(f"`{owner}.{named}`" if owner else ", ".join(f"`{leaf}`" for leaf in leaves))
    return "<br>".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
