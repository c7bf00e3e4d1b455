"""A child that is slow to notice that a request was called off."""

from __future__ import annotations

import time

from droidft.support.channel import Call, serve


def slow(call: Call) -> None:
    """Look only every half second whether the request is still wanted."""
    while True:
        time.sleep(0.5)
        call.check()


def quick(call: Call) -> str:
    del call
    return "done"


if __name__ == "__main__":
    serve({"slow": slow, "quick": quick})
