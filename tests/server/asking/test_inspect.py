"""The machine's report over HTTP: measured once, memory and disk always fresh."""

from __future__ import annotations

import time
from pathlib import Path

from tests.server.serving import serving


def test_the_report_is_the_doctor_s_and_is_measured_once(home: Path, tmp_path: Path) -> None:
    with serving(home, roots=(tmp_path,)) as asker:
        first = asker.get("/api/system")
        assert first.status_code == 200, first.text
        found = first.json()
        names = [finding["name"] for finding in found["findings"]]
        assert names[0] == "device"
        assert {"home folder", "memory", "disk", "MLX build", "hub"} <= set(names)
        assert found["gflops"] > 0
        assert found["ok"] == (not any(finding["fix"] for finding in found["findings"]))
        assert (found["home"], found["roots"]) == (str(home), [str(home), str(tmp_path)])
        assert found["versions"]["mlx"]
        assert 0 < found["memory_available"] <= found["memory_total"]
        inspector = asker.app.state.droidft.inspector  # type: ignore[attr-defined]
        slow = inspector._slow.pid
        assert slow is not None
        asker.portal.call(inspector._slow.close)  # type: ignore[union-attr]
        held = b"x" * (256 << 20)
        again = asker.get("/api/system").json()
        end = time.monotonic() + 10  # the kernel's own figure can lag behind
        while again["memory_available"] == found["memory_available"] and time.monotonic() < end:
            again = asker.get("/api/system").json()
        del held
        assert again["gflops"] == found["gflops"]
        assert inspector._slow.pid is None, "it was not asked again"
        assert again["memory_available"] != found["memory_available"], "this is looked at every time"
