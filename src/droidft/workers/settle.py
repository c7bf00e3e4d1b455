"""The process that settles a plan for the server: `python -m droidft.workers.settle`, asked over `channel`.

It lives for one plan: timing steps takes memory that a server must not keep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from droidft.channel.inner import Call, serve
from droidft.experiments.runs import folder
from droidft.home import Home


def main() -> None:
    """Answer until the server is gone."""
    serve({"fix": fix})


def fix(call: Call) -> dict[str, Any]:
    """Parameters: `home`, `experiment`, `timed`. Events say how far it is; the fixed plan is written down."""
    from droidft.engine.machine.device import computing

    home = Home(Path(call.params["home"]))
    experiment = folder.find(home, call.params["experiment"])

    with computing(home.cache) as device:
        from droidft.workers import planning

        fixed = planning.fix(
            experiment.plan(),
            experiment_id=experiment.id,
            home=home,
            device=device,
            report=call.report,
            timed=call.params["timed"],
        )
    experiment.fix(fixed)
    return {"experiment": experiment.id}


if __name__ == "__main__":
    main()
