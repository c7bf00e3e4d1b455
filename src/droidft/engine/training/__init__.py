"""The training loop: steps, checkpoints, reports."""
