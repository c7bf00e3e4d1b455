from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from droidft.engine.generation.batch import Token
from droidft.engine.generation.generate import complete, generate, generate_batch
from droidft.engine.generation.prompt import make_prompt
from droidft.engine.generation.sampling import Sampling
from droidft.engine.generation.stops import Stops
from droidft.engine.model.loading import load_model, load_tokenizer
from droidft.errors import ConfigError, ModelError, NonFiniteError
from tests.tiny import write_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = write_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_model(folder)[0], load_tokenizer(folder)


def answer(steps: Iterator[Token]) -> tuple[str, list[int], str | None]:
    found = list(steps)
    assert all(step.finish_reason is None for step in found[:-1])
    return "".join(step.text for step in found), [step.token_id for step in found], found[-1].finish_reason


def test_the_same_seed_gives_the_same_answer_whatever_else_draws(loaded: tuple[Any, Any]) -> None:
    sampling = Sampling(max_tokens=20, temperature=1.5, top_p=1, min_p=0, top_k=0, seed=7)
    first = answer(generate(*loaded, "hello", sampling))
    mx.random.seed(123)
    interleaved = []
    other = generate(*loaded, "something else", Sampling(max_tokens=30, temperature=1.0, seed=8))
    for step in generate(*loaded, "hello", sampling):
        interleaved.append(step.token_id)
        next(other)
        mx.eval(mx.random.uniform(shape=(3,)))
    assert interleaved == first[1]
    assert len(first[1]) == 20
    assert first[2] == "length"
    assert (
        answer(
            generate(*loaded, "hello", Sampling(max_tokens=20, temperature=1.5, top_p=1, min_p=0, top_k=0, seed=9))
        )[1]
        != first[1]
    )


@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_whose_logits_are_not_finite_gives_no_answer(
    tmp_path: Path, damage: float, temperature: float
) -> None:
    folder = write_model(tmp_path / "damaged")
    model, tokenizer = load_model(folder)[0], load_tokenizer(folder)
    projection = model.layers[-1].mlp.down_proj
    projection.weight = projection.weight * damage
    with pytest.raises(NonFiniteError, match="logits are NaN or infinite at token 1 of the answer"):
        next(generate(model, tokenizer, "hello", Sampling(max_tokens=3, temperature=temperature, seed=1)))


def test_without_a_seed_answers_vary(loaded: tuple[Any, Any]) -> None:
    sampling = Sampling(max_tokens=12, temperature=2.0, top_p=1, min_p=0, top_k=0)
    assert len({tuple(answer(generate(*loaded, "a", sampling))[1]) for _ in range(4)}) > 1


def test_temperature_0_is_the_likeliest_token(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    tokens = make_prompt(tokenizer, "abc").tokens
    expected = []
    for _ in range(6):
        chosen = int(mx.argmax(model(mx.array([tokens + expected]))[0, -1]).item())
        if chosen in tokenizer.eos_token_ids:
            break
        expected.append(chosen)
    found = answer(generate(model, tokenizer, "abc", Sampling(max_tokens=6)))[1]
    assert found[: len(expected)] == expected


@pytest.mark.parametrize("eos", [258, 256])
def test_every_end_of_sequence_token_ends_the_answer(tmp_path: Path, eos: int) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [258, 256]}')
    model, _ = load_model(folder)
    tokenizer = load_tokenizer(folder)
    favour(model, eos)
    text, tokens, reason = answer(generate(model, tokenizer, "abc", Sampling(max_tokens=6)))
    assert (text, tokens, reason) == ("", [eos], "stop")
    assert generate_batch(model, tokenizer, ["abc", "d"], max_tokens=6) == ["", ""]


def favour(model: Any, token: int) -> None:
    """Make `token` the likeliest after anything: its embedding points where the last state does."""
    bias = mx.zeros(model.args.vocab_size)
    bias[token] = 100.0
    plain = model.model.embed_tokens.as_linear
    object.__setattr__(model.model.embed_tokens, "as_linear", lambda x: plain(x) + bias)


def test_characters_of_several_tokens_come_out_whole(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    model, tokenizer = load_model(folder)[0], load_tokenizer(folder)
    wanted = tokenizer.encode("né🙂")
    assert len(wanted) == 7, "bytes, one a token"
    follow(model, wanted)
    steps = list(generate(model, tokenizer, "x", Sampling(max_tokens=7)))
    assert [step.token_id for step in steps] == wanted
    assert "".join(step.text for step in steps) == "né🙂"
    assert "�" not in "".join(step.text for step in steps)


def follow(model: Any, tokens: list[int]) -> None:
    """Make the model say `tokens`, one at each call that asks for a token."""
    plain = model.model.embed_tokens.as_linear
    left = list(tokens)

    def as_linear(x: mx.array) -> mx.array:
        out = plain(x) * 0
        if left and x.shape[1] == 1:  # the prompt's other tokens come in one longer call
            out[..., left.pop(0)] = 1.0
        return out

    object.__setattr__(model.model.embed_tokens, "as_linear", as_linear)


def test_a_text_becomes_a_users_message(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    prompt = make_prompt(tokenizer, "hi")
    assert prompt.chat_template_used
    assert tokenizer.decode(prompt.tokens) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert prompt == make_prompt(tokenizer, [{"role": "user", "content": "hi"}])
    plain = make_prompt(tokenizer, "hi", use_chat_template=False)
    assert (tokenizer.decode(plain.tokens), plain.chat_template_used) == ("hi", False)


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    settings = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(settings.replace("chat_template", "no_template"))
    tokenizer = load_tokenizer(folder)
    assert make_prompt(tokenizer, "hi").chat_template_used is False
    with pytest.raises(ModelError, match="no chat template"):
        make_prompt(tokenizer, [{"role": "user", "content": "hi"}])


def test_a_template_that_refuses_says_so(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    plain = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('user and assistant must alternate') }}"
    with pytest.raises(ModelError, match="must alternate"):
        make_prompt(tokenizer, "hi")
    tokenizer.chat_template = plain


def test_the_context_is_a_limit(loaded: tuple[Any, Any]) -> None:
    size = len(make_prompt(loaded[1], "hello").tokens)
    found = answer(generate(*loaded, "hello", Sampling(max_tokens=50), context_length=size + 5))
    assert len(found[1]) == 5
    with pytest.raises(ModelError, match=f"the prompt has {size} tokens, and the model's context is {size}"):
        next(generate(*loaded, "hello", context_length=size))
    with pytest.raises(ConfigError, match="empty"):
        next(generate(*loaded, "", use_chat_template=False))


def test_cuts_leave_the_likeliest_tokens_only(loaded: tuple[Any, Any]) -> None:
    greedy = answer(generate(*loaded, "hello", Sampling(max_tokens=10)))[1]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        options = {"top_p": 1.0, "min_p": 0.0, "top_k": 0, **narrow}
        sampling = Sampling(max_tokens=10, temperature=5.0, seed=1, **options)
        assert answer(generate(*loaded, "hello", sampling))[1] == greedy, narrow


def test_the_repetition_penalty_changes_a_repetition(loaded: tuple[Any, Any]) -> None:
    plain = answer(generate(*loaded, "hello", Sampling(max_tokens=24)))[1]
    varied = answer(generate(*loaded, "hello", Sampling(max_tokens=24, repetition_penalty=2.0)))[1]
    assert len(set(varied)) > len(set(plain))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.1),
        ("min_p", -1),
        ("top_k", -1),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("seed", -1),
    ],
)
def test_options_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        Sampling(**{field: value})
    assert caught.value.field == field


def test_a_batch_answers_as_one_by_one(loaded: tuple[Any, Any]) -> None:
    prompts: list[Any] = [
        "a",
        "hello there",
        [{"role": "user", "content": "something much longer than that"}],
        "b",
        "c",
    ]
    expected = [answer(generate(*loaded, prompt, Sampling(max_tokens=8)))[0] for prompt in prompts]
    reports: list[tuple[int, int]] = []
    found = generate_batch(
        *loaded, prompts, max_tokens=8, batch_size=2, progress=lambda *report: reports.append(report)
    )
    assert found == expected
    assert reports == [(2, 5), (4, 5), (5, 5)]
    assert generate_batch(*loaded, []) == []


def test_speeds_and_counts(loaded: tuple[Any, Any]) -> None:
    steps = list(generate(*loaded, "hello", Sampling(max_tokens=5)))
    assert [step.tokens for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].prompt_tokens == len(make_prompt(loaded[1], "hello").tokens)
    assert steps[-1].tokens_per_second > 0


def test_a_continued_text_keeps_the_space_it_begins_with(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    model, tokenizer = load_model(folder)[0], load_tokenizer(folder)
    wanted = tokenizer.encode(" b")
    for prompt, shown in (("aaa", " b"), ("aa ", " b")):
        follow(model, wanted)
        raw = generate(model, tokenizer, prompt, Sampling(max_tokens=2), use_chat_template=False)
        assert answer(raw)[0] == shown, repr(prompt)
    follow(model, wanted)
    assert answer(generate(model, tokenizer, "a", Sampling(max_tokens=2)))[0] == "b", "a chat begins anew"


def test_penalties_on_what_was_said(loaded: tuple[Any, Any]) -> None:
    """As OpenAI defines them: from each logit, frequency x times said + presence x whether said, prompt left out."""
    model, tokenizer = loaded
    prompt = make_prompt(tokenizer, "hello").tokens
    sampling = Sampling(max_tokens=12, presence_penalty=0.4, frequency_penalty=0.7)
    expected: list[int] = []
    for _ in range(12):
        logits = model(mx.array([prompt + expected]))[0, -1].tolist()
        for token in set(expected):
            logits[token] -= 0.4 + 0.7 * expected.count(token)
        expected.append(max(range(len(logits)), key=logits.__getitem__))
        if expected[-1] in tokenizer.eos_token_ids:
            break
    assert answer(generate(model, tokenizer, "hello", sampling))[1] == expected
    assert answer(generate(model, tokenizer, "hello", Sampling(max_tokens=12)))[1] != expected


def test_the_coldest_temperatures_take_the_likeliest_token(loaded: tuple[Any, Any]) -> None:
    greedy = answer(generate(*loaded, "hello", Sampling(max_tokens=10)))[1]
    for temperature in (5e-324, 1e-30, 1e-5):
        sampling = Sampling(max_tokens=10, temperature=temperature, seed=1, top_p=1, min_p=0, top_k=0)
        assert answer(generate(*loaded, "hello", sampling))[1] == greedy


def test_reading_the_prompt_is_reported_and_can_be_ended(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompt = make_prompt(tokenizer, "a" * 400)
    seen: list[tuple[int, int]] = []
    total = len(prompt.tokens)
    for _ in complete(model, tokenizer, prompt, Sampling(max_tokens=2), reading=lambda *at: seen.append(at)):
        pass
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert len(seen) > 3

    def refuse(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        next(complete(model, tokenizer, prompt, Sampling(max_tokens=2), reading=refuse))


def passed_on(stops: Stops, pieces: list[str]) -> list[str]:
    shown = [stops.feed(piece) for piece in pieces]
    return [*shown, stops.rest()]


@pytest.mark.parametrize(
    ("texts", "pieces", "shown", "found"),
    [
        ([], ["a", "b"], ["a", "b", ""], False),
        (["END"], ["say E", "ND and more"], ["say ", "", ""], True),
        (["END"], ["say E", "N", "OUGH"], ["say ", "", "ENOUGH", ""], False),
        (["END"], ["the EN"], ["the ", "EN"], False),
        (["b", "ab"], ["xab"], ["x", ""], True),
        (["aab"], ["aa", "a", "b", "c"], ["", "a", "", "", ""], True),
        (["", "z"], ["xyz"], ["xy", ""], True),
    ],
)
def test_stop_texts(texts: list[str], pieces: list[str], shown: list[str], found: bool) -> None:
    stops = Stops(texts)
    assert passed_on(stops, pieces) == shown
    assert stops.reached is found


def test_as_if_all_were_known_at_once() -> None:
    generator = random.Random(0)
    for _ in range(3000):
        text = "".join(generator.choices("abc", k=generator.randrange(20)))
        texts = [
            "".join(generator.choices("abc", k=generator.randrange(1, 5))) for _ in range(generator.randrange(3))
        ]
        pieces, rest = [], text
        while rest:
            cut = generator.randrange(1, 4)
            pieces.append(rest[:cut])
            rest = rest[cut:]
        stops = Stops(texts)
        found = "".join(passed_on(stops, pieces))
        assert found in [text[: text.find(stop)] for stop in texts if stop in text] or found == text
        assert not any(stop in found for stop in texts)
        assert stops.reached == any(stop in text for stop in texts)
