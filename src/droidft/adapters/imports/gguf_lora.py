"""A GGUF LoRA file comes in, as llama.cpp and Ollama have adapters."""

from __future__ import annotations

from droidft.adapters.imports.foreign import Foreign
from droidft.adapters.imports.matrices import Base
from droidft.models.factors import Factors
from droidft.models.gguf.lora import read_gguf_lora


class GgufLora(Foreign):
    """An adapter file; its scale is in B."""

    program = "GGUF LoRA"

    def pairs(self, base: Base) -> list[Factors]:
        """Of each tensor that it names."""
        return read_gguf_lora(self.path, base.path)
