"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
GSM8K = ROOT.parent / "shared" / "data"
"""Real data for tests that use it where it is there."""
