"""Rows whose turns an outline finds are those whose turns are found by rendering parts of the conversation."""

from __future__ import annotations

import random
from typing import Any

import pytest

from droidft.data.codec import Codec
from droidft.data.conversation import Message
from droidft.data.outline import Outlines
from droidft.data.rows import Row
from droidft.data.template import ChatTemplate
from droidft.data.tokens import Encoded, RowEncoder
from droidft.support.faults import Refused
from tests.data import templates
from tests.data.helpers import make_tokenizer

TEMPLATES = {name: value for name, value in vars(templates).items() if name.isupper()}
CONTENTS = (
    *("Hello!", "  padded\n", "\nstarts with a break", "wörld ✓ 日本", "a", "Zq0zQ", "x" * 300),
    *("<think>\nhm\n</think>\n\nyes", "</think> stray", "<|end|>", "Tools: none", "assistant:\n", "{{ messages }}"),
)


def conversations(count: int) -> list[Row]:
    draw = random.Random(3)
    rows = []
    for _ in range(count):
        turns: list[Message] = []
        if draw.random() < 0.3:
            turns.append({"role": "system", "content": draw.choice(CONTENTS)})
        for _ in range(draw.choice((1, 1, 2, 3))):
            turns += [{"role": role, "content": draw.choice(CONTENTS)} for role in ("user", "assistant")]
        rows.append(Row(None, turns, masked=frozenset(draw.sample((0, 1), draw.choice((0, 0, 1))))))
    return rows


def outcome(one: Encoded | Refused) -> Any:
    return one.reason if isinstance(one, Refused) else (one.tokens.tolist(), one.supervised.tolist(), one.flags)


@pytest.mark.parametrize("mask_prompt", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_those_that_a_search_makes(name: str, mask_prompt: bool) -> None:
    tokenizer, rows = make_tokenizer(TEMPLATES[name]), conversations(200)
    together = RowEncoder(Codec(tokenizer), mask_prompt).encode(rows)
    # A codec that has seen nothing searches.
    alone = [RowEncoder(Codec(tokenizer), mask_prompt).encode([row])[0] for row in rows]
    assert [outcome(one) for one in together] == [outcome(one) for one in alone]


def searches(template: str, rows: list[list[Message]]) -> int:
    """How many of the rows are searched."""
    asked = 0

    def search(messages: list[Message], text: str) -> Any:
        nonlocal asked
        asked += 1
        start = text.index(messages[1]["content"].strip())
        return [(start, start + len(messages[1]["content"].strip()))], set()

    given = ChatTemplate(make_tokenizer(template))
    outlines = Outlines(given)
    for row in rows:
        outlines.find(row, (1,), given.render(row, None), search)
    return asked


def asked_and_answered(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_a_shape_is_searched_twice_and_for_its_outline() -> None:
    rows = [asked_and_answered(f"question {number}?", f"answer {number}.") for number in range(50)]
    assert searches(templates.CHATML, rows) == 3


def test_a_row_with_a_text_that_the_template_asks_for_is_searched() -> None:
    rows = [asked_and_answered("q", "plain")] * 10 + [asked_and_answered("q", "a </think> b")] * 5
    assert searches(templates.THINK_BLOCK, rows) == 3 + 5


def test_a_row_that_a_template_writes_otherwise_is_searched() -> None:
    # Nothing in its text says that long answers are marked.
    template = templates.CHATML.replace(
        "{{ message['content'] }}", "{{ message['content'] }}{% if message['content'] | length > 20 %}!{% endif %}"
    )
    rows = [asked_and_answered("q", "short")] * 10 + [asked_and_answered("q", "long" * 10)] * 5
    assert searches(template, rows) == 3 + 5
