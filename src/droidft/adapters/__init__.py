"""Adapter folders: read, checked against a base, published. No weights are computed with here."""
