"""What the proof that conversations arrive whole costs: encoding 12,000 chats with and without it.

    python -m bench.proof

Chats of two to six turns, a third of them with tools, in 200 shapes, on a tiny tokenizer with a template in Qwen's
manner. Prints processor seconds for each, best of three by turns, and their ratio.
"""

from __future__ import annotations

import random
import time
from typing import Any

from tests.data import templates
from tests.data.helpers import make_tokenizer

from droidft.data.codec import Codec
from droidft.data.proof import Proof
from droidft.data.rows import Row
from droidft.data.tokens import RowEncoder

CHATS = 12_000
WORDS = ("the", "tide", "at", "a", "harbour", "comes", "in", "twice", "day", "and", "goes", "out", "again", "noon")


def main() -> None:
    """Time both and print a line."""
    rows = [_row(random.Random(number)) for number in range(CHATS)]
    tokenizer = make_tokenizer(templates.TOOL_TAGS)
    times = [(_seconds(rows, tokenizer, proof=True), _seconds(rows, tokenizer, proof=False)) for _ in range(3)]
    proved, without = (min(column) for column in zip(*times, strict=True))
    print(f"{CHATS:,} chats: {proved:.2f} s with the proof, {without:.2f} s without: {proved / without - 1:+.1%}")


def _seconds(rows: list[Row], tokenizer: Any, *, proof: bool) -> float:
    codec = Codec(tokenizer)
    if not proof:
        codec.proof = _Nothing(codec.template)
    encoder = RowEncoder(codec, mask_prompt=True)
    began = time.process_time()
    for start in range(0, len(rows), 256):
        encoder.encode(rows[start : start + 256])
    return time.process_time() - began


class _Nothing(Proof):
    def left_out(self, *_: Any, **__: Any) -> tuple[()]:
        """Nothing is looked for."""
        return ()


def _row(draw: random.Random) -> Row:
    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(5, 60)))

    turns: list[dict[str, Any]] = []
    tools = [_tool(number) for number in range(draw.randint(1, 3))] if draw.random() < 0.33 else None
    for _ in range(draw.randint(1, 3)):
        turns.append({"role": "user", "content": text()})
        if tools and draw.random() < 0.5:
            arguments = {name: text() for name in ("port", "day", "unit")[: draw.randint(1, 3)]}
            call = {"type": "function", "function": {"name": "tide", "arguments": arguments}}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
            turns.append({"role": "tool", "content": text()})
        turns.append({"role": "assistant", "content": text()})
    return Row(None, turns, tools)


def _tool(number: int) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": name} for name in ("port", "day", "unit")}
    function = {"name": f"tide{number}", "description": "High water", "parameters": {"properties": properties}}
    return {"type": "function", "function": function}


if __name__ == "__main__":
    main()
