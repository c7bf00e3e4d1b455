"""A base model and what LoRA adds to it: architecture, targets, weights, loss, memory."""
