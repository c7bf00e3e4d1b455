"""One person's way through the application, with a real model: Setup, Training, Results, Compare."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import check_accessibility, check_width, shot
from tests.server.live import LiveServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE = 180_000
"""Milliseconds: a step of SmolLM2 takes a second or two here, and loading it ten."""
STEPS = 12


def set_up(page: Page, app: LiveServer, data: Path) -> None:
    """Model, data and a short run, in Setup."""
    page.goto(f"{app.url}/setup")
    page.get_by_role("radio", name="smollm2-135m-instruct").click()
    page.locator("input[type=file]").first.set_input_files(data)
    report = page.get_by_role("region", name="Data")
    expect(report).to_contain_text("4 of 40 rows held out", timeout=PATIENCE)
    report.get_by_role("switch", name="Train on the answers only").click()
    page.get_by_role("radio", name="By steps").click()
    page.get_by_role("textbox", name="Steps", exact=True).fill(str(STEPS))
    page.get_by_role("textbox", name="Batch size").fill("2")
    page.get_by_role("textbox", name="Learning rate").fill("1e-3")
    page.get_by_role("textbox", name="Name of the adapter").fill("orders")
    page.get_by_role("radio", name="Advanced").click()
    page.get_by_text("Reports, evaluation, checkpoints").click()
    for name, value in (("steps_per_report", "1"), ("steps_per_eval", "6"), ("save_every", "4")):
        page.locator(f"input[name={name}]").fill(value)


def test_from_setup_to_compare(page: Page, app: LiveServer, few_orders: Path) -> None:
    set_up(page, app, few_orders)
    the_counts_move_with_the_form(page)
    nothing_is_lost_on_reload(page)
    check_page(page, "setup")

    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/training/[0-9]{8}-"), timeout=PATIENCE)
    run = page.url.rpartition("/")[2]
    watch_reload_stop_and_resume(page, app, run)
    check_page(page, "training")

    page.get_by_role("link", name="See result").first.click()
    expect(page).to_have_url(re.compile(rf"/results/{run}"))
    summary = app.get(f"/api/runs/{run}")["summary"]
    assert summary["best_loss"] < 0.8 * summary["first_loss"]
    expect(page.get_by_role("main")).to_contain_text(f"{summary['best_loss']:.4f}", timeout=PATIENCE)
    expect(page.get_by_role("main")).to_contain_text("9,768,960")
    check_page(page, "result")
    page.goto(f"{app.url}/results")
    expect(page.get_by_role("main")).to_contain_text("orders", timeout=PATIENCE)
    check_page(page, "results")

    base_and_adapter_answer(page, app)
    check_page(page, "compare")


def the_counts_move_with_the_form(page: Page) -> None:
    lora = page.get_by_role("region", name="LoRA")
    expect(lora).to_contain_text("alpha 32 / rank 32")
    expect(lora).to_contain_text("scale 1.0")
    expect(lora).to_contain_text("9,768,960 of 134,515,008", timeout=PATIENCE)
    rank = page.get_by_role("textbox", name="Rank")
    rank.fill("16")
    expect(lora).to_contain_text("4,884,480 of 134,515,008", timeout=PATIENCE)
    rank.fill("")
    expect(rank).to_have_value("")
    expect(page.get_by_role("region", name="The run")).to_contain_text("Not ready")
    rank.fill("32")
    lora.get_by_role("radio", name=re.compile("Attention, Q and V")).click()
    expect(lora).to_contain_text("1,843,200 of 134,515,008", timeout=PATIENCE)
    lora.get_by_role("radio", name=re.compile("Full layer")).click()


def nothing_is_lost_on_reload(page: Page) -> None:
    page.reload()
    expect(page.get_by_role("textbox", name="Batch size")).to_have_value("2")
    expect(page.get_by_role("textbox", name="Name of the adapter")).to_have_value("orders")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled(timeout=PATIENCE)


def watch_reload_stop_and_resume(page: Page, app: LiveServer, run: str) -> None:
    main = page.get_by_role("main")
    expect(main).to_contain_text(re.compile(rf"[3-9] of {STEPS}|1[0-2] of {STEPS}"), timeout=PATIENCE)
    page.reload()
    expect(main).to_contain_text(re.compile(rf"[0-9]+ of {STEPS}"), timeout=PATIENCE)
    page.get_by_role("button", name="Stop", exact=True).first.click()
    page.get_by_role("button", name="Save a checkpoint and end").click()
    expect(page.get_by_text(re.compile(rf"Stopped at step [0-9]+ of {STEPS}"))).to_be_visible(timeout=PATIENCE)
    shot(page, "stopped")
    page.get_by_role("button", name="Resume").first.click()
    app.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished", seconds=PATIENCE / 1000)
    expect(page.get_by_role("link", name="See result").first).to_be_visible(timeout=PATIENCE)
    reported = [
        record["event"]["step"]
        for record in app.get(f"/api/runs/{run}/events?limit=10000")["records"]
        if record["event"]["type"] == "train_report"
    ]
    assert reported == list(range(1, STEPS + 1)), "no step is missing and none was done twice"


def base_and_adapter_answer(page: Page, app: LiveServer) -> None:
    page.goto(f"{app.url}/compare?model=smollm2-135m-instruct&adapter=orders@best")
    page.get_by_role("textbox", name="Prompt", exact=True).fill("Two large oat lattes to go, for Greta.")
    page.locator("summary", has_text="Sampling").click()
    page.get_by_role("textbox", name="Longest answer").fill("24")
    page.get_by_role("button", name="Compare", exact=True).click()
    main = page.get_by_role("main")
    expect(main).to_contain_text(re.compile("tok/s|tokens per second"), timeout=PATIENCE)
    expect(main).to_contain_text("rank 32", ignore_case=True, timeout=PATIENCE)


def check_page(page: Page, name: str) -> None:
    """Hold a page against axe's rules and the width of a phone, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in ((1440, 900), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            check_width(page)
            shot(page, f"{name}-{width}-{scheme}")
            check_accessibility(page)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1440, "height": 900})
