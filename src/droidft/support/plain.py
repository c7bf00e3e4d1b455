"""Text from anywhere (a model's settings, rows of data, names of folders) made harmless for a terminal."""

from __future__ import annotations

import re

# Control characters but tab and line feed; marks that turn the direction of writing; line and paragraph separators;
# halves of characters.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def safe(text: str) -> str:
    """`text` without what a terminal would obey: no control characters other than line breaks and tabs."""
    return _UNSAFE.sub(REPLACEMENT, text.replace("\r\n", "\n"))


def json_safe(text: str) -> str:
    """JSON text with the same characters as escapes, which a program reads back as they were."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
