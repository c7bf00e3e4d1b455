"""Enhanced Setup with a real model: GRPO with two rewards, tried before the run, trained, watched, looked back at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import check_accessibility, check_width, shot
from tests.server.live import LiveServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE = 180_000
"""Milliseconds: loading SmolLM2 takes ten seconds here, and a step some more."""
STEPS = 3


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Twenty small sums with their answers."""
    file = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(1, 21)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_from_rewards_to_a_result(page: Page, app: LiveServer, sums: Path) -> None:
    set_up(page, app, sums)
    the_method_brings_its_defaults(page)
    targets_change_only_on_purpose(page)
    try_the_rewards(page)
    nothing_is_lost_on_reload(page)
    check_page(page, "enhanced")

    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(re.compile(r"/training/[0-9]{8}-"), timeout=PATIENCE)
    run = page.url.rpartition("/")[2]
    app.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished", seconds=300)
    watch(page)
    check_page(page, "enhanced-training")

    look_back(page, app, run)
    check_page(page, "enhanced-result")
    clone(page, app, run)


def set_up(page: Page, app: LiveServer, data: Path) -> None:
    """Model, data, two rewards and a short run."""
    page.goto(f"{app.url}/setup")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Enhanced Setup").click()
    page.get_by_role("radio", name="smollm2-135m-instruct").click()
    page.locator("input[type=file]").first.set_input_files(data)
    expect(page.get_by_role("region", name="Data", exact=True)).to_contain_text("2 of 20", timeout=PATIENCE)
    add_reward(page, "Length window").get_by_role("textbox", name="Maximum").fill("8")
    numeric = add_reward(page, "Numeric answer")
    numeric.get_by_role("textbox", name="Weight").fill("3")
    expect(numeric).to_contain_text("75 % of the weights")
    numeric.get_by_role("button", name="Move Numeric answer up").click()
    expect(page.get_by_role("list", name="Rewards of the run").get_by_role("listitem").first).to_contain_text(
        "Numeric"
    )
    small = {"num_generations": 4, "prompts_per_step": 1, "max_completion_length": 16, "max_eval_prompts": 2}
    for name, value in small.items():
        page.locator(f"input[name={name}]").fill(str(value))
    page.get_by_role("radio", name="By steps").click()
    page.get_by_role("textbox", name="Steps", exact=True).fill(str(STEPS))
    page.get_by_role("textbox", name="Name of the adapter").fill("sums")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled(timeout=PATIENCE)
    expect(page.get_by_role("region", name="What it takes")).to_contain_text("1 prompt × 4")


def add_reward(page: Page, kind: str) -> Locator:
    rewards = page.get_by_role("region", name="Rewards", exact=True)
    select = rewards.get_by_role("combobox", name=re.compile("Kind of reward|Another reward"))
    select.select_option(label=select.locator("option", has_text=kind).inner_text())
    rewards.get_by_role("button", name="Add").click()
    return page.get_by_role("listitem", name=re.compile(kind))


def the_method_brings_its_defaults(page: Page) -> None:
    """What was changed on purpose stays, the rest follows the method."""
    rate, epsilon = page.get_by_role("textbox", name="Learning rate"), page.locator("input[name=epsilon]")
    expect(rate).to_have_value("1e-5")
    expect(epsilon).to_have_value("0.2")
    rate.fill("2e-5")
    page.get_by_role("radio", name=re.compile("GSPO")).click()
    expect(epsilon).to_have_value("3e-4")
    expect(rate).to_have_value("2e-5")
    page.get_by_role("radio", name=re.compile("ORPO")).click()
    expect(page.get_by_role("region", name="Rewards", exact=True)).to_have_count(0)
    page.get_by_role("radio", name=re.compile("^GRPO")).click()
    expect(page.locator("input[name=num_generations]")).to_have_value("4")
    page.get_by_role("button", name="Back to the default, 1e-5").click()
    expect(rate).to_have_value("1e-5")


def targets_change_only_on_purpose(page: Page) -> None:
    lora = page.get_by_role("region", name="LoRA")
    expect(lora).to_contain_text("1,843,200 of 134,515,008", timeout=PATIENCE)
    expect(lora).to_contain_text("self_attn.q_proj, self_attn.v_proj")
    expect(lora.get_by_role("radio")).to_have_count(0)
    lora.get_by_role("button", name="Change targets…").click()
    page.get_by_role("button", name="Choose other targets").click()
    lora.get_by_role("radio", name=re.compile("Full layer")).click()
    expect(lora).to_contain_text("9,768,960 of 134,515,008", timeout=PATIENCE)
    lora.get_by_role("button", name="Back to Q and V").click()
    expect(lora).to_contain_text("1,843,200 of 134,515,008", timeout=PATIENCE)


def try_the_rewards(page: Page) -> None:
    rewards = page.get_by_role("region", name="Rewards", exact=True)
    rewards.get_by_role("combobox", name="Completions each").select_option("2")
    rewards.get_by_role("button", name="Try it").click()
    table = rewards.get_by_role("region", name=re.compile(r"Completions and rewards of sums.jsonl:\d+"))
    expect(table).to_have_count(2, timeout=PATIENCE)
    expect(table.first.get_by_role("columnheader")).to_have_text(
        ["Completion", "numeric_answer", "length_window", "Sum", "Advantage", "Tokens"]
    )


def nothing_is_lost_on_reload(page: Page) -> None:
    page.reload()
    expect(page.get_by_role("list", name="Rewards of the run").get_by_role("listitem")).to_have_count(2)
    expect(
        page.get_by_role("listitem", name=re.compile("Numeric")).get_by_role("textbox", name="Weight")
    ).to_have_value("3")
    expect(page.locator("input[name=num_generations]")).to_have_value("4")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled(timeout=PATIENCE)


def watch(page: Page) -> None:
    expect(page.get_by_role("img", name=re.compile("Mean reward went from"))).to_be_visible(timeout=PATIENCE)
    for panel in ("Reward", "Each reward", "Tied groups", "Completion length", "Cut off", "Entropy", "Clipped"):
        expect(page.get_by_role("region", name=panel, exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Loss", exact=True)).to_contain_text("About zero is normal")
    completions = page.get_by_role("region", name="Sampled completions", exact=True)
    expect(completions).to_contain_text(f"step {STEPS}")
    completions.get_by_role("button", name="Previous step").click()
    expect(completions).to_contain_text(f"step {STEPS - 1}")
    expect(completions.get_by_role("columnheader", name="Advantage")).to_be_visible()


def look_back(page: Page, app: LiveServer, run: str) -> None:
    page.get_by_role("link", name="See result").first.click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("mean reward", ignore_case=True, timeout=PATIENCE)
    expect(main).to_contain_text("GRPO")
    summary: dict[str, Any] = app.get(f"/api/runs/{run}")["summary"]
    assert summary["method"] == "grpo"
    assert summary["best_reward"] is not None
    page.goto(f"{app.url}/results")
    expect(main).to_contain_text("GRPO", timeout=PATIENCE)
    page.get_by_role("combobox", name="Method").select_option("grpo")
    expect(main).to_contain_text("sums")
    page.goto(f"{app.url}/results/{run}")
    expect(page.get_by_role("img", name=re.compile("Mean reward went from"))).to_be_visible(timeout=PATIENCE)


def clone(page: Page, app: LiveServer, run: str) -> None:
    page.evaluate("localStorage.removeItem('droidft.enhanced')")
    page.goto(f"{app.url}/setup?clone={run}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Enhanced Setup", timeout=PATIENCE)
    expect(page.locator("input[name=max_completion_length]")).to_have_value("16", timeout=PATIENCE)
    expect(page.get_by_role("list", name="Rewards of the run").get_by_role("listitem")).to_have_count(2)


def check_page(page: Page, name: str) -> None:
    """Hold a page against axe's rules and the width of a phone, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in ((1440, 900), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(400)
            check_width(page)
            shot(page, f"{name}-{width}-{scheme}")
            check_accessibility(page)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1440, "height": 900})
