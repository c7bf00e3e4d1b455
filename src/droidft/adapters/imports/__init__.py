"""Adapters that come in from elsewhere: each source writes mlx-lm's format into a folder that lands whole or not."""
