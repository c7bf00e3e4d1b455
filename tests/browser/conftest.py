"""Chromium on the real server: a fresh home folder with SmolLM2 in it, signed in by the launch link."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from droidft.data import orders
from droidft.server.main import STATIC
from tests.conftest import CACHE
from tests.places import ROOT
from tests.server import live
from tests.server.live import LiveServer

AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOKS = 3
"""How often a page is looked at before a fault counts: a figure that is being renewed is dim for an instant."""
SHOTS = os.environ.get("DROIDFT_SHOTS")
"""Where screenshots go, if they are wanted."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or whichever is installed. Closed before other tests: its driver holds an event loop."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    if not (STATIC / "index.html").is_file():
        pytest.skip("the front end is not built (make builds it)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def live_home(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Path:
    """A fresh home folder that holds SmolLM2 and the café orders, and nothing else."""
    home = tmp_path_factory.mktemp("home")
    (home / "cache").symlink_to(CACHE, target_is_directory=True)
    (home / "models").mkdir()
    (home / "models" / "smollm2-135m-instruct").symlink_to(smollm2, target_is_directory=True)
    return home


@pytest.fixture(scope="module")
def app(live_home: Path) -> Iterator[LiveServer]:
    """The real server on it."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with live.running(live_home) as server:
        yield server
    if before is None:
        del os.environ["HF_HUB_OFFLINE"]
    else:
        os.environ["HF_HUB_OFFLINE"] = before


@pytest.fixture
def few_orders(tmp_path: Path) -> Path:
    """Forty café orders in one file, so that its validation set is small."""
    rows = orders.write(tmp_path)["train"].read_text().splitlines(keepends=True)[:40]
    file = tmp_path / "few-orders.jsonl"
    file.write_text("".join(rows))
    return file


@pytest.fixture
def context(browser: Browser, app: LiveServer) -> Iterator[BrowserContext]:
    """A browser that is signed in; what its pages say against the rules fails the test."""
    made = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    code = app.post("/api/launch")["url"].partition("code=")[2]
    page = made.new_page()
    page.goto(f"{app.url}/launch?code={code}")
    page.close()
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose script errors and broken promises of the content security policy fail the test."""
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    opened.on("console", lambda message: _note(message, faults))
    yield opened
    assert faults == []


def _note(message: Any, faults: list[str]) -> None:
    if message.type == "error" and ("Content Security Policy" in message.text or "Uncaught" in message.text):
        faults.append(message.text)


def check_accessibility(page: Page) -> None:
    """Hold the page, once it has come to rest, against axe's rules for WCAG 2.1 A and AA."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for _ in range(LOOKS):
        if (found := _violations(page)) == []:
            return
    raise AssertionError("\n".join(found))


def _violations(page: Page) -> list[str]:
    page.wait_for_function("() => document.querySelector('main [aria-busy=true]') === null")
    page.wait_for_function("() => document.getAnimations().every((each) => each.playState !== 'running')")
    tags = json.dumps(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"])
    found: list[str] = page.evaluate(
        f"async () => (await axe.run(document, {{runOnly: {tags}}})).violations"
        ".map(v => v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.target.join(' ')).join(' | '))"
    )
    return found


def check_width(page: Page) -> None:
    """Nothing sticks out at the side."""
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= seen, f"the page is {wide} px wide in a window of {seen}"


def shot(page: Page, name: str) -> None:
    """A picture of the whole page, where pictures are wanted."""
    if SHOTS:
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
