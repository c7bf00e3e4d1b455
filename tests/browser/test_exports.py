"""From a run to files for other programs: exported, certified, downloaded; and one that is not what was trained."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest
from playwright.sync_api import Page, expect

from droidft.adapters.exports import certificate as certificates
from tests import tiny
from tests.adapters.exports.trained import logits_of
from tests.browser.conftest import check_accessibility, check_width, shot
from tests.conftest import CACHE
from tests.models.hub_uploads import TOKEN, UploadServer, serve_uploads
from tests.server import live
from tests.server.live import LiveServer

pytestmark = pytest.mark.slow

PATIENCE = 120_000
RUN = {
    "model_path": "tiny",
    "train_data_path": "chat.jsonl",
    "adapter_name": "poet",
    "batch_size": 4,
    "iterations": 60,
    "learning_rate": 2e-2,
    "steps_per_report": 20,
    "steps_per_eval": 30,
    "save_every": 30,
    "lora_rank": 4,
}


@pytest.fixture(scope="module")
def live_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh home folder with a tiny model, a broken copy of it, and conversations."""
    home = tmp_path_factory.mktemp("home")
    (home / "cache").symlink_to(CACHE, target_is_directory=True)
    tiny.write_model(home / "models" / "tiny")
    broken = home / "models" / "broken"
    shutil.copytree(home / "models" / "tiny", broken)
    weights = mx.load(str(broken / "model.safetensors"))
    assert isinstance(weights, dict)
    turned = {name: value[::-1] if "embed" in name else value for name, value in weights.items()}
    mx.save_safetensors(str(broken / "model.safetensors"), turned, {"format": "mlx"})
    (home / "data").mkdir()
    tiny.write_chat(home / "data" / "chat.jsonl")
    return home


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadServer]:
    """The hub that the server's processes know, with maria's token."""
    with serve_uploads() as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", found.url)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        yield found


@pytest.fixture(scope="module")
def app(live_home: Path, hub: UploadServer) -> Iterator[LiveServer]:
    """The real server on it, with a run that has finished."""
    with live.running(live_home) as server:
        run = server.post("/api/runs", RUN)["id"]
        server.until(f"/api/runs/{run}", lambda found: found["summary"]["state"] == "finished", seconds=120)
        yield server


def test_a_run_is_exported_certified_and_downloaded(page: Page, app: LiveServer, tmp_path: Path) -> None:
    run = app.get("/api/runs")[0]["id"]
    page.goto(f"{app.url}/results/{run}")
    page.get_by_role("link", name="Export", exact=True).click()
    main = page.get_by_role("main")
    expect(page.get_by_role("combobox", name="Adapter")).to_have_value("poet", timeout=PATIENCE)
    page.get_by_role("radio", name=re.compile("Merged model")).check()
    expect(main).to_contain_text(re.compile(r"about \d+ kB"), timeout=PATIENCE)
    expect(main).to_contain_text(re.compile(r"about \d+ s"))
    check_page(page, "export-new")

    page.get_by_role("button", name="Export", exact=True).click()
    expect(page).to_have_url(re.compile(r"job=|/exports/poet-merged"))
    page.reload()
    expect(page).to_have_url(re.compile(r"/results/exports/poet-merged$"), timeout=PATIENCE)
    expect(main).to_contain_text("Passed: the exported files are what was trained.", timeout=PATIENCE)
    made = certificates.read(app.home / "exports" / "poet-merged")
    assert made.passed
    for loss in (made.loss.base, made.loss.trained, made.loss.exported or 0.0):
        expect(main).to_contain_text(f"{loss:.4f}")
    bars = page.get_by_role("img", name=re.compile("Loss of base"))
    expect(bars).to_have_accessible_name(re.compile(f"trained {made.loss.trained:.4f}, exported"))
    expect(page.get_by_role("region", name="code for vLLM")).to_contain_text("vllm serve")
    check_page(page, "export-passed")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download as a zip").click()
    assert download.value.suggested_filename == "poet-merged.zip"
    download.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        archive.extractall(tmp_path)
    assert (logits_of(tmp_path / "poet-merged") == logits_of(app.home / "exports" / "poet-merged")).all()
    page.goto(f"{app.url}/results/exports")
    expect(page.get_by_role("link", name="poet-merged")).to_be_visible(timeout=PATIENCE)


def test_an_export_that_passed_is_pushed(page: Page, app: LiveServer, hub: UploadServer) -> None:
    """Refused for a public repository, agreed to for a new one, cut off at the commit, sent again."""
    hub.repositories["acme/open"], hub.private["acme/open"] = {}, False
    page.goto(f"{app.url}/results/exports/poet-merged")
    main, where = page.get_by_role("main"), page.get_by_role("textbox", name="Repository")
    where.fill("acme/open", timeout=PATIENCE)
    page.get_by_role("button", name="Push…", exact=True).click()
    expect(main).to_contain_text("acme/open is public", timeout=PATIENCE)
    expect(page.get_by_role("button", name="Push to the public repository…")).to_be_visible()
    check_page(page, "push-refused")

    hub.refusing["/commit/"] = (503, "busy")
    where.fill("acme/poet")
    page.get_by_role("button", name="Push…", exact=True).click()
    dialog = page.get_by_role("dialog", name="Push poet-merged to acme/poet?")
    expect(dialog).to_contain_text("as maria to acme/poet, a new private repository?", timeout=PATIENCE)
    dialog.get_by_text(re.compile(r"^\d+ files$")).click()
    expect(dialog).to_contain_text("model.safetensors")
    check_page(page, "push-question")
    assert set(hub.repositories) == {"acme/open"}
    dialog.get_by_role("button", name="Push as maria").click()
    expect(main).to_contain_text("The hub answered 503 for acme/poet", timeout=PATIENCE)
    sent = sum(hub.received.values())

    hub.refusing.clear()
    page.reload()
    expect(where).to_have_value("acme/poet", timeout=PATIENCE)
    page.get_by_role("button", name="Push…", exact=True).click()
    page.get_by_role("button", name="Push as maria").click(timeout=PATIENCE)
    link = page.get_by_role("link", name="Open acme/poet")
    expect(link).to_have_attribute("href", f"{hub.url}/acme/poet", timeout=PATIENCE)
    check_page(page, "push-done")
    folder = app.home / "exports" / "poet-merged"
    assert hub.repositories["acme/poet"]["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert hub.private["acme/poet"]
    assert sum(hub.received.values()) == sent, "nothing was sent twice"
    assert TOKEN not in page.content() + "".join(app.output)


def test_an_export_that_is_not_what_was_trained_is_shown_as_failed(page: Page, app: LiveServer) -> None:
    """The adapter is added to a copy of its base that has been damaged."""
    page.goto(f"{app.url}/results/export?adapter=poet&form=merged")
    page.get_by_text("More settings").click()
    page.get_by_role("textbox", name="Name").fill("spoilt")
    page.get_by_role("combobox", name="Add it to").select_option("broken")
    page.get_by_role("button", name="Export", exact=True).click(timeout=PATIENCE)
    expect(page).to_have_url(re.compile(r"/results/exports/spoilt$"), timeout=PATIENCE)
    main = page.get_by_role("main")
    expect(main).to_contain_text("Failed: these files are not what was trained.", timeout=PATIENCE)
    expect(main).not_to_contain_text("Passed")
    expect(main).not_to_contain_text("Use it elsewhere")
    expect(main).not_to_contain_text("Push to the hub")
    assert not certificates.read(app.home / "exports" / "spoilt").passed
    check_page(page, "export-failed")
    page.goto(f"{app.url}/results/exports")
    expect(page.get_by_role("listitem").filter(has_text="spoilt")).to_contain_text("Failed", timeout=PATIENCE)


def test_what_a_form_cannot_hold_leads_to_one_that_can(page: Page, app: LiveServer) -> None:
    """The tiny tokenizer has no place in GGUF files."""
    page.goto(f"{app.url}/results/export?adapter=poet&form=gguf")
    button = page.get_by_role("button", name="MLX model")
    expect(page.get_by_role("button", name="Export", exact=True)).to_be_disabled()
    button.click(timeout=PATIENCE)
    expect(page.get_by_role("radio", name=re.compile("MLX model"))).to_be_checked()
    expect(page.get_by_role("button", name="Export", exact=True)).to_be_enabled(timeout=PATIENCE)


def check_page(page: Page, name: str) -> None:
    """Hold a page against axe's rules and its widths, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in ((1440, 900), (768, 1024), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            check_width(page)
            shot(page, f"{name}-{width}-{scheme}")
            check_accessibility(page)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1440, "height": 900})
