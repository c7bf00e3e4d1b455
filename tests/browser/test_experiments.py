"""An experiment with a real model: planned in the browser, its server killed, finished by the next one, read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import check_accessibility, check_width, shot
from tests.server import live
from tests.server.live import LiveServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE = 240_000
"""Milliseconds: a run takes half a minute here."""


@pytest.fixture
def signed_in(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    yield context
    context.close()


def open_page(context: BrowserContext, server: LiveServer, path: str) -> Page:
    page = context.new_page()
    code = server.post("/api/launch")["url"].partition("code=")[2]
    page.goto(f"{server.url}/launch?code={code}")
    page.goto(f"{server.url}{path}")
    return page


def test_planned_killed_resumed_and_read(
    signed_in: BrowserContext, browser: Browser, live_home: Path, few_orders: Path, tmp_path: Path
) -> None:
    general = tmp_path / "general.jsonl"
    texts = [
        "A river begins with rain that finds no way into the ground.",
        "The library closes at eight on weekdays.",
    ]
    general.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with live.running(live_home, "--allow", str(tmp_path)) as server:
        page = open_page(signed_in, server, "/experiments")
        page.get_by_role("link", name=re.compile("Plan the first one|New experiment")).first.click()
        plan(page, few_orders, general)
        experiment = page.url.rpartition("/")[2]
        the_plan_is_shown_with_its_cost(page)
        page.get_by_role("button", name="Start").click()
        found = server.until(
            f"/api/experiments/{experiment}", lambda it: it["summary"]["done"] >= 2, seconds=PATIENCE / 1000
        )
        assert found["summary"]["state"] == "running"
        server.kill()
        page.close()
    with live.running(live_home, "--allow", str(tmp_path)) as server:
        found = server.until(
            f"/api/experiments/{experiment}",
            lambda it: it["summary"]["state"] == "finished",
            seconds=PATIENCE / 1000,
        )
        assert found["summary"]["done"] == found["summary"]["runs"] == 5
        page = open_page(signed_in, server, f"/experiments/{experiment}")
        the_answer_is_read(page, found["analysis"]["contrasts"][0])
        with page.expect_download() as download:
            page.get_by_role("link", name="Report", exact=True).click()
        report = tmp_path / "report.html"
        download.value.save_as(report)
        page.close()
    the_report_needs_no_network(browser, report, found["analysis"]["contrasts"][0]["sentence"])


def plan(page: Page, data: Path, general: Path) -> None:
    """Two arms, two seeds, six steps each."""
    page.get_by_role("textbox", name="Title").fill("Small and real")
    page.get_by_role("radio", name="Arms of your own").click()
    names = page.get_by_role("textbox", name="Name", exact=True)
    settings = page.get_by_role("textbox", name="Its own settings")
    names.nth(0).fill("full")
    names.nth(1).fill("attention")
    settings.nth(1).fill("lora_targets: attention-qv")
    page.get_by_role("combobox", name="Trained parameters").nth(1).select_option(label="as many as full")
    page.get_by_role("radio", name="smollm2-135m-instruct").click()
    page.locator("input[type=file]").first.set_input_files(data)
    card = page.get_by_role("region", name="Data", exact=True)
    expect(card).to_contain_text("4 of 40 rows held out", timeout=PATIENCE)
    card.get_by_role("switch", name="Train on the answers only").click()
    page.get_by_text("General text").click()
    card.get_by_role("button", name="Use a separate file").last.click()
    card.get_by_role("textbox", name=re.compile("Path on this machine")).fill(str(general))
    card.get_by_role("button", name="Use", exact=True).click()
    page.get_by_role("textbox", name="Epochs").fill("1")
    page.get_by_role("textbox", name="Batch size").fill("6")
    page.get_by_role("textbox", name="Learning rate", exact=True).fill("1e-3")
    page.get_by_role("textbox", name="Rank").fill("8")
    page.get_by_role("textbox", name="Alpha").fill("8")
    page.get_by_role("textbox", name="Seeds").fill("2")
    page.reload()
    expect(page.get_by_role("textbox", name="Seeds")).to_have_value("2")
    expect(page.get_by_text("Exploratory.")).to_be_visible()
    check_width(page)
    check_accessibility(page)
    shot(page, "experiment-new")
    page.get_by_role("button", name="Plan the experiment").click()
    expect(page).to_have_url(re.compile(r"/experiments/x[0-9-]+"), timeout=PATIENCE)


def the_plan_is_shown_with_its_cost(page: Page) -> None:
    card = page.get_by_role("region", name="The plan, fixed before the first step")
    expect(card).to_contain_text("2,442,240", timeout=PATIENCE)  # rank 8, all seven projections
    expect(card).to_contain_text("full − attention")
    expect(card).to_contain_text(re.compile(r"[0-9.]+ ms"))
    expect(card).to_contain_text("2 seeds are too few for a verdict")
    check_width(page)
    check_accessibility(page)
    shot(page, "experiment-planned")


def the_answer_is_read(page: Page, contrast: dict[str, object]) -> None:
    answer = page.get_by_role("region", name="The answer")
    expect(answer).to_contain_text(str(contrast["sentence"]), timeout=PATIENCE)
    expect(answer.get_by_role("img", name=re.compile("Differences of the test loss"))).to_be_visible()
    expect(page.get_by_role("region", name="Side by side")).to_contain_text("Trainable parameters")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        check_width(page)
    check_accessibility(page)
    shot(page, "experiment")


def the_report_needs_no_network(browser: Browser, report: Path, sentence: str) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_text(sentence).first).to_be_visible()
    assert asked == [report.as_uri()]
    check_width(page)
    context.close()
