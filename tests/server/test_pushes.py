"""Pushing an export to a hub over HTTP: looked at, agreed to, sent, called off, sent again; against a stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from droidft.home import Home
from tests.adapters.exports.test_pushing import export
from tests.models.hub_uploads import TOKEN, UploadServer, serve_uploads
from tests.server import questions
from tests.server.questions import error, finished
from tests.server.serving import serving

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, UploadServer, Home]]:
    """A server, the hub that its processes know, and a home folder with an export that passed and one that failed."""
    folder = tmp_path_factory.mktemp("pushes") / "home"
    with questions.kept_home(folder) as home, serve_uploads() as hub, pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE")
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setenv("HF_ENDPOINT", hub.url)
        exports = Home(home).exports
        export(exports / "good")
        export(exports / "bad", exported=2.1)
        with serving(home) as asker:
            yield asker, hub, Home(home)


@pytest.fixture
def asker(served: tuple[TestClient, UploadServer, Home]) -> TestClient:
    return served[0]


@pytest.fixture
def hub(served: tuple[TestClient, UploadServer, Home]) -> UploadServer:
    """The hub, empty."""
    found = served[1]
    for kept in (found.repositories, found.private, found.objects, found.received, found.heads, found.refusing):
        kept.clear()
    found.requests.clear()
    found.busy = (0, "", 0)
    return found


@pytest.fixture
def home(served: tuple[TestClient, UploadServer, Home]) -> Home:
    return served[2]


def planned(asker: TestClient, name: str = "good", **more: Any) -> dict[str, Any]:
    answer = asker.post(f"/api/exports/{name}/push-plan", json={"repo_id": "acme/tiny", **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def begun(asker: TestClient, agreed: str, **more: Any) -> dict[str, Any]:
    answer = asker.post("/api/exports/good/push", json={"repo_id": "acme/tiny", "agreed": agreed, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def pushed(asker: TestClient, agreed: str, **more: Any) -> dict[str, Any]:
    """The job of a push, once it has ended."""
    return finished(asker, begun(asker, agreed, **more))


def test_it_is_looked_at_agreed_to_and_sent(
    asker: TestClient, hub: UploadServer, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    found = planned(asker)
    assert found["refusal"] is None
    plan = found["plan"]
    assert (plan["user"], plan["repo_id"], plan["exists"], plan["private"]) == ("maria", "acme/tiny", False, True)
    folder = home.exports / "good"
    assert plan["files"] == {file.name: file.stat().st_size for file in folder.iterdir()}
    assert plan["question"].startswith("Push 4 files (")
    assert plan["question"].endswith(" as maria to acme/tiny, a new private repository?")
    assert not hub.repositories

    job = pushed(asker, plan["question"])
    assert job["state"] == "done", job
    assert job["title"] == "good to acme/tiny"
    assert (job["pushed"]["url"], job["pushed"]["bytes"]) == (f"{hub.url}/acme/tiny", plan["bytes"])
    assert hub.private == {"acme/tiny": True}
    held = hub.repositories["acme/tiny"]
    assert {name: held[name] for name in plan["files"]} == {file.name: file.read_bytes() for file in folder.iterdir()}
    shown = asker.get("/api/jobs").text + "".join(capfd.readouterr())
    assert TOKEN not in shown


def test_one_that_failed_is_refused_before_the_hub_hears_of_it(asker: TestClient, hub: UploadServer) -> None:
    found = planned(asker, "bad")
    assert found["plan"] is None
    assert "bad did not pass its check: failed" in found["refusal"]["message"]
    answer = asker.post("/api/exports/bad/push", json={"repo_id": "acme/tiny", "agreed": "yes"})
    assert error(answer, 424) == found["refusal"]
    assert hub.requests == []
    assert error(asker.post("/api/exports/gone/push-plan", json={"repo_id": "acme/tiny"}), 404)


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ({"repo_id": "nothing"}, "repo_id", "is not a hub id"),
        ({"repo_id": "other/tiny"}, None, "you are signed in as maria, who does not belong to other"),
        ({"repo_id": "acme/open"}, "private", "acme/open is public"),
        ({"repo_id": "acme/work"}, "overwrite", "acme/work holds something else: notes.txt"),
    ],
)
def test_what_is_refused_names_its_reason_and_the_setting(
    asker: TestClient, hub: UploadServer, wanted: dict[str, Any], field: str | None, message: str
) -> None:
    hub.repositories |= {"acme/open": {}, "acme/work": {"notes.txt": b"mine"}}
    hub.private |= {"acme/open": False, "acme/work": True}
    refusal = planned(asker, **wanted)["refusal"]
    assert refusal["field"] == field
    assert message in refusal["message"]
    assert refusal["hint"]
    if field in ("private", "overwrite"):
        allowed = planned(asker, **wanted, private=False, overwrite=True)
        assert allowed["plan"]["question"].endswith("?" if field == "private" else "equal names are replaced.")


def test_nothing_is_sent_but_what_was_agreed_to(asker: TestClient, hub: UploadServer) -> None:
    agreed = planned(asker)["plan"]["question"]
    hub.repositories["acme/tiny"], hub.private["acme/tiny"] = {}, True
    job = pushed(asker, agreed)
    assert job["state"] == "failed"
    assert "acme/tiny was changed since you were asked" in job["error"]["message"]
    assert hub.repositories["acme/tiny"] == {}
    assert pushed(asker, planned(asker)["plan"]["question"])["state"] == "done"


def test_after_a_refused_commit_nothing_is_sent_twice(asker: TestClient, hub: UploadServer) -> None:
    hub.refusing["/commit/"] = (503, "busy")
    job = pushed(asker, planned(asker)["plan"]["question"])
    assert job["state"] == "failed"
    assert "the hub answered 503 for acme/tiny" in job["error"]["message"]
    assert set(hub.repositories["acme/tiny"]) == {".gitattributes"}
    sent = sum(hub.received.values())
    assert sent > 0
    hub.refusing.clear()
    again = pushed(asker, planned(asker)["plan"]["question"])
    assert (again["state"], again["pushed"]["sent"]) == ("done", 0)
    assert sum(hub.received.values()) == sent


def test_called_off_it_ends_at_once_and_can_be_repeated(asker: TestClient, hub: UploadServer) -> None:
    agreed = planned(asker)["plan"]["question"]
    hub.busy = (503, "60", 9)
    job = begun(asker, agreed)
    while "busy" not in job["phase"]:
        assert job["state"] == "running", job
        job = asker.get(f"/api/jobs/{job['id']}").json()
    assert asker.delete(f"/api/jobs/{job['id']}").json()["state"] == "cancelled"
    assert not hub.repositories
    hub.busy = (0, "", 0)
    assert pushed(asker, agreed)["state"] == "done"


def test_weights_that_were_changed_are_not_sent(asker: TestClient, hub: UploadServer, home: Home) -> None:
    folder, aside = home.exports / "good", home.root / "aside"
    shutil.copytree(folder, aside)
    agreed = planned(asker)["plan"]["question"]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    job = pushed(asker, agreed)
    assert "model.safetensors was changed since its certificate was made" in job["error"]["message"]
    shutil.rmtree(folder)
    aside.rename(folder)
