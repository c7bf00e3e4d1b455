"""Texts that end an answer."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Passes an answer on piece by piece, up to the first of `texts`; none of them is ever passed on in part.

    What may be the beginning of such a text is held back until more is known.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""
        self.reached = False
        """Whether one of the texts came; nothing is passed on any more."""

    def feed(self, text: str) -> str:
        """What can be passed on, now that `text` follows."""
        if self.reached:
            return ""
        held = self._held + text
        ends = [end for end in (held.find(stop) for stop in self._texts) if end >= 0]
        if ends:
            self.reached, self._held = True, ""
            return held[: min(ends)]
        keep = self._beginning(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def rest(self) -> str:
        """What was held back, once the answer has ended."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop text."""
        most = max((len(stop) - 1 for stop in self._texts), default=0)
        for length in range(min(most, len(text)), 0, -1):
            end = text[len(text) - length :]
            if any(stop.startswith(end) for stop in self._texts):
                return length
        return 0
