"""Likelihoods, echoes and choices over OpenAI's interface, against a forward pass of the whole text in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

from droidft.engine.model.loading import load_model, load_tokenizer
from tests.conftest import CACHE
from tests.server.listening import Listening, listening
from tests.tiny import write_model

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CLOSE = {"rtol": 0, "atol": 2e-5}


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


@pytest.fixture(scope="module")
def client(server: Listening) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="module")
def tokenizer(home: Path) -> Any:
    return load_tokenizer(home / "models" / "tiny")


@pytest.fixture(scope="module")
def model(home: Path) -> Any:
    return load_model(home / "models" / "tiny")[0]


def logprobs(model: Any, tokens: list[int]) -> NDArray[np.float64]:
    """(T, V): of every token of the vocabulary after each of T tokens, from one pass without a cache."""
    logits = np.array(model(mx.array([tokens]))[0].astype(mx.float32)).astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def text_of(client: openai.OpenAI, **options: Any) -> Any:
    return client.completions.create(**{"model": "tiny", "temperature": 0, "max_tokens": 8, **options})


def chat_of(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 8, **options}
    )


# Long enough to be read in several parts.
LONG = [5 + number * 7 % 200 for number in range(401)]


@pytest.mark.parametrize("prompt", [[72, 101, 108, 108, 111], LONG])
@pytest.mark.parametrize("top", [0, 1, 5])
def test_echoed_tokens_have_the_model_s_own_likelihood(
    client: openai.OpenAI, model: Any, prompt: list[int], top: int
) -> None:
    options = {"max_tokens": 3, "temperature": 2.0, "seed": 4, "logit_bias": ONLY_BYTES}
    choice = text_of(client, prompt=prompt, echo=True, logprobs=top, **options).choices[0]
    found = choice.logprobs
    ids = [*prompt, *(_id(text) for text in found.tokens[len(prompt) :])]
    wanted = logprobs(model, ids)
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(prompt) + 3
    assert (found.token_logprobs[0], found.top_logprobs[0]) == (None, None)
    for place in range(1, len(ids)):
        row = wanted[place - 1]
        np.testing.assert_allclose(found.token_logprobs[place], row[ids[place]], **CLOSE)
        likely = {}
        for token in [*np.argsort(-row)[:top], ids[place]]:
            likely.setdefault(min(token, 259), row[token])  # the rows from 259 on are of tokens without a text
        given = found.top_logprobs[place]
        np.testing.assert_allclose(sorted(given.values()), sorted(likely.values()), **CLOSE)
        assert found.token_logprobs[place] in given.values()


LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
ONLY_BYTES = {str(token): -100 for token in range(256, 272)}
"""A bias against tokens that stand for no text."""


def _id(text: str) -> int:
    """The tiny tokenizer's token for a byte."""
    raw = bytes([int(text[8:], 16)]) if text.startswith("bytes:\\x") else text.encode()
    assert len(raw) == 1
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # Its letter for a byte that is no character alone is found by what is left of the alphabet.
    if raw[0] < 128:
        return LETTERS.index(byte_level.pre_tokenize_str(text)[0][0])
    return LETTERS.index(letter_of(raw[0]))


def letter_of(byte: int) -> str:
    """As GPT-2 writes it: itself where it is printable, otherwise the next letter from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [other for other in range(256) if other not in printable].index(byte))


def test_sampled_tokens_have_the_likelihood_from_before_temperature_penalties_and_bias(
    client: openai.OpenAI, model: Any, tokenizer: Any
) -> None:
    options = {
        "temperature": 1.7,
        "presence_penalty": 1.5,
        "logit_bias": {**ONLY_BYTES, "70": 3},
        "seed": 11,
        "max_tokens": 20,
        "extra_body": {"repetition_penalty": 1.4, "top_k": 50},
    }
    answer = chat_of(client, logprobs=True, top_logprobs=3, **options)
    plain = chat_of(client, **options)
    assert plain.choices[0].message.content == answer.choices[0].message.content
    assert plain.choices[0].logprobs is None
    found = answer.choices[0].logprobs.content
    assert len(found) == answer.usage.completion_tokens == 20
    prompt = list(tokenizer.apply_chat_template(HELLO, add_generation_prompt=True))
    ids = [_id(each.token) for each in found]
    assert all(len(each.bytes) == 1 for each in found)
    wanted = logprobs(model, [*prompt, *ids])
    for place, each in enumerate(found, start=len(prompt)):
        np.testing.assert_allclose(each.logprob, wanted[place - 1][ids[place - len(prompt)]], **CLOSE)
        likely = [other.logprob for other in each.top_logprobs]
        np.testing.assert_allclose(likely, np.sort(wanted[place - 1])[::-1][:3], **CLOSE)


def test_an_echo_changes_nothing_about_its_continuation(client: openai.OpenAI) -> None:
    for options in (
        {"temperature": 0.0},
        {"temperature": 1.3, "seed": 3},
        {"frequency_penalty": 1.0, "presence_penalty": 0.5, "extra_body": {"repetition_penalty": 1.5}},
    ):
        plain = text_of(client, prompt="hello there", max_tokens=30, **options).choices[0]
        echoed = text_of(client, prompt="hello there", max_tokens=30, echo=True, logprobs=0, **options).choices[0]
        assert echoed.text == "hello there" + plain.text
        assert (
            text_of(client, prompt="hello there", max_tokens=30, echo=True, **options).choices[0].text == echoed.text
        )
        assert echoed.finish_reason == plain.finish_reason


def test_only_the_prompt(client: openai.OpenAI) -> None:
    answer = text_of(client, prompt="hello", echo=True, logprobs=1, max_tokens=0)
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason) == ("hello", "length")
    assert choice.logprobs.tokens == list("hello")
    assert choice.logprobs.text_offset == [0, 1, 2, 3, 4]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 0)
    whole = text_of(client, prompt=LONG + [9] * 111, echo=True, max_tokens=0)
    assert whole.usage.prompt_tokens == 512, "as long as the context"


def test_offsets_lie_in_the_text_and_tokens_make_it_up(client: openai.OpenAI) -> None:
    choice = text_of(client, prompt="Grüße ☕!", echo=True, logprobs=0, max_tokens=1).choices[0]
    found = choice.logprobs
    assert found.tokens[2:4] == ["bytes:\\xc3", "bytes:\\xbc"]
    for token, offset in zip(found.tokens, found.text_offset, strict=True):
        if not token.startswith("bytes:") and offset < len("Grüße ☕!"):
            assert choice.text[offset] == token
    assert found.text_offset == sorted(found.text_offset)


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_behind_a_stop_text_are_left_out(client: openai.OpenAI, stream: bool) -> None:
    whole = text_of(client, prompt="hello", max_tokens=40, logprobs=0).choices[0]
    stop = whole.text[6:9]
    given: Any = text_of(client, prompt="hello", max_tokens=40, logprobs=0, stop=stop, stream=stream)
    choices = [chunk.choices[0] for chunk in given] if stream else given.choices
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.tokens]
    text = "".join(choice.text for choice in choices)
    assert text == whole.text[: whole.text.index(stop)]
    assert tokens == whole.logprobs.tokens[: len(tokens)]
    assert len(tokens) < 40


def test_a_stream_holds_the_same_likelihoods(client: openai.OpenAI) -> None:
    whole = chat_of(client, logprobs=True, top_logprobs=2, n=2, temperature=1.1, seed=5)
    for index in range(2):
        chunks = [
            chunk.choices[0]
            for chunk in chat_of(client, logprobs=True, top_logprobs=2, n=2, temperature=1.1, seed=5, stream=True)
            if chunk.choices and chunk.choices[0].index == index
        ]
        found = [each for chunk in chunks if chunk.logprobs for each in chunk.logprobs.content]
        assert found == whole.choices[index].logprobs.content
        assert chunks[-1].finish_reason == whole.choices[index].finish_reason


@pytest.mark.parametrize("stream", [False, True])
def test_choices_are_those_that_their_seeds_give_alone(client: openai.OpenAI, stream: bool) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "max_tokens": 10}
    alone = [chat_of(client, seed=seed, **options).choices[0].message.content for seed in range(7, 13)]
    assert len(set(alone)) > 1
    more = {"stream_options": {"include_usage": True}} if stream else {}
    answer = chat_of(client, seed=7, n=6, stream=stream, **more, **options)
    if stream:
        texts, usage = [""] * 6, None
        for chunk in answer:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        assert [choice.index for choice in answer.choices] == list(range(6))
        texts, usage = [choice.message.content for choice in answer.choices], answer.usage
    assert texts == alone
    one = chat_of(client, seed=7, **options).usage
    assert usage is not None
    assert usage.prompt_tokens == one.prompt_tokens
    assert usage.completion_tokens <= 60
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_several_prompts_are_answered_in_order(client: openai.OpenAI, tokenizer: Any) -> None:
    texts = [f"prompt number {number}" for number in range(6)]
    alone = [text_of(client, prompt=text).choices[0].text for text in texts]
    together = text_of(client, prompt=texts)
    assert [choice.text for choice in together.choices] == alone
    assert together.usage.prompt_tokens == sum(len(tokenizer.encode(text)) for text in texts)
    as_tokens = text_of(client, prompt=[tokenizer.encode(text) for text in texts], n=2, best_of=2)
    assert [choice.text for choice in as_tokens.choices] == [text for text in alone for _ in range(2)]
    assert as_tokens.usage.prompt_tokens == together.usage.prompt_tokens


def test_a_bias_forces_and_forbids(client: openai.OpenAI) -> None:
    assert text_of(client, prompt="hello", logit_bias={str(_id("A")): 100}).choices[0].text == "A" * 8
    first = text_of(client, prompt="hello", logprobs=0).choices[0].logprobs.tokens[0]
    without = text_of(client, prompt="hello", logprobs=0, logit_bias={str(_id(first)): -100}).choices[0]
    assert first not in without.logprobs.tokens
