"""Base models on disk and on the hub: look up, list, fetch, import. Nothing here computes with weights."""
