"""The training engine: the only code that imports mlx. It knows no run folder, server or terminal."""
