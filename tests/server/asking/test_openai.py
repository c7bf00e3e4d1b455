"""The `openai` client from PyPI against a server that really listens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.adapters.files import edit_config, write_adapter
from tests.conftest import CACHE
from tests.server.listening import Listening, listening
from tests.tiny import llama, write_model

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
ENDLESS: dict[str, Any] = {"temperature": 0, "max_tokens": 100_000, "stream": True}
"""Greedy, since a sampled answer would come upon the end token by chance."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "cache").symlink_to(CACHE, target_is_directory=True)
    write_model(folder / "models" / "tiny")
    write_model(folder / "models" / "other", seed=2)
    write_model(folder / "models" / "endless", seed=3, max_position_embeddings=1_000_000, eos_token_id=[])
    hub = folder / "hub" / "models--org--cached"
    write_model(hub / "snapshots" / "0a1b", seed=4)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0a1b")
    for name, base in (("poet", str(folder / "models" / "tiny")), ("guest", "org/cached")):
        write_adapter(folder / "adapters" / name, llama(), config={"model": base})
    write_adapter(folder / "adapters" / "poet", llama(), strength=0.6, name="best_adapters.safetensors")
    edit_config(folder / "adapters" / "poet", model=str(folder / "models" / "tiny"))
    write_adapter(folder / "adapters" / "stray", llama())
    write_adapter(folder / "adapters" / "wide", llama(hidden_size=64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        yield folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Listening]:
    with listening(home) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Listening) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0, timeout=120) as made:
        yield made


def said(client: openai.OpenAI, model: str = "tiny", **options: Any) -> str:
    answer = client.chat.completions.create(
        **{"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 12, **options}
    )
    return answer.choices[0].message.content or ""


def test_models_and_adapters_are_listed(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == [
        "endless",
        "other",
        "tiny",
        "tiny:poet",
        "tiny:poet@best",
        "tiny:poet@latest",
        "org/cached",
        "org/cached:guest",
        "org/cached:guest@latest",
    ]
    for name in listed:
        assert client.models.retrieve(name).id == name
        assert said(client, name, max_tokens=2) is not None
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_wrong_token_is_refused(server: Listening) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_whole_answer(client: openai.OpenAI, server: Listening) -> None:
    answer = client.chat.completions.create(
        model="tiny:poet", messages=HELLO, temperature=0, max_tokens=12, seed=3, user="me", metadata={"a": "b"}
    )
    native = server.post(
        "/api/models/inference",
        {"prompt": "hello", "model_name": "tiny", "adapter_name": "poet", "temperature": 0, "max_tokens": 12},
    ).json()
    choice = answer.choices[0]
    assert (answer.object, answer.model, choice.index) == ("chat.completion", "tiny:poet", 0)
    assert (choice.message.role, choice.message.content) == ("assistant", native["response"])
    assert choice.finish_reason == native["finish_reason"] == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == native["prompt_tokens"]
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (12, 12 + native["prompt_tokens"])
    extra = (answer.model_extra or {})["droidft"]
    assert extra["seed"] == 3
    assert extra["adapter_details"] == native["adapter_details"]


def test_each_of_an_adapters_weights_can_be_addressed(client: openai.OpenAI) -> None:
    texts = {name: said(client, name) for name in ("tiny", "tiny:poet@latest", "tiny:poet@best")}
    assert len(set(texts.values())) == 3
    assert said(client, "tiny:poet") == texts["tiny:poet@best"]


@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_answer_is_the_whole_one(client: openai.OpenAI, usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, temperature=0, max_tokens=12, stream=True, **options
        )
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == said(client)
    assert len([text for text in texts if text]) > 3, "in pieces"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert (reasons[-1], set(reasons[:-1])) == ("length", {None})
    counted = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [found.completion_tokens for found in counted] == ([12] if usage else [])
    assert (chunks[-1].choices == []) is usage


def test_the_stream_ends_as_the_protocol_has_it(server: Listening) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stream": True}
    response = server.post("/v1/chat/completions", body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("}\n\ndata: [DONE]\n\n")
    assert all(line.startswith("data: ") for line in response.text.split("\n\n")[:-1])


def test_a_stream_that_breaks_is_an_error_of_the_client(client: openai.OpenAI, server: Listening) -> None:
    answer = client.chat.completions.create(model="endless", messages=HELLO, **ENDLESS)
    for _ in range(3):
        next(answer)
    assert server.answers.child.pid is not None
    os.kill(server.answers.child.pid, signal.SIGKILL)
    with answer, pytest.raises(openai.APIError, match="ended in the middle"):
        list(answer)
    assert said(client)


def test_a_stream_that_is_closed_ends_the_answer(client: openai.OpenAI, server: Listening) -> None:
    answer = client.chat.completions.create(model="endless", messages=HELLO, **ENDLESS)
    next(iter(answer))
    pid = server.answers.child.pid
    answer.close()
    assert server.wait_until_idle() < 2
    assert server.answers.child.pid == pid


def test_the_clients_own_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="tiny", messages=HELLO, temperature=0, max_tokens=12) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.current_completion_snapshot
    assert "".join(pieces) == final.choices[0].message.content == said(client)


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_continued_as_it_is(client: openai.OpenAI, stream: bool) -> None:
    answer: Any = client.completions.create(
        model="tiny:poet", prompt="hello", temperature=0, max_tokens=9, stream=stream
    )
    if stream:
        chunks = list(answer)
        text, reason = "".join(chunk.choices[0].text for chunk in chunks), chunks[-1].choices[0].finish_reason
        details = chunks[0].model_extra["droidft"]["adapter_details"]
    else:
        text, reason = answer.choices[0].text, answer.choices[0].finish_reason
        details = answer.model_extra["droidft"]["adapter_details"]
        assert answer.usage.prompt_tokens == 5, "no template around it"
    assert reason == "length"
    assert text
    assert details["chat_template_used"] is False
    listed: Any = client.completions.create(model="tiny:poet", prompt=["hello"], temperature=0, max_tokens=9)
    assert listed.choices[0].text == text


def test_seed_and_temperature(client: openai.OpenAI) -> None:
    drawn = {said(client, temperature=1.5, seed=seed) for seed in (1, 1, 2, 3)}
    assert 1 < len(drawn) <= 3
    assert said(client, temperature=1.5, seed=1) == said(client, temperature=1.5, seed=1)
    assert said(client, temperature=5.0, seed=1, top_p=1e-6) == said(client), "only the likeliest is left"
    assert said(client, temperature=5.0, seed=1, extra_body={"top_k": 1}) == said(client)


def test_penalties_change_a_repetition(client: openai.OpenAI) -> None:
    plain = said(client, max_tokens=60)
    for penalty in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert said(client, max_tokens=60, **penalty) != plain


def test_both_names_of_the_limit(client: openai.OpenAI) -> None:
    for options in ({"max_tokens": 3}, {"max_tokens": openai.NOT_GIVEN, "max_completion_tokens": 3}):
        answer = client.chat.completions.create(model="tiny", messages=HELLO, **options)  # type: ignore[arg-type]
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_stop_texts_end_an_answer_also_across_tokens(client: openai.OpenAI, stream: bool) -> None:
    whole = said(client, "tiny:poet@latest", max_tokens=60)
    stop = whole[10:14]
    assert len(stop) == 4
    for given in (stop, ["never said", stop]):
        answer: Any = client.chat.completions.create(
            model="tiny:poet@latest", messages=HELLO, temperature=0, max_tokens=60, stop=given, stream=stream
        )
        if stream:
            chunks = list(answer)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            reason = chunks[-1].choices[0].finish_reason
        else:
            text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert (text, reason) == (whole[: whole.index(stop)], "stop")


def test_conversations(client: openai.OpenAI) -> None:
    turns: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
    ]
    first = client.chat.completions.create(model="tiny", messages=turns, temperature=0, max_tokens=5)
    turns[0]["role"] = "developer"
    turns[3]["content"] = "c\nd"
    second = client.chat.completions.create(model="tiny", messages=turns, temperature=0, max_tokens=5)
    assert first.choices == second.choices
    assert first.usage == second.usage


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": False, "top_logprobs": 0}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"extra_body": {"logprobs": 1}}, "logprobs"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    ({"logit_bias": {"272": 1}}, "logit_bias"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a.[key]"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"store": True}, "store"),
    ({"verbosity": "low"}, "verbosity"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"max_completion_tokens": 5}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"extra_body": {"temprature": 0}}, "temprature"),
    ({"extra_body": {"max_completion_length": 5}}, "max_completion_length"),
    ({"extra_body": {"best_of": 2}}, "best_of"),
    ({"extra_body": {"max_tokens": "4"}}, "max_tokens"),
    ({"extra_body": {"max_tokens": True}}, "max_tokens"),
    ({"extra_body": {"max_tokens": 4.0}}, "max_tokens"),
    ({"extra_body": {"temperature": "0"}}, "temperature"),
    ({"extra_body": {"stream": "yes"}}, "stream"),
    ({"extra_body": {"seed": -1}}, "seed"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
        "messages.0.content.0",
    ),
    ({"messages": [{"role": "user", "content": "x", "images": ["a.png"]}]}, "messages.0.content"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}], "content": ""}]}, "messages.0.tool_calls"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
]


@pytest.mark.parametrize(("options", "field"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, options: Any, field: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        said(client, **options)
    error = caught.value
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert error.param is not None
    assert (error.type, error.param.startswith(field)) == ("invalid_request_error", True), error.param
    assert error.code in ("config", "invalid")
    assert error.body["message"] in str(error)


def test_what_asks_for_nothing_is_ignored(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "n": 1,
        "tools": [],
        "logprobs": False,
        "response_format": {"type": "text"},
        "store": False,
        "service_tier": "auto",
        "logit_bias": {},
        "user": "me",
        "parallel_tool_calls": False,
    }
    assert said(client, **options) == said(client)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("nobody", openai.NotFoundError),
        ("tiny:nobody", openai.NotFoundError),
        ("tiny:stray@best", openai.NotFoundError),
        ("tiny:wide", openai.BadRequestError),
        ("tiny:../poet", openai.BadRequestError),
        ("/etc", openai.PermissionDeniedError),
    ],
)
def test_models_that_cannot_answer(
    client: openai.OpenAI, model: str, kind: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(kind):
        client.chat.completions.create(model=model, messages=HELLO, stream=stream, max_tokens=2)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt.0"),
        ({"prompt": ["a", ""]}, "prompt.1"),
        ({"prompt": ["a", 5]}, "prompt.1"),
        ({"prompt": [1, 2.5]}, "prompt.0"),
        ({"prompt": [True, False]}, "prompt.0"),
        ({"prompt": [1, 272]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1] * 512}, "prompt"),
        ({"prompt": ["a"] * 257}, "prompt"),
        ({"n": 100, "prompt": ["a"] * 3}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"extra_body": {"echo": 1}}, "echo"),
    ],
)
def test_texts_that_cannot_be_continued_are_refused(client: openai.OpenAI, options: Any, field: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": "tiny", "prompt": "a", "max_tokens": 2, **options})
    assert caught.value.param == field
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_beyond_the_context_has_the_code_that_clients_know(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"600 tokens, and the model's context is 512") as caught:
        client.completions.create(model="tiny", prompt=[1] * 600)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "code"),
    [
        ("/v1/nothing", {}, 404, "invalid_request_error", "unknown_url"),
        ("/v1/models", {}, 405, "invalid_request_error", "method_not_allowed"),
        ("/v1/chat/completions", {"model": "tiny"}, 400, "invalid_request_error", "invalid"),
        (
            "/v1/chat/completions",
            {"model": "nobody", "messages": HELLO},
            404,
            "invalid_request_error",
            "model_not_found",
        ),
    ],
)
def test_errors_have_openai_s_shape(
    server: Listening, path: str, body: dict[str, Any], status: int, kind: str, code: str
) -> None:
    answer = server.post(path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)
    assert error.keys() == {"message", "type", "param", "code"}


def test_a_key_is_needed_and_its_lack_is_an_error_of_the_client(server: Listening) -> None:
    for method in ("GET", "HEAD"):
        refused = httpx2.request(method, f"{server.url}/v1/models")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert server.client.request(method, "/v1/models").status_code == 200
    error = httpx2.get(f"{server.url}/v1/models").json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
