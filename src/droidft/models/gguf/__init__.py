"""GGUF files: read, and turned into a model folder."""
