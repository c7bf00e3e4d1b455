"""Logits of exports in the programs that they are made for, against ours: every form and sort of adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.adapters.exports.trained import Trained, adapted
from tests.interop import models
from tests.interop.compare import Compared, compare
from tests.interop.conftest import ROW
from tests.interop.forms import FORMS, Exported

NOISE, ROUNDING = 3, 5e-5
"""An export may differ by as many times the reader's own difference on the base, and by a rounding in float32."""
ADAPTERS: dict[str, dict[str, Any]] = {
    "all modules": {},
    "last block": {"lora_num_layers": 1},
    "embedding": {"lora_targets": "custom", "lora_keys": ["model.embed_tokens", "self_attn.q_proj"]},
    "without routers": {"lora_routers": "off"},
    "DoRA": {"fine_tune_type": "dora"},
}
NOT_HELD = {("gguf-adapter", "llama", "DoRA"), ("gguf-adapter", "qwen2", "embedding")}
"""A GGUF LoRA has no magnitudes, and none of an embedding that is the output head as well."""
CASES = [
    *((form, architecture, "all modules") for form, about in FORMS.items() for architecture in about.architectures),
    *((form, "llama", sort) for form in FORMS for sort in ("last block", "embedding", "DoRA")),
    *((form, "qwen2", "embedding") for form in FORMS),
    *((form, "mixtral", "without routers") for form in FORMS),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Compared | str]]:
    """All cases of a form at once, since a reader takes seconds to start."""
    known: dict[str, dict[str, Compared | str]] = {}

    def of(form: str) -> dict[str, Compared | str]:
        if form not in known:
            made: dict[str, tuple[Trained, Exported]] = {}
            for each, architecture, sort in CASES:
                if each == form and (form, architecture, sort) not in NOT_HELD:
                    folder = tmp_path_factory.mktemp("case")
                    base = models.write(architecture, folder / "base")
                    trained = adapted(base, folder / "adapter", **ADAPTERS[sort])
                    made[f"{architecture}, {sort}"] = trained, FORMS[form].write(trained, folder)
            known[form] = compare(made, FORMS[form].reader)
        return known[form]

    return of


def _grouped(case: tuple[str, str, str]) -> Any:
    """Cases of one form run in the same process, where their reading is shared."""
    return pytest.param(*case, marks=pytest.mark.xdist_group(case[0]))


@pytest.mark.parametrize(("form", "architecture", "sort"), [_grouped(case) for case in CASES if case not in NOT_HELD])
def test_an_export_computes_what_was_trained(
    form: str,
    architecture: str,
    sort: str,
    compared: Callable[[str], dict[str, Compared | str]],
    record_property: Callable[[str, object], None],
) -> None:
    case = compared(form)[f"{architecture}, {sort}"]
    assert isinstance(case, Compared), case
    difference, noise, moved = case.difference, case.noise, case.moved
    record_property(ROW, f"| {form} | {architecture} | {sort} | {difference:.1e} | {noise:.1e} | {moved:.1f} |")
    assert difference <= NOISE * noise + ROUNDING
    assert moved > 100 * difference
    assert case.exported.conversations == case.trained.conversations
    assert case.exported.template == case.trained.template
    assert case.exported.answers == case.trained.answers
