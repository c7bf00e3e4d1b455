"""The evaluation harness over HTTP (`local-completions`) against the harness on the loaded model itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from droidft.engine.model.loading import load_model, load_tokenizer
from tests.conftest import CACHE
from tests.server.listening import Listening, listening
from tests.tiny import write_model

pytest.importorskip("lm_eval")
pytest.importorskip("tenacity")

ASKED = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " London, and it lies by the river Thames"),
    ("2 + 2 =", " 4"),
    ("2 + 2 =", " zzz"),
    ("Ein Grüezi aus Zürich:", " ☕ später"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    write_model(folder / "models" / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Listening]:
    with listening(home) as running:
        yield running


@pytest.fixture
def remote(home: Path, server: Listening, monkeypatch: pytest.MonkeyPatch) -> Any:
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    monkeypatch.setenv("OPENAI_API_KEY", server.token)
    return LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions",
        model="tiny",
        tokenizer=str(home / "models" / "tiny"),
        tokenizer_backend="huggingface",
        batch_size=2,
        max_length=512,
        max_retries=1,
    )


@pytest.fixture(scope="module")
def local(home: Path) -> Any:
    from droidft.engine.evaluation.harness_model import HarnessModel

    folder = home / "models" / "tiny"
    return HarnessModel(load_model(folder)[0], load_tokenizer(folder), context_length=512)


def requests(kind: str, arguments: list[Any]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


def test_continuations_have_the_same_likelihood_over_http(remote: Any, local: Any) -> None:
    asked = requests("loglikelihood", ASKED)
    for (ours, ours_greedy), (theirs, theirs_greedy) in zip(
        local.loglikelihood(asked), remote.loglikelihood(asked, disable_tqdm=True), strict=True
    ):
        assert theirs == pytest.approx(ours, abs=1e-4)
        assert theirs_greedy is ours_greedy


def test_whole_texts_and_answers_are_the_same_over_http(remote: Any, local: Any) -> None:
    whole = requests("loglikelihood_rolling", [("The quick brown fox. " * 20,)])
    assert remote.loglikelihood_rolling(whole, disable_tqdm=True) == pytest.approx(
        local.loglikelihood_rolling(whole), rel=1e-5
    )
    options = {"until": ["zz"], "max_gen_toks": 20, "do_sample": False}
    answers = requests("generate_until", [(context, options) for context, _ in ASKED[::2]])
    assert remote.generate_until(answers, disable_tqdm=True) == local.generate_until(answers)
