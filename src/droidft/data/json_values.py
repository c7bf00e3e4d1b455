"""What a reader gives as JSON values: Parquet holds dates, bytes and decimals too."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from typing import Any


def plain(value: Any) -> Any:
    """The same with nothing but JSON values in it; NaN and infinities become None, all else its text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): plain(part) for name, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "replace")
        case decimal.Decimal() | uuid.UUID() | _:
            return str(value)
