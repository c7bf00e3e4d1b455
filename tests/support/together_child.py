"""A child that does requests side by side, a step at each turn."""

from __future__ import annotations

from droidft.errors import ConfigError
from droidft.support.channel import Call, Steps, serve_together

BROKEN: list[str] = []


def turn() -> None:
    """Break once a request has asked for it."""
    if BROKEN:
        raise RuntimeError(BROKEN.pop())


def count(call: Call) -> Steps:
    """Emit numbers, one a step, up to `to`; for ever without it."""
    number = 0
    while number != call.params.get("to"):
        number += 1
        call.emit(number)
        yield
    return number


def refuse(call: Call) -> Steps:
    yield
    raise ConfigError("no", hint=str(call.params))


def break_turn(call: Call) -> Steps:
    BROKEN.append(str(call.params["why"]))
    while True:
        yield


if __name__ == "__main__":
    serve_together({"count": count, "refuse": refuse, "break": break_turn}, turn)
