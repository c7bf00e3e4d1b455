"""Compare in a real browser, with a tiny model: sides stream, fail, are stopped, are voted on blind, and stay."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import tiny
from tests.adapters.files import ATTENTION_QV, write_adapter
from tests.browser.conftest import check_accessibility, check_width, shot
from tests.conftest import CACHE
from tests.server.live import LiveServer

pytestmark = pytest.mark.slow

PATIENCE = 120_000
SIDES = "/compare?model=tiny&adapter=till@latest&adapter=poems@latest"


@pytest.fixture(scope="module")
def live_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a tiny model, two adapters of it, and one that fits another model."""
    home = tmp_path_factory.mktemp("home")
    (home / "cache").symlink_to(CACHE, target_is_directory=True)
    tiny.write_model(home / "models" / "tiny", max_position_embeddings=1_000_000)
    trained = {"model": str(home / "models" / "tiny")}
    write_adapter(home / "adapters" / "till", tiny.llama(), config=trained)
    write_adapter(home / "adapters" / "poems", tiny.llama(), keys=ATTENTION_QV, config=trained)
    write_adapter(home / "adapters" / "foreign", tiny.llama(intermediate_size=48))
    return home


def open_sides(page: Page, app: LiveServer, sides: str = SIDES, *, longest: str = "12") -> None:
    page.goto(f"{app.url}{sides}")
    page.locator("summary", has_text="Sampling").click()
    page.get_by_role("textbox", name="Longest answer").fill(longest)


def ask(page: Page, prompt: str) -> None:
    box = page.get_by_role("textbox", name="Prompt", exact=True)
    box.fill(prompt)
    box.press("Control+Enter")


def said(page: Page, side: str) -> Locator:
    return page.get_by_role("group", name=f"{side}: text")


def finished(page: Page) -> None:
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=PATIENCE)


def check_looks(page: Page, name: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(200)
            check_width(page)
            shot(page, f"compare-{name}-{width}-{scheme}")
            check_accessibility(page)
    page.set_viewport_size({"width": 1440, "height": 900})


def test_sides_answer_and_stay(page: Page, app: LiveServer) -> None:
    open_sides(page, app)
    ask(page, "Say <b>hello</b> & goodbye")
    finished(page)
    for name in ("Base", "till · latest", "poems · latest"):
        column = page.get_by_role("region", name=name, exact=True)
        expect(column).to_contain_text("tok/s")
        expect(column).to_contain_text(re.compile("cut off at the limit|ended by itself"))
    poems = page.get_by_role("region", name="poems · latest", exact=True)
    expect(poems).to_contain_text("attention-only")
    poems.get_by_text("Adapter details").click()
    expect(poems).to_contain_text("q_proj")
    check_looks(page, "answered")

    with page.expect_download() as saved:
        page.get_by_role("button", name="Export", exact=True).click()
    document = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert document["request"]["prompt"] == "Say <b>hello</b> & goodbye"
    assert [side["side"] for side in document["sides"]] == ["base", "till@latest", "poems@latest"]
    assert {side["seed"] for side in document["sides"]} == {document["request"]["seed"]}
    answers = {side["side"]: side["answer"] for side in document["sides"]}

    page.reload()
    for name, side in (("Base", "base"), ("till · latest", "till@latest")):
        assert said(page, name).text_content() == answers[side]
    page.get_by_role("button", name="keep this seed").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    finished(page)
    assert said(page, "till · latest").text_content() == answers["till@latest"], "the same seed, the same answer"

    history = page.get_by_role("region", name="History")
    expect(history.get_by_role("listitem")).to_have_count(2)
    history.get_by_role("searchbox").fill("goodbye poems")
    expect(history.get_by_role("listitem")).to_have_count(2)
    history.get_by_role("searchbox").fill("nowhere")
    expect(history.get_by_role("listitem")).to_have_count(0)


def test_blind_votes_are_counted(page: Page, app: LiveServer) -> None:
    open_sides(page, app, "/compare?model=tiny&adapter=till@latest")
    page.get_by_role("switch", name="Blind").click()
    sides = re.compile("Base|till")
    for wins in range(1, 4):
        ask(page, f"round {wins}")
        vote = page.get_by_role("region", name="Your vote")
        expect(vote).to_be_visible(timeout=PATIENCE)
        for letter in "AB":
            column = page.get_by_role("region", name=f"Answer {letter}")
            expect(column).not_to_contain_text(re.compile("tok/s|details|rank|Base|till"))
        if wins == 1:
            check_looks(page, "blind")
            page.reload()  # nothing is given away, and the vote can still be given
            expect(page.get_by_role("heading", name=sides, level=3)).to_have_count(0)
        vote.get_by_role("button", name="A is better").click()
        expect(page.get_by_role("heading", name=sides, level=3)).to_have_count(2)
    tally = page.get_by_role("region", name="Blind votes")
    expect(tally).to_contain_text("3 votes: 3 decisive, 0 ties, 0 both bad")
    expect(tally).to_contain_text("No preference detectable yet.")
    check_looks(page, "voted")
    tally.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Delete the votes").click()
    expect(tally).to_contain_text("No votes on these sides yet.")


def test_a_side_that_cannot_answer_leaves_the_others_alone(page: Page, app: LiveServer) -> None:
    open_sides(page, app, "/compare?model=tiny&adapter=foreign@latest&adapter=till@latest")
    ask(page, "hello")
    finished(page)
    expect(page.get_by_role("region", name="foreign · latest").get_by_role("alert")).to_contain_text("does not fit")
    expect(page.get_by_role("region", name="till · latest")).to_contain_text("tok/s")
    check_looks(page, "failed")


def test_stopping_and_leaving_end_the_work(page: Page, app: LiveServer) -> None:
    def idle() -> None:
        app.until("/api/inference", lambda found: not found["busy"], seconds=20)

    open_sides(page, app, longest="100000")
    page.get_by_role("textbox", name="Temperature").fill("0")  # goes round in circles, and never ends
    ask(page, "go on and on")
    expect(said(page, "Base")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Stop").first.click()
    idle()
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_visible()
    ask(page, "go on and on again")
    expect(said(page, "Base")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Results").first.click()
    idle()
    page.get_by_role("link", name="Compare").first.click()
    expect(page.get_by_role("region", name="History")).to_contain_text("stopped")
