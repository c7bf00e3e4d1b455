"""The process that makes an export for the server: `python -m droidft.workers.export_job`, asked over `channel`.

It lives for one export, so that one which is called off or killed takes nothing along, and its memory is free after.
"""

from __future__ import annotations

from pathlib import Path

from droidft.adapters.exports.catalog import ExportEntry, find_export
from droidft.adapters.exports.forms import ExportRequest
from droidft.home import Home
from droidft.support.channel import Call, serve


def main() -> None:
    """Answer requests until the server has ended."""
    serve({"export": make})


def make(call: Call) -> dict[str, ExportEntry | list[str]]:
    """Parameters: `home`, `request`. Events report progress; the result has the entry and warnings.

    Models that are not on this machine are refused: a download is a job of its own.
    """
    from droidft.engine.machine.device import computing

    home = Home(Path(call.params["home"]))
    request = ExportRequest.model_validate(call.params["request"])

    def should_stop() -> bool:
        call.check()
        return False

    with computing(home.cache):
        from droidft.workers.export import export, plan_export

        call.report("checking", 0, 0)
        done = export(plan_export(request, home, offline=True), home, call.report, should_stop)
    return {"entry": find_export(home.exports, done.name), "warnings": done.warnings}


if __name__ == "__main__":
    main()
