"""Write frontend/openapi.json, from which the browser's types are made; `--check` only compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from droidft.server.main import create_app

TARGET = Path(__file__).resolve().parents[1] / "frontend" / "openapi.json"


def main() -> int:
    """Write the document, or with `--check` say that it is stale and return 1."""
    text = json.dumps(create_app().openapi(), indent=1, ensure_ascii=False) + "\n"
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("frontend/openapi.json is stale: run `make api`", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    print("wrote frontend/openapi.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
