from __future__ import annotations

import random

import pytest

from droidft.engine.generation.stops import Stops


def said(stops: Stops, pieces: list[str]) -> list[str]:
    shown = [stops.feed(piece) for piece in pieces]
    return [*shown, stops.rest()]


@pytest.mark.parametrize(
    ("texts", "pieces", "shown", "found"),
    [
        ([], ["a", "b"], ["a", "b", ""], False),
        (["END"], ["say E", "ND and more"], ["say ", "", ""], True),
        (["END"], ["say E", "N", "OUGH"], ["say ", "", "ENOUGH", ""], False),
        (["END"], ["the EN"], ["the ", "EN"], False),
        (["b", "ab"], ["xab"], ["x", ""], True),
        (["aab"], ["aa", "a", "b", "c"], ["", "a", "", "", ""], True),
        (["", "z"], ["xyz"], ["xy", ""], True),
    ],
)
def test_stop_texts(texts: list[str], pieces: list[str], shown: list[str], found: bool) -> None:
    stops = Stops(texts)
    assert said(stops, pieces) == shown
    assert stops.found is found


def test_as_if_all_were_known_at_once() -> None:
    generator = random.Random(0)
    for _ in range(3000):
        text = "".join(generator.choices("abc", k=generator.randrange(20)))
        texts = [
            "".join(generator.choices("abc", k=generator.randrange(1, 5))) for _ in range(generator.randrange(3))
        ]
        pieces, rest = [], text
        while rest:
            cut = generator.randrange(1, 4)
            pieces.append(rest[:cut])
            rest = rest[cut:]
        stops = Stops(texts)
        found = "".join(said(stops, pieces))
        assert found in [text[: text.find(stop)] for stop in texts if stop in text] or found == text
        assert not any(stop in found for stop in texts)
        assert stops.found == any(stop in text for stop in texts)
