"""The process that tries rewards out for the server: `python -m droidft.workers.trial`, asked over `channel`.

It lives for one trial. The user's own rewards run here, so that one which hangs or crashes takes nothing along.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from droidft.channel.inner import Call, serve
from droidft.config import TrainingConfig
from droidft.home import Home

REPORT_SECONDS = 0.1
NO_MEMORY = ("out of memory", "insufficient memory", "unable to allocate", "[metal::malloc]")


def main() -> None:
    """Answer until the server is gone."""
    serve({"try": try_rewards})


def try_rewards(call: Call) -> dict[str, Any]:
    """Parameters: `home`, `config`, `prompts`, `completions`, `seed`. Events say how far it is."""
    from droidft.engine.machine.session import computing

    home, params = Home(Path(call.params["home"])), call.params
    config = TrainingConfig.model_validate(params["config"])
    last, before = 0.0, ""

    def report(phase: str, done: int, total: int) -> None:
        nonlocal last, before
        call.check()
        now = time.monotonic()
        if phase != before or now - last >= REPORT_SECONDS:
            last, before = now, phase
            call.emit({"phase": phase, "done": done, "total": total or None})

    with computing(home.cache):
        from droidft.engine.assemble import Places
        from droidft.engine.evaluation.trial import try_rewards
        from droidft.rewards.scorer import Scorer

        places = Places(
            models=home.models,
            adapters=home.adapters,
            cache=home.cache,
            checkpoints=home.runs,
            rewards=home.rewards,
        )
        try:
            return try_rewards(
                config,
                places,
                Scorer(config.rewards, home.rewards),
                prompts=params["prompts"],
                completions=params["completions"],
                seed=params["seed"],
                report=report,
            ).as_dict()
        except RuntimeError as error:
            if any(sign in str(error).lower() for sign in NO_MEMORY):
                raise MemoryError from error
            raise


if __name__ == "__main__":
    main()
