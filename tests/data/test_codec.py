"""Which tokens are trained, for templates of every kind: against the answer written out by hand."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, normalizers, pre_tokenizers

from droidft.data.codec import Codec
from droidft.data.prepare import prepare
from droidft.data.report import Flag
from droidft.data.rows import Row
from droidft.data.tokens import Encoded, RowEncoder, TokenizedRow
from droidft.support.faults import InvalidData, Refused
from tests.data import templates
from tests.data.helpers import make_tokenizer, settings, write_jsonl


def say(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    """A conversation of user and assistant by turns."""
    turns = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def encode(template: str | None, messages: list[dict[str, Any]], **more: Any) -> tuple[Encoded, Any]:
    tools = more.pop("tools", None)
    tokenizer = make_tokenizer(template, **more)
    (encoded,) = RowEncoder(Codec(tokenizer), mask_prompt=True).encode([Row(None, messages, tools)])
    assert isinstance(encoded, Encoded), encoded
    return encoded, tokenizer


def trained(encoded: Encoded, tokenizer: Any) -> list[str]:
    """The trained tokens as text, a string for each unbroken run."""
    edges = np.flatnonzero(np.diff(encoded.supervised, prepend=False, append=False))
    return [
        tokenizer.decode(encoded.tokens[start:end].tolist())
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


TWO = say("hi", "Hello!", "and?", "Bye. ☃", system="Be brief.")
THINKING = say("1+1?", "<think>easy</think>two", "2+2?", "<think>hm</think>four")
CALL = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
WITH_TOOLS = [
    {"role": "user", "content": "f of 1?"},
    {"role": "assistant", "tool_calls": CALL},
    {"role": "tool", "content": "7"},
    {"role": "assistant", "content": "It is 7."},
]
TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALL_TEXT = '[{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]<|end|>'

# name: (template, messages, tools, trained runs, flags)
MASKS: dict[str, tuple[str, list[dict[str, Any]], Any, list[str], set[Flag]]] = {
    "chatml": (templates.CHATML, TWO, None, ["Hello!<|end|>", "Bye. ☃<|end|>"], set()),
    "llama": (templates.LLAMA, TWO, None, ["Hello!<|end|>", "Bye. ☃<|end|>"], set()),
    "llama trims": (templates.LLAMA, say("hi", " Hello! \n"), None, ["Hello!<|end|>"], set()),
    "llama with tools": (templates.LLAMA, WITH_TOOLS, TOOLS, [CALL_TEXT, "It is 7.<|end|>"], set()),
    "no system": (
        templates.NO_SYSTEM,
        say("hi", "Hello!", "and?", "Bye."),
        None,
        ["Hello!<|end|>", "Bye.<|end|>"],
        set(),
    ),
    "generation tags": (templates.GENERATION, TWO, None, ["Hello!<|end|>", "Bye. ☃<|end|>"], set()),
    # The empty block is what the model itself has to write after the opening, so it is trained.
    "empty think block": (
        templates.THINK_BLOCK,
        TWO,
        None,
        ["Hello!<|end|>", "<think>\n\n</think>\n\nBye. ☃<|end|>"],
        set(),
    ),
    "think block of its own": (
        templates.THINK_BLOCK,
        THINKING,
        None,
        ["<think>easy</think>two<|end|>", "<think>hm</think>four<|end|>"],
        set(),
    ),
    "opening with think": (
        templates.THINK_OPENED,
        TWO,
        None,
        ["Hello!<|end|>", "Bye. ☃<|end|>"],
        {Flag.PROMPT_DIFFERS},
    ),
    "earlier thinking stripped": (
        templates.STRIP_THINKING,
        THINKING,
        None,
        ["two<|end|>", "<think>hm</think>four<|end|>"],
        {Flag.THINKING_DROPPED},
    ),
    "moved tools": (
        templates.MOVED_TOOLS,
        say("hi", "Hello!", "and?", "Bye."),
        TOOLS,
        ["Hello!<|end|>", "Bye.<|end|>"],
        set(),
    ),
    # The opening has a think block that finished turns lack, so calls are found by where their text would be.
    "calls behind another opening": (
        templates.TOOL_TAGS.replace("enable_thinking is defined and enable_thinking is false", "true"),
        [{**turn, "content": turn.get("content", "")} for turn in WITH_TOOLS],
        TOOLS,
        ['<call>{"name": "f", "arguments": {"x": 1}}</call><|end|>', "It is 7.<|end|>"],
        {Flag.PROMPT_DIFFERS},
    ),
    "plain": (templates.PLAIN, say("hi", "Hello!", "and?", "Bye."), None, ["Hello!<|end|>", "Bye.<|end|>"], set()),
    "assistant first": (templates.CHATML, say("hi", "Hello!")[1:], None, ["Hello!<|end|>"], set()),
    "assistant twice": (
        templates.CHATML,
        [*say("hi", "Hello!"), {"role": "assistant", "content": "More."}],
        None,
        ["Hello!<|end|>", "More.<|end|>"],
        set(),
    ),
    "answer that repeats the prompt": (templates.CHATML, say("Hello!", "Hello!"), None, ["Hello!<|end|>"], set()),
    "one letter": (templates.CHATML, say("a", "a", "a", "a"), None, ["a<|end|>", "a<|end|>"], set()),
}


@pytest.mark.parametrize("trim_offsets", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_the_assistants_turns_are_trained_and_nothing_else(name: str, trim_offsets: bool) -> None:
    template, messages, tools, runs, flags = MASKS[name]
    encoded, tokenizer = encode(template, messages, tools=tools, trim_offsets=trim_offsets)
    assert trained(encoded, tokenizer) == runs
    assert encoded.flags == flags


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_tokens_are_those_of_the_chat_template(name: str, add_bos: bool) -> None:
    template, messages, tools, _, _ = MASKS[name]
    encoded, tokenizer = encode(template, messages, tools=tools, add_bos=add_bos)
    reference = tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False)
    assert encoded.tokens.tolist() == reference
    assert reference.count(tokenizer.bos_token_id) <= 1


@pytest.mark.parametrize("name", [name for name, case in MASKS.items() if len(case[1]) > 1])
def test_the_prompt_is_a_true_prefix_unless_flagged(name: str) -> None:
    template, messages, tools, _, flags = MASKS[name]
    encoded, tokenizer = encode(template, messages, tools=tools)
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tools=tools, tokenize=True, return_dict=False, add_generation_prompt=True
    )
    is_prefix = encoded.tokens[: len(prompt)].tolist() == prompt
    assert is_prefix is (Flag.PROMPT_DIFFERS not in flags)
    if is_prefix:
        assert encoded.supervised[len(prompt)]
        assert not encoded.supervised[len(prompt) - 1]


def test_a_token_across_the_boundary_is_masked_and_flagged() -> None:
    encoded, tokenizer = encode(templates.PLAIN, say("hi", "\nHello!"), merges=[("Ċ", "Ċ")])
    assert trained(encoded, tokenizer) == ["Hello!<|end|>"]
    assert encoded.flags == {Flag.BOUNDARY_MERGED}


def test_special_tokens_in_the_text_are_flagged() -> None:
    encoded, _ = encode(templates.CHATML, say("ignore <|end|> this", "No."))
    assert encoded.flags == {Flag.SPECIAL_TOKENS}


def test_without_mask_prompt_every_token_but_the_first_counts() -> None:
    tokenizer = make_tokenizer(templates.CHATML)
    (encoded,) = RowEncoder(Codec(tokenizer)).encode([Row(None, TWO)])
    assert isinstance(encoded, Encoded)
    assert encoded.supervised.tolist() == [False] + [True] * (len(encoded.tokens) - 1)


def test_a_slow_tokenizer_gives_the_same_masks() -> None:
    class Slow:
        """The same tokenizer without its Rust part: no offsets, no batches."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "backend_tokenizer":
                raise AttributeError(name)
            return getattr(self.inner, name)

    for name, (template, messages, tools, runs, flags) in MASKS.items():
        tokenizer: Any = Slow(make_tokenizer(template))
        (encoded,) = RowEncoder(Codec(tokenizer), mask_prompt=True).encode([Row(None, messages, tools)])
        assert isinstance(encoded, Encoded)
        assert (trained(encoded, tokenizer), encoded.flags) == (runs, flags), name


def test_mlx_lms_wrapper_is_taken_too() -> None:
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    wrapper = TokenizerWrapper(make_tokenizer(templates.CHATML), eos_token_ids=[2])
    codec = Codec(wrapper)
    assert codec.eos_ids == {1, 2}
    (encoded,) = RowEncoder(codec, mask_prompt=True).encode([Row(None, TWO)])
    assert isinstance(encoded, Encoded)
    assert trained(encoded, wrapper) == ["Hello!<|end|>", "Bye. ☃<|end|>"]


def test_a_turn_that_cannot_be_found_is_refused() -> None:
    tokenizer = make_tokenizer(templates.HOPELESS)
    (why,) = RowEncoder(Codec(tokenizer), mask_prompt=True).encode([Row(None, TWO)])
    assert isinstance(why, Refused)
    assert why.kind == "turn-not-found"


def run(path: Path, template: str | None, **more: Any) -> list[TokenizedRow]:
    found = prepare(settings(path, **more), make_tokenizer(template))
    return sorted([*found.train, *found.validation], key=lambda row: row.line)


def test_what_the_template_refuses_is_reported_with_its_line(tmp_path: Path) -> None:
    rows = [{"messages": TWO[1:]}, {"messages": TWO}]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(InvalidData) as caught:
        run(path, templates.NO_SYSTEM)
    (fault,) = caught.value.faults
    assert (fault.kind, fault.line) == ("template", 2)
    assert "System role not supported" in fault.reason


def test_the_system_prompt_goes_before_conversations_without_one(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"messages": TWO}, {"messages": TWO[1:]}])
    own, given = run(path, templates.CHATML, system_prompt="Shout.")
    tokenizer = make_tokenizer()
    assert tokenizer.decode(own.tokens).startswith("<|system|>\nBe brief.<|end|>")
    assert tokenizer.decode(given.tokens).startswith("<|system|>\nShout.<|end|>")


def test_pairs_without_a_template_are_joined(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "data.jsonl", [{"prompt": "2+2=", "completion": "4"}, {"prompt": "a", "completion": "b"}]
    )
    row = run(path, None, mask_prompt=True)[0]
    tokenizer = make_tokenizer()
    assert tokenizer.decode(row.tokens) == "2+2=4<|end|>"
    assert tokenizer.decode(row.tokens[row.supervised]) == "4<|end|>"


def test_conversations_without_a_template_are_refused(tmp_path: Path) -> None:
    for number, row in enumerate(
        [{"messages": TWO}, {"messages": TWO[1:3]}, {"prompt": TWO[1:2], "completion": TWO[2:3]}]
    ):
        path = write_jsonl(tmp_path / f"{number}.jsonl", [row])
        with pytest.raises(InvalidData, match="no chat template"):
            run(path, None)


@pytest.mark.parametrize(
    ("text", "add_bos", "expected"),
    [
        ("abc", False, "abc<|end|>"),
        ("abc<|end|>", False, "abc<|end|>"),
        ("abc", True, "<|bos|>abc<|end|>"),
        ("<|bos|>abc", True, "<|bos|>abc<|end|>"),
    ],
)
def test_text_ends_in_eos_and_starts_with_one_bos(text: str, add_bos: bool, expected: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [{"text": text}, {"text": "other"}])
    tokenizer = make_tokenizer(add_bos=add_bos)
    found = prepare(settings(path), tokenizer)
    row = next(row for row in [*found.train, *found.validation] if row.line == 1)
    assert tokenizer.decode(row.tokens) == expected
    assert row.supervised.tolist() == [False] + [True] * (len(row.tokens) - 1)


def test_offsets_by_bytes_are_the_tokenizers_own() -> None:
    draw = random.Random(5)
    alphabet = ["a", "b", " ", "\n", "é", "日", "🙂", "<|end|>", "<|user|>", "\u0301"]
    texts = ["", *("".join(draw.choices(alphabet, k=draw.randrange(1, 40))) for _ in range(200))]
    codec = Codec(make_tokenizer(templates.CHATML, merges=[("a", "b"), ("Ã", "©"), ("ð", "Ł")]))
    for text, ours, theirs in zip(texts, codec.encode_rendered(texts), codec._with_offsets(texts), strict=True):
        assert ours.in_bytes
        assert ours.ids == theirs.ids
        for position in range(len(text) + 1):
            assert ours.tokens_before(text, position) == theirs.tokens_before(text, position), (text, position)


def test_a_token_that_swallows_spaces_keeps_the_tokenizers_offsets() -> None:
    tokenizer = make_tokenizer(templates.CHATML)
    tokenizer.add_tokens([AddedToken("<sep>", rstrip=True, special=True)], special_tokens=True)
    codec = Codec(tokenizer)
    swallowed, plain = codec.encode_rendered(["a<sep>  b", "a<sep>b"])
    assert not swallowed.in_bytes
    assert plain.in_bytes
    assert swallowed.tokens_before("a<sep>  b", 8) == (2, False)


def test_a_tokenizer_that_normalizes_keeps_its_own_offsets() -> None:
    tokenizer = make_tokenizer(templates.CHATML)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    encoding = Codec(tokenizer).encode_rendered(["e\u0301a"])[0]
    assert not encoding.in_bytes
    assert encoding.tokens_before("e\u0301a", 2) == (2, False)


@pytest.mark.parametrize("together", [True, False])
def test_a_tokenizer_that_puts_a_space_first_keeps_its_own_offsets(together: bool) -> None:
    tokenizer = make_tokenizer(templates.CHATML)
    first = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first]) if together else first
    assert not any(encoding.in_bytes for encoding in Codec(tokenizer).encode_rendered(["a b", " a"]))
