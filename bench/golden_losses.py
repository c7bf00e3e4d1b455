"""Losses of torch + PEFT on the tiny Llama of the tests, written to tests/golden/peft_losses.txt.

Needs torch and peft, which the tests do not:  pip install torch peft && python -m bench.golden_losses
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tests import parity
from tests.tiny import LLAMA
from transformers import LlamaConfig, LlamaForCausalLM

TARGET = Path(__file__).parent.parent / "tests/golden/peft_losses.txt"


def main() -> None:
    names = [key.split(".")[-1] for key in parity.KEYS]
    settings = {name: value for name, value in LLAMA.items() if name not in ("model_type", "architectures")}
    model = LlamaForCausalLM(LlamaConfig(**settings, attn_implementation="eager"))
    weights = {name: torch.from_numpy(array) for name, array in parity.weights().items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    model.tie_weights()
    adapted = get_peft_model(
        model,
        LoraConfig(r=parity.RANK, lora_alpha=int(parity.RANK * parity.SCALE), target_modules=names, lora_dropout=0.0),
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name:
                path = name.removeprefix("base_model.model.").split(".lora_A")[0]
                parameter.copy_(torch.from_numpy(parity.lora_a(path, parameter.shape[1]).T.copy()))
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=parity.RATE, betas=parity.BETAS, eps=parity.EPS, weight_decay=parity.DECAY
    )
    rows, steps = parity.batches()
    losses = []
    for chosen in steps:
        loss = _loss(adapted, [rows[index] for index in chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    lines = "".join(f"{step} {loss:.8f}\n" for step, loss in enumerate(losses, 1))
    TARGET.write_text(f"# torch {torch.__version__.split('+')[0]} + PEFT, float32; step, loss\n{lines}")
    print(lines)


def _loss(model: torch.nn.Module, rows: list) -> torch.Tensor:
    width = max(len(row.tokens) for row in rows)
    tokens, labels = np.zeros((len(rows), width), np.int64), np.full((len(rows), width), -100)
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens)] = row.tokens
        labels[number, : len(row.tokens)] = np.where(row.supervised, row.tokens, -100)
    mask = torch.from_numpy((np.arange(width)[None] < [[len(row.tokens)] for row in rows]).astype(np.int64))
    logits = model(input_ids=torch.from_numpy(tokens), attention_mask=mask).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), torch.from_numpy(labels[:, 1:]).reshape(-1), ignore_index=-100
    )


if __name__ == "__main__":
    main()
