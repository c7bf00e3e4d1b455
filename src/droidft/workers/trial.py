"""The process that tries rewards out for the server: `python -m droidft.workers.trial`, asked over `channel`.

It lives for one trial. The user's own rewards run here, so that one which hangs or crashes takes nothing along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from droidft.config import TrainingConfig
from droidft.home import Home
from droidft.support.channel import Call, serve


def main() -> None:
    """Answer requests until the server has ended."""
    serve({"try": try_rewards})


def try_rewards(call: Call) -> Any:
    """Parameters: `home`, `config`, `prompts`, `completions`, `seed`. Events report progress."""
    from droidft.engine.machine.device import computing

    home, params = Home(Path(call.params["home"])), call.params
    config = TrainingConfig.model_validate(params["config"])
    with computing(home.cache):
        from droidft.engine.evaluation.trial import try_rewards
        from droidft.rewards.scorer import Scorer

        return try_rewards(
            config,
            home.places(checkpoints=home.runs),
            Scorer(config.rewards, home.rewards),
            prompts=params["prompts"],
            completions=params["completions"],
            seed=params["seed"],
            report=call.report,
        )


if __name__ == "__main__":
    main()
