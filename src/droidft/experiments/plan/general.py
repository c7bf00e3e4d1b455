"""The general text that forgetting is measured on, unless another is named."""

from pathlib import Path

PATH = Path(__file__).with_name("general.jsonl")
"""Rows with `text`: short paragraphs on many subjects, written for this purpose."""
