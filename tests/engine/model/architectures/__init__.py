"""A small config for every architecture of the installed mlx-lm, with what full-layer LoRA must find in it.

mlx-lm got a new architecture? Add an entry to the module it belongs in, then run
`python -m scripts.architectures_page`.
"""

from tests.engine.model.architectures import dense, experts, hybrid, wrapped
from tests.engine.model.architectures.entry import Architecture

TABLE: dict[str, Architecture] = {
    entry.model_type: entry
    for module in (dense, experts, hybrid, wrapped)
    for entry in sorted(module.ARCHITECTURES, key=lambda entry: entry.model_type.lower())
}
