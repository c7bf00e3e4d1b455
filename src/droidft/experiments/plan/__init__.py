"""A plan: as written, as settled, and what is wrong with it."""
