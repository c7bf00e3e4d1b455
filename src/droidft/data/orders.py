"""The demo's data: what somebody says at a counter, and the order as the till wants it.

    "Hi, Maria here - two large oat lattes and a scone, to go please."
    {"name":"Maria","to_go":true,"items":[{"item":"latte","n":2,"size":"L","milk":"oat"},{"item":"scone","n":1}]}

The format is strict: keys in this order, sizes S, M, L, no spaces, counts as numbers, milk only where one was
named. A model that has not seen the format has no chance of guessing it, and each answer is right or wrong.
Rows are a pure function of the seed; no customer of the test set appears in training.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRINKS = ("latte", "cappuccino", "flat white", "mocha", "hot chocolate", "chai", "espresso", "americano")
FOODS = ("scone", "muffin", "brownie", "croissant", "bagel", "cookie")
SIZES = {"small": "S", "medium": "M", "large": "L"}
MILKS = ("oat", "soy", "almond", "skimmed")
WITH_MILK = frozenset(DRINKS) - {"espresso", "americano"}
COUNTS = {1: ("a", "one"), 2: ("two",), 3: ("three",), 4: ("four",)}
TRAIN_NAMES = (
    *("Maria", "Ben", "Aisha", "Tom", "Lena", "Omar", "Ruth", "Ivan", "Chloe", "Sam"),
    *("Nadia", "Felix", "Grace", "Hugo", "Priya", "Leo", "Marta", "Noah", "Yuki", "Carl"),
    *("Elif", "Dan", "Sofia", "Max", "Jane", "Amir", "Olga", "Rosa", "Paul", "Tina"),
)
TEST_NAMES = ("Greta", "Louis", "Zara", "Bruno", "Keiko", "Adam", "Irene", "Jonas", "Mila", "Oscar")
OPENINGS = (
    "Hi, {name} here - {items}, {where} please.",
    "{items} {where}, the name is {name}.",
    "Could I get {items}? {where_up}. It's for {name}.",
    "Good morning! {items} for {name}, {where}.",
    "{name} would like {items}, {where}.",
    "I'll take {items}, {where}. {name}.",
)
TO_GO = ("to go", "to take away", "in a bag for the road")
STAYING = ("to have here", "for a table inside", "eating in")
SIZES_OF_SETS = {"train": 640, "valid": 48, "test": 100}


@dataclass(frozen=True)
class Order:
    """A spoken order and the till's line for it."""

    spoken: str
    line: str

    def row(self) -> dict[str, str]:
        """As a row of training data."""
        return {"prompt": self.spoken, "completion": self.line}


def orders(which: str, *, seed: int = 7) -> list[Order]:
    """The rows of `train`, `valid` or `test`; all different from each other."""
    generator = random.Random(f"{seed}:{which}")
    names = TEST_NAMES if which == "test" else TRAIN_NAMES
    drawn: dict[str, Order] = {}
    while len(drawn) < SIZES_OF_SETS[which]:
        order = _order(generator, names)
        drawn.setdefault(order.spoken, order)
    return list(drawn.values())


def write(folder: Path) -> dict[str, Path]:
    """Write the three sets as JSONL and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for which in SIZES_OF_SETS:
        paths[which] = folder / f"{which}.jsonl"
        paths[which].write_text("".join(json.dumps(order.row()) + "\n" for order in orders(which)))
    return paths


def is_right(answer: str, line: str) -> bool:
    """Whether an answer is the till's line, to the letter (spaces around it do not count)."""
    return answer.strip() == line


def _order(generator: random.Random, names: Sequence[str]) -> Order:
    pick: Callable[[Any], Any] = generator.choice
    name, to_go = pick(names), generator.random() < 0.5
    wanted = generator.sample(DRINKS + FOODS, generator.choice((1, 2, 2, 3)))
    spoken, items = zip(*(_item(generator, item) for item in wanted), strict=True)
    where = pick(TO_GO if to_go else STAYING)
    asked = ", ".join(spoken[:-1]) + " and " + spoken[-1] if len(spoken) > 1 else spoken[0]
    sentence = pick(OPENINGS).format(name=name, items=asked, where=where, where_up=where[0].upper() + where[1:])
    line = json.dumps({"name": name, "to_go": to_go, "items": list(items)}, separators=(",", ":"))
    return Order(sentence[0].upper() + sentence[1:], line)


def _item(generator: random.Random, item: str) -> tuple[str, dict[str, Any]]:
    count = generator.choice((1, 1, 1, 2, 2, 3, 4))
    values: dict[str, Any] = {"item": item, "n": count}
    words = [generator.choice(COUNTS[count])]
    if item in DRINKS:
        size = generator.choice(list(SIZES))
        words.append(size)
        values["size"] = SIZES[size]
        if item in WITH_MILK and generator.random() < 0.4:
            values["milk"] = generator.choice(MILKS)
            words.append(values["milk"])
    words.append(item if count == 1 else _plural(item))
    return " ".join(words), values


def _plural(item: str) -> str:
    return item + "s"
