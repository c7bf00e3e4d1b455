"""The server: FastAPI over run folders and worker processes. It never imports mlx, nor the engine."""
