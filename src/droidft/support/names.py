"""Which names of runs, models and adapters are allowed."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HALF = re.compile("[\ud800-\udfff]")


def is_whole(text: str) -> bool:
    """Whether a text has whole characters only.

    In the name of a file, each byte that is no UTF-8 is half of one, which neither JSON nor other libraries take.
    """
    return text.isascii() or not _HALF.search(text)
