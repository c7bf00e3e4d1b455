"""A reward of one's own: the share of capital letters."""


def reward(prompts: list[str], completions: list[str]) -> list[float]:
    """A number from 0 to 1 for each completion."""
    return [sum(letter.isupper() for letter in text) / max(1, len(text)) for text in completions]
