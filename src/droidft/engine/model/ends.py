"""Where an answer ends: at the tokens that the model declares, and at the one its chat template ends turns with."""

from __future__ import annotations

from typing import Any

from droidft.data.template import ChatTemplate
from droidft.support.faults import Refused

_MARKER = "Qx7droidft7marker7xQ"


def end_of_turn(tokenizer: Any) -> int | None:
    """The token that the chat template writes right after an assistant's text; None where it writes text there."""
    if not tokenizer.has_chat_template:
        return None
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _MARKER}]
    try:
        text = ChatTemplate(tokenizer).render(turns, None)
    except Refused:
        # A template that refuses two plain turns says so where it is used.
        return None
    _, marker, after = text.rpartition(_MARKER)
    tokens = tokenizer.encode(after.lstrip(), add_special_tokens=False) if marker else []
    if not tokens or tokens[0] not in tokenizer.added_tokens_decoder:
        return None
    return int(tokens[0])


def add_end_of_turn(tokenizer: Any) -> str | None:
    """Make the template's end of turn end answers; says so if nothing had declared it."""
    token = end_of_turn(tokenizer)
    if token is None or token in tokenizer.eos_token_ids:
        return None
    tokenizer.eos_token_ids = {*tokenizer.eos_token_ids, token}
    name = tokenizer.convert_ids_to_tokens(token)
    return (
        f"the chat template ends turns with {name}, which the model does not declare as an end; it ends answers here"
    )
