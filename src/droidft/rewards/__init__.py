"""What completions earn: the rewards of a run, applied to text. Pure Python and NumPy.

items.py   what is scored, and what a reward is      texts.py   overlap, length, keywords
answers.py exact and numeric answers                 tags.py    tagged parts
own.py     functions of the user's own               scorer.py  all of a run's rewards together

The parameters of each kind are in `config/rewards.py`. To add a kind: a class there, and one here with `KINDS`.
"""

from __future__ import annotations

from droidft.errors import RewardError
from droidft.rewards.items import ToScore
from droidft.rewards.scorer import Scorer

__all__ = ["RewardError", "Scorer", "ToScore"]
