"""Data over HTTP: uploads that leave nothing half done, checks with all their figures, the token view."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from droidft.config import TrainingConfig
from droidft.data.prepare import prepare
from droidft.engine.model.loading import load_tokenizer
from droidft.errors import StorageError
from droidft.home import Home
from droidft.runs import folder as runs
from droidft.server.errors import TooLarge
from droidft.server.files import uploads
from tests import tiny
from tests.server import questions
from tests.server.questions import error, finished, upload
from tests.server.serving import serving

ROW = b'{"text": "some words to learn"}\n'


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with questions.kept_home(tmp_path_factory.mktemp("data") / "home") as home:
        tiny.write_model(home / "models" / "tiny")
        with serving(home, upload_limit=1_000_000) as found:
            yield found


@pytest.fixture
def data(asker: TestClient) -> Path:
    """The folder where data files lie."""
    return Path(os.environ["DROIDFT_HOME"]) / "data"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_example_is_written_once_with_the_settings_of_the_demo(asker: TestClient, data: Path) -> None:
    values = asker.post("/api/data/example").json()["values"]
    train, valid = Path(values["train_data_path"]), Path(values["val_data_path"])
    assert (train, valid) == (data / "orders" / "train.jsonl", data / "orders" / "valid.jsonl")
    assert TrainingConfig.model_validate(values).mask_prompt
    written = train.stat().st_mtime_ns
    assert asker.post("/api/data/example").json()["values"] == values
    assert train.stat().st_mtime_ns == written
    shutil.rmtree(train.parent)


class TestUploads:
    def test_a_file_arrives_and_is_listed(self, asker: TestClient, data: Path) -> None:
        answer = upload(asker, "rows.jsonl", ROW * 3)
        assert answer.status_code == 201
        stored = answer.json()
        assert (stored["name"], stored["bytes"]) == ("rows.jsonl", 3 * len(ROW))
        assert Path(stored["path"]).read_bytes() == ROW * 3
        assert Path(stored["path"]).stat().st_mode & 0o777 == 0o600
        assert asker.get("/api/data").json()[0] == stored

    def test_a_taken_name_gets_a_number(self, asker: TestClient, data: Path) -> None:
        contents = [b"%d\n" % number + ROW for number in range(3)]
        names = [upload(asker, "twice.jsonl", content).json()["name"] for content in contents]
        assert names == ["twice.jsonl", "twice-2.jsonl", "twice-3.jsonl"]
        assert [(data / name).read_bytes() for name in names] == contents

    def test_the_longest_name_still_gets_a_number(self, asker: TestClient) -> None:
        name = "a" * 94 + ".jsonl"
        assert [len(upload(asker, name, ROW).json()["name"]) for _ in range(3)] == [100, 100, 100]

    def test_uploads_at_once_never_overwrite_each_other(self, data: Path) -> None:
        async def all_at_once() -> list[str]:
            async def chunks(number: int) -> AsyncIterator[bytes]:
                yield b"%d\n" % number
                await asyncio.sleep(0)
                yield ROW

            stored = [uploads.store(data, "race.jsonl", chunks(n), limit=1000) for n in range(20)]
            return [file.name for file in await asyncio.gather(*stored)]

        names = asyncio.run(all_at_once())
        assert len(set(names)) == 20
        contents = {(data / name).read_bytes() for name in names}
        assert contents == {b"%d\n" % number + ROW for number in range(20)}

    @pytest.mark.parametrize(
        ("name", "content", "status", "code"),
        [
            ("empty.jsonl", b"", 400, "config"),
            ("model.safetensors", b"x", 400, "config"),
            ("noform", b"x", 400, "config"),
            ("big.jsonl", b"x" * 1_000_001, 413, "too_large"),
            (".hidden.jsonl", b"x", 400, "invalid"),
            ("a b.jsonl", b"x", 400, "invalid"),
            ("a" * 96 + ".jsonl", b"x", 400, "invalid"),
            ("ä.jsonl", b"x", 400, "invalid"),
        ],
    )
    def test_what_is_refused_leaves_nothing(
        self, asker: TestClient, data: Path, name: str, content: bytes, status: int, code: str
    ) -> None:
        before = files(data)
        assert error(upload(asker, name, content), status)["code"] == code
        assert files(data) == before

    def test_a_body_that_grows_beyond_the_limit_leaves_nothing(self, data: Path) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100_000

        before = files(data)
        with pytest.raises(TooLarge, match="1,000,000 bytes"):
            asyncio.run(uploads.store(data, "endless.jsonl", endless(), limit=1_000_000))
        assert files(data) == before

    def test_a_client_that_goes_leaves_nothing(self, data: Path) -> None:
        async def cut() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"x" * 100_000
            assert [name for name in files(data) if name.endswith(".part")], "it is written as it comes"
            raise ClientDisconnect

        before = files(data)
        with pytest.raises(ClientDisconnect):
            asyncio.run(uploads.store(data, "cut.jsonl", cut(), limit=10_000_000))
        assert files(data) == before

    def test_a_disk_without_room_is_said_before_a_byte_is_taken(self, data: Path) -> None:
        async def never() -> AsyncIterator[bytes]:
            pytest.fail("no byte should be asked for")
            yield b""

        with pytest.raises(StorageError, match="is free") as caught:
            asyncio.run(uploads.store(data, "huge.jsonl", never(), limit=2**62, length=2**60))
        assert "DROIDFT_HOME" in caught.value.hint

    def test_what_a_killed_upload_left_is_removed_in_time(self, asker: TestClient, data: Path) -> None:
        old, fresh = data / ".0123.part", data / ".4567.part"
        old.write_bytes(ROW)
        fresh.write_bytes(ROW)
        os.utime(old, (0, time.time() - 2 * uploads.STALE_SECONDS))
        upload(asker, "next.jsonl", ROW)
        assert (old.exists(), fresh.exists()) == (False, True)
        fresh.unlink()

    def test_files_are_removed_unless_a_run_needs_them(self, asker: TestClient, data: Path) -> None:
        upload(asker, "gone.jsonl", ROW)
        assert asker.delete("/api/data/files/gone.jsonl").status_code == 204
        assert not (data / "gone.jsonl").exists()
        error(asker.delete("/api/data/files/gone.jsonl"), 404)
        path = upload(asker, "needed.jsonl", ROW * 8).json()["path"]
        supervisor = asker.app.state.droidft.supervisor  # type: ignore[attr-defined]
        created = runs.create(Home(data.parent), TrainingConfig(model_path="tiny", train_data_path=path))
        supervisor._store.enqueue(created.id, "start")
        supervisor._parallel = 0
        until = time.monotonic() + 20
        while created.id not in supervisor.views and time.monotonic() < until:
            time.sleep(0.05)
        told = error(asker.delete("/api/data/files/needed.jsonl"), 409)
        assert created.id in told["message"]
        assert (data / "needed.jsonl").exists()


class TestChecks:
    def check(self, asker: TestClient, name: str, *, model: str | None = "tiny", **settings: Any) -> dict[str, Any]:
        body = {"train_data_path": name, "model_path": model, "settings": settings}
        answer = asker.post("/api/data/check", json=body)
        assert answer.status_code == 202, answer.text
        return finished(asker, answer.json())

    def test_without_a_model_the_structure(self, asker: TestClient, data: Path) -> None:
        tiny.write_chat(data / "chat.jsonl", rows=12)
        job = self.check(asker, "chat.jsonl", model=None)
        assert (job["state"], job["kind"], job["error"]) == ("done", "check", None)
        found = job["check"]
        assert (found["ok"], found["fault_count"], found["tokens"], found["plan"]) == (True, 0, None, None)
        assert (found["structure"]["train"]["rows"], found["structure"]["train"]["format"]) == (12, "chat")
        assert job["done"] == job["total"] == (data / "chat.jsonl").stat().st_size

    def test_with_a_model_what_training_would_see(self, asker: TestClient, data: Path) -> None:
        path = tiny.write_chat(data / "both.jsonl", rows=40)
        settings = {"mask_prompt": True, "batch_size": 4, "grad_accumulation_steps": 2, "epochs": 1.5, "seed": 3}
        found = self.check(asker, "both.jsonl", **settings)["check"]
        config = TrainingConfig(model_path="tiny", train_data_path=str(path), **settings)
        tokenizer = load_tokenizer(data.parent / "models" / "tiny")
        report = prepare(config, tokenizer, context_length=512).report
        assert found["tokens"]["train"]["tokens"] == report.train.tokens
        assert found["tokens"]["train"]["supervised_tokens"] == report.train.supervised_tokens
        assert found["tokens"]["data_hash"] == report.data_hash
        assert sum(part["rows"] for part in found["tokens"]["train"]["histogram"]) == 36
        # 36 rows in batches of 4, two of them a step: 5 steps an epoch, the last one smaller.
        assert found["plan"] == {"steps": 8, "steps_per_epoch": 5, "epochs": 1.6, "effective_batch": 8}

    def test_a_faulty_file_is_a_check_that_went_well(self, asker: TestClient, data: Path) -> None:
        (data / "faulty.jsonl").write_bytes(ROW + b'{"text": }\n' * 250)
        job = self.check(asker, "faulty.jsonl")
        assert (job["state"], job["error"]) == ("done", None)
        found = job["check"]
        assert (found["ok"], found["fault_count"], len(found["faults"])) == (False, 250, 100)
        assert found["faults"][0]["line"] == 2
        assert found["faults"][0]["offset"] is not None
        assert found["faults"][0]["fix"]
        assert found["tokens"] is None

    def test_a_set_too_small_to_split_is_a_fault_of_the_whole(self, asker: TestClient, data: Path) -> None:
        (data / "one.jsonl").write_bytes(ROW)
        (fault,) = self.check(asker, "one.jsonl")["check"]["faults"]
        assert (fault["line"], fault["reason"]) == (None, "1 row is too few to hold one out for validation")

    def test_a_model_that_is_not_here_leaves_the_structure(self, asker: TestClient, data: Path) -> None:
        tiny.write_chat(data / "alone.jsonl")
        job = self.check(asker, "alone.jsonl", model="org/absent")
        assert job["check"]["structure"]["train"]["rows"] == 40
        assert job["check"]["token_problem"]["code"] == "download"
        job = self.check(asker, "alone.jsonl", model="tiyn")
        assert job["check"]["token_problem"]["code"] == "not_found"
        assert "tiny" in job["check"]["token_problem"]["hint"]

    def test_settings_that_do_not_fit_the_data_fail_by_name(self, asker: TestClient, data: Path) -> None:
        (data / "plain.jsonl").write_bytes(ROW * 5)
        job = self.check(asker, "plain.jsonl", mask_prompt=True)
        assert (job["state"], job["check"]["structure"]["train"]["rows"]) == ("failed", 5)
        assert (job["error"]["code"], job["error"]["field"]) == ("config", "mask_prompt")

    @pytest.mark.alone
    def test_an_equal_check_of_an_unchanged_file_is_not_done_again(self, asker: TestClient, data: Path) -> None:
        path = tiny.write_chat(data / "same.jsonl")
        first = self.check(asker, "same.jsonl")
        start = time.perf_counter()
        again = self.check(asker, "same.jsonl")
        assert time.perf_counter() - start < 1
        assert again["id"] != first["id"]
        assert (again["check"], again["phase"]) == (first["check"], "")
        assert self.check(asker, "same.jsonl", seed=1)["phase"] == "counting tokens", "other settings"
        with path.open("ab") as file:
            file.write(path.read_bytes().splitlines(keepends=True)[0])
        changed = self.check(asker, "same.jsonl")
        assert (changed["phase"], changed["check"]["structure"]["train"]["rows"]) == ("counting tokens", 41)

    def test_other_settings_of_a_draft_do_not_matter_here(self, asker: TestClient, data: Path) -> None:
        tiny.write_chat(data / "draft.jsonl")
        assert self.check(asker, "draft.jsonl", lora_rank="x", learning_rate=None)["state"] == "done"

    @pytest.mark.parametrize(
        ("body", "status", "code", "field"),
        [
            ({"train_data_path": "absent.jsonl"}, 404, "not_found", "train_data_path"),
            ({"train_data_path": "/etc/hosts.jsonl"}, 403, "forbidden_path", "train_data_path"),
            ({"train_data_path": "rows.jsonl", "val_data_path": "/etc/x"}, 403, "forbidden_path", "val_data_path"),
            ({"train_data_path": "rows.jsonl", "model_path": "/etc"}, 403, "forbidden_path", "model_path"),
            ({"train_data_path": "rows.jsonl", "settings": {"batch_size": 0}}, 400, "config", "batch_size"),
            ({"train_data_path": "rows.jsonl", "settings": {"bacth": 1}}, 400, "config", "bacth"),
        ],
    )
    def test_what_cannot_be_checked(
        self, asker: TestClient, data: Path, body: dict[str, Any], status: int, code: str, field: str
    ) -> None:
        (data / "rows.jsonl").write_bytes(ROW)
        told = error(asker.post("/api/data/check", json=body), status)
        assert (told["code"], told["field"]) == (code, field)

    def test_rows_token_by_token(self, asker: TestClient, data: Path) -> None:
        tiny.write_chat(data / "seen.jsonl")
        body = {"train_data_path": "seen.jsonl", "model_path": "tiny", "settings": {"mask_prompt": True}}
        found = asker.post("/api/data/view", json={**body, "rows": [2, 0, 2]}).json()
        assert ([row["row"] for row in found["rows"]], found["faults"]) == ([0, 2], [])
        written = json.loads((data / "seen.jsonl").read_text().splitlines()[2])["messages"]
        pieces = found["rows"][1]["pieces"]
        trained = "".join(piece["text"] for piece in pieces if piece["state"] == "trained")
        assert trained == written[1]["content"] + "<|im_end|>"
        assert error(asker.post("/api/data/view", json={**body, "rows": [99]}), 400)["hint"].startswith(
            "the data has"
        )
        error(asker.post("/api/data/view", json={**body, "rows": []}), 400)
        error(asker.post("/api/data/view", json={"train_data_path": "seen.jsonl", "rows": [0]}), 400)

    def test_rows_that_cannot_be_shown_say_why(self, asker: TestClient, data: Path) -> None:
        (data / "broken.jsonl").write_bytes(b'{"text": }\n')
        body = {"train_data_path": "broken.jsonl", "model_path": "tiny", "rows": [0]}
        found = asker.post("/api/data/view", json=body).json()
        assert (found["rows"], found["faults"][0]["line"]) == ([], 1)

    def test_names_that_no_answer_can_carry_do_no_harm(self, asker: TestClient, data: Path) -> None:
        folder = data / "odd"
        folder.mkdir()
        os.close(os.open(os.fsencode(folder) + b"/train-\xff.jsonl", os.O_CREAT | os.O_WRONLY))
        job = self.check(asker, str(folder), model=None)
        assert job["check"]["faults"][0]["kind"] == "empty"
        assert asker.get("/api/data").status_code == 200
