"""Thousands of requests made from the OpenAPI document: no defect shows, and answers are as the document says."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from droidft.home import Home
from droidft.server.main import create_app
from droidft.server.options import Options
from tests.server.furnished import Furnished, furnish
from tests.server.listening import Listening, listening

EXAMPLES = int(os.environ.get("DROIDFT_FUZZ", "12"))
"""Requests for each operation, besides those that try out every limit in the document."""

SCHEMA = schemathesis.openapi.from_dict(create_app(Options(home=Home(Path("nowhere")))).openapi())
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    not_a_server_error,
]
STATUSES: Counter[int] = Counter()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    return furnish(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def server(known: Furnished) -> Iterator[Listening]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("DROIDFT_HOME", str(known.home))
        with listening(known.home, parallel=0) as running:
            yield running


@pytest.fixture(scope="module")
def session(server: Listening) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        opened.headers["Authorization"] = f"Bearer {server.token}"
        yield opened


ANSWERS = {"infer", "compareStream", "createChatCompletion", "createCompletion"}
TURN = itertools.count()


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_ends_in_a_defect(
    case: schemathesis.Case, server: Listening, session: requests.Session, known: Furnished
) -> None:
    if next(TURN) % 2:
        make_sense(case, known)
    tame(case)
    response = case.call(base_url=server.url, session=session, timeout=60)
    STATUSES[response.status_code] += 1
    case.validate_response(response, checks=CHECKS)


def test_many_requests_were_sent_and_some_of_them_succeeded() -> None:
    print(sum(STATUSES.values()), sorted(STATUSES.items()))
    assert sum(STATUSES.values()) > 500
    assert {200, 400, 404} <= STATUSES.keys()


def make_sense(case: schemathesis.Case, known: Furnished) -> None:
    """Put names that mean something in the place of invented ones: further inside are other defects."""
    for group in (case.path_parameters, case.query, case.body):
        if isinstance(group, dict):
            for name in list(group):
                value = known.value(name)
                if value is not None:
                    group[name] = value


def tame(case: schemathesis.Case) -> None:
    """Keep a request from taking minutes for good reasons, and the furniture from being carried out."""
    if isinstance(case.body, dict):
        if case.operation.definition.raw["operationId"] in ANSWERS:
            case.body.setdefault("max_tokens", 4)
        for name in ("max_tokens", "max_completion_tokens", "n"):
            if isinstance(case.body.get(name), int | float):
                case.body[name] = min(case.body[name], 4)
    if case.method == "DELETE" and isinstance(case.path_parameters, dict):
        kept: Any = known_names()
        for name, value in case.path_parameters.items():
            if value in kept:
                case.path_parameters[name] = f"{value}2"


def known_names() -> set[str]:
    """Names that no request may delete."""
    return {"till", "tiny", "chat.jsonl"}
