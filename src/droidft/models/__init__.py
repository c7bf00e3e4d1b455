"""Base models on disk and on the hub: found, listed, fetched, imported. No weights are computed with here."""
