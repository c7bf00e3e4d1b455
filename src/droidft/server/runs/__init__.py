"""Runs as the server keeps them: queue, workers, lists, logs."""
