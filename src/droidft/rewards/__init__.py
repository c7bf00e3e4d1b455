"""What completions earn: the rewards of a run, applied to text. Pure Python and NumPy.

rules    what is scored, and every built-in reward      own   functions of the user's own
scorer   all of a run's rewards together

To add a kind: its parameters in `config/rewards.py` (listed in `KINDS`), its rule in `rules.py`.
"""
