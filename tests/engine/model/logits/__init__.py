"""Logits of tiny models of every architecture that transformers and mlx-lm share; see `bench/golden_logits.py`."""
