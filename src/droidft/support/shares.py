"""How sure a share is that was counted."""

from __future__ import annotations

import math
from statistics import NormalDist


def score_interval(right: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Lower and upper end of the score interval (Wilson, 1927) of `right` among `total`; sensible at 0 and 1 too."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = right / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)
