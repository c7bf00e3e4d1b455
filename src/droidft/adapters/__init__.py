"""Adapter folders: read, check against a base model, publish. Nothing here computes with weights."""
