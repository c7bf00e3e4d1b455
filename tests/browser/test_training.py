"""The Training page on the real server: the queue, a run that stalls, is killed and resumed, a very long history."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from droidft.config import parse_config
from droidft.events import EvalReport, Finished, Record, RunStarted, TrainReport
from droidft.home import Home
from droidft.runs.folder import Run, create
from tests import tiny
from tests.browser.conftest import check_accessibility, check_width, shot
from tests.server.live import LiveServer

pytestmark = pytest.mark.slow

PATIENCE = 60_000
"""Milliseconds; several programs may share the machine's two cores."""


@pytest.fixture(scope="module")
def settings(live_home: Path) -> dict[str, Any]:
    """A tiny model with a report every step; it trains until it is stopped."""
    tiny.write_model(live_home / "models" / "tiny")
    (live_home / "data").mkdir(exist_ok=True)
    data = tiny.write_chat(live_home / "data" / "chat.jsonl", rows=60)
    often = {"steps_per_report": 1, "steps_per_eval": 200, "save_every": 100, "early_stop": False}
    return {"model_path": "tiny", "train_data_path": str(data), "iterations": 1_000_000, "max_seq_length": 40} | often


def test_the_queue_is_put_in_order_by_mouse_and_by_keys(
    page: Page, app: LiveServer, settings: dict[str, Any]
) -> None:
    first = app.post("/api/runs", settings | {"adapter_name": "first"})["id"]
    ids = {name: app.post("/api/runs", settings | {"adapter_name": name})["id"] for name in ("a", "b", "c")}
    page.goto(f"{app.url}/training")
    rows = page.get_by_role("list", name="Waiting runs, next first").get_by_role("listitem")
    expect(rows).to_have_count(3, timeout=PATIENCE)

    drag(page, rows.nth(2), onto=rows.nth(0))
    wait_for_order(app, [ids["c"], ids["a"], ids["b"]])
    page.get_by_role("button", name="Move c down").focus()
    page.keyboard.press("Enter")
    wait_for_order(app, [ids["a"], ids["c"], ids["b"]])
    expect(page.get_by_role("button", name="Move c down")).to_be_focused()
    check_accessibility(page)
    shot(page, "training-queue")

    page.get_by_role("button", name="Remove c from the queue").click()
    wait_for_order(app, [ids["a"], ids["b"]])
    page.get_by_role("link", name="Open it").click()
    page.get_by_role("button", name="Start", exact=True).click()
    wait_for_order(app, [ids["a"], ids["b"], ids["c"]])

    for run in (*ids.values(), first):
        app.post(f"/api/runs/{run}/stop", {"force": True})
    page.goto(f"{app.url}/training")
    expect(page.get_by_text("Nothing is training.")).to_be_visible(timeout=PATIENCE)


def test_a_page_that_saw_everything_shows_what_a_fresh_one_does(
    page: Page, app: LiveServer, settings: dict[str, Any]
) -> None:
    run = app.post("/api/runs", settings | {"adapter_name": "rough"})["id"]
    page.goto(f"{app.url}/training/{run}")
    app.until(f"/api/runs/{run}", lambda found: found["summary"]["checkpoint_step"], seconds=120)
    for _ in range(3):
        page.context.set_offline(True)
        page.wait_for_timeout(300)
        page.context.set_offline(False)
        page.wait_for_timeout(700)

    worker = json.loads((app.home / "runs" / run / "worker.json").read_text())["pid"]
    os.kill(worker, signal.SIGSTOP)
    expect(page.get_by_text(re.compile(r"No report for \d+ s"))).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Stalled")
    check_accessibility(page)
    page.get_by_role("button", name="Kill now").click()
    page.get_by_role("button", name="Kill it").click()
    expect(page.get_by_role("alert")).to_contain_text("killed on request", timeout=PATIENCE)
    died_at = app.get(f"/api/runs/{run}")["summary"]["step"]

    page.get_by_role("button", name="Resume").click()
    app.until(f"/api/runs/{run}", lambda found: found["summary"]["step"] > died_at + 50, seconds=120)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Save a checkpoint and end").click()
    expect(page.get_by_text(re.compile("Stopped at step"))).to_be_visible(timeout=PATIENCE)

    fresh = page.context.new_page()
    fresh.goto(page.url)
    reports = len(app.get(f"/api/runs/{run}/curves?points=1000000")["train"]["step"])
    expect(fresh.get_by_role("img", name=f"Speed over {reports:,} reports")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("img", name=f"Speed over {reports:,} reports")).to_be_visible(timeout=PATIENCE)
    assert everything(page) == everything(fresh)


@pytest.mark.alone
def test_a_history_of_100_000_reports_is_light(page: Page, app: LiveServer, settings: dict[str, Any]) -> None:
    run = create(Home(app.home), parse_config(settings | {"adapter_name": "long"}))
    write_history(run, steps=100_000)
    page.goto(f"{app.url}/training/{run.id}")
    expect(page.get_by_role("img", name="Speed over 100,000 reports")).to_be_visible(timeout=2 * PATIENCE)
    main = page.get_by_role("main")
    expect(main).to_contain_text("100,003 events")
    assert page.get_by_role("option").count() < 60, "only the rows in sight exist"

    page.get_by_role("searchbox", name="Search the events").fill("step 77777")
    expect(main).to_contain_text("1 of 100,003 events", timeout=PATIENCE)
    expect(page.get_by_role("option")).to_contain_text("Step 77,777")
    page.get_by_role("button", name="Clear the search").click()
    chart = page.get_by_role("img", name=re.compile("Training loss went"))
    chart.scroll_into_view_if_needed()
    assert median_frame_while_hovering(page, chart) < 50, "milliseconds"
    check_width(page)
    shot(page, "training-long")


def drag(page: Page, row: Locator, *, onto: Locator) -> None:
    start, end = row.get_by_title("Drag to reorder").bounding_box(), onto.bounding_box()
    assert start is not None
    assert end is not None
    x = start["x"] + start["width"] / 2
    page.mouse.move(x, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, end["y"] + 2, steps=8)
    page.mouse.up()


def wait_for_order(app: LiveServer, wanted: list[str]) -> None:
    app.until("/api/queue", lambda queue: [entry["run"] for entry in queue["waiting"]] == wanted, seconds=30)


def everything(page: Page) -> dict[str, Any]:
    """Curves, figures and log of a run's page."""
    page.wait_for_timeout(1000)
    return {
        "heading": page.get_by_role("heading", level=1).inner_text(),
        "curves": [chart.get_attribute("aria-label") for chart in page.get_by_role("img").all()],
        "figures": page.locator("dl").first.inner_text(),
        "log": page.get_by_role("option").all_inner_texts(),
        "events": page.get_by_text(re.compile(r"^[\d,]+ events$")).inner_text(),
    }


def median_frame_while_hovering(page: Page, chart: Locator) -> float:
    """Milliseconds between frames while the pointer moves over a chart."""
    box = chart.bounding_box()
    assert box is not None
    page.evaluate("""() => {
        window.frames_seen = [];
        let last = performance.now();
        const next = (now) => { window.frames_seen.push(now - last); last = now; requestAnimationFrame(next); };
        requestAnimationFrame(next);
    }""")
    for at in range(60):
        page.mouse.move(box["x"] + 80 + at * 10, box["y"] + 60)
        page.wait_for_timeout(16)
    return float(page.evaluate("() => window.frames_seen.sort((a, b) => a - b)[window.frames_seen.length >> 1]"))


def write_history(run: Run, *, steps: int) -> None:
    """The log of a run that has finished, as its worker would have written it."""
    events: list[Any] = [RunStarted(config={}, versions={}, device={})]
    for step in range(1, steps + 1):
        events.append(
            TrainReport(
                step=step,
                epoch=step / 100,
                loss=3 / step**0.2,
                learning_rate=1e-4,
                grad_norm=1.0 + step % 7,
                tokens_per_second=500.0 + step % 50,
                supervised_tokens_per_second=250.0,
                tokens=100 * step,
                supervised_tokens=50 * step,
                peak_memory_bytes=10**9,
                rss_bytes=2 * 10**9,
                seconds_left=float(steps - step),
            )
        )
    best: dict[str, Any] = {"best_loss": 0.5, "best_step": steps}
    events.append(EvalReport(step=steps, loss=0.5, tokens=10, best=True, seconds=1.0, **best))
    events.append(Finished(step=steps, final_loss=0.5, seconds=float(steps), **best))
    with run.events_file.open("w") as file:
        for seq, event in enumerate(events, start=1):
            file.write(Record(seq=seq, time=1.7e9 + seq, event=event).model_dump_json() + "\n")
