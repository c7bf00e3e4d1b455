"""Count what PEFT trains for real Llama and Qwen2 shapes, on torch's meta device, and store it for the tests.

Needs torch, transformers and peft, which droidft does not: `python bench/peft_counts.py` in an environment that
has them writes `tests/golden/peft_counts.txt`.
"""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "peft_counts.txt"

# model type, hidden, layers, heads, key-value heads, intermediate, vocabulary, tied
SHAPES = {
    "SmolLM2-135M": ("llama", 576, 30, 9, 3, 1536, 49152, True),
    "Llama-3.2-1B": ("llama", 2048, 16, 32, 8, 8192, 128256, True),
    "Llama-3.1-8B": ("llama", 4096, 32, 32, 8, 14336, 128256, False),
    "Qwen2.5-0.5B": ("qwen2", 896, 24, 14, 2, 4864, 151936, True),
    "Qwen2.5-3B": ("qwen2", 2048, 36, 16, 2, 11008, 151936, True),
    "Qwen2.5-7B": ("qwen2", 3584, 28, 28, 4, 18944, 152064, False),
    "Qwen2.5-32B": ("qwen2", 5120, 64, 40, 8, 27648, 152064, False),
}
TARGETS = {
    "full-layer": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "attention-qv": ["q_proj", "v_proj"],
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "mlp": ["gate_proj", "up_proj", "down_proj"],
}
RANK = 32


def config(shape: tuple[str, int, int, int, int, int, int, bool]) -> dict[str, object]:
    """The `config.json` of a shape."""
    kind, hidden, layers, heads, kv_heads, intermediate, vocabulary, tied = shape
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 8192,
    }


def count(shape: tuple[str, int, int, int, int, int, int, bool], modules: list[str]) -> tuple[int, int]:
    """Trained parameters and parameters of the base model, as PEFT counts them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = config(shape)
    kind = settings.pop("model_type")
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
        total = sum(p.numel() for p in base.parameters())
        model = get_peft_model(base, LoraConfig(r=RANK, target_modules=modules))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, total


def main() -> None:
    """Write the golden file."""
    import peft
    import torch

    lines = [f"# model preset trained total; rank {RANK}; peft {peft.__version__}, torch {torch.__version__}"]
    for name, shape in SHAPES.items():
        for preset, modules in TARGETS.items():
            trained, total = count(shape, modules)
            lines.append(f"{name} {preset} {trained} {total}")
            print(lines[-1], flush=True)
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
