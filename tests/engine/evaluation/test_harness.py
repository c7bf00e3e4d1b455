"""The evaluation harness on a tiny model: every number against sums over plain logits in NumPy."""

from __future__ import annotations

import json
import random
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest

from droidft.engine.evaluation import harness
from droidft.engine.model import loading, lora
from droidft.engine.training.method import Interrupted
from droidft.errors import ConfigError, DownloadError, NotFound
from tests import tiny
from tests.engine import jobs

pytest.importorskip("lm_eval", reason='the extra is not installed: pip install "droidft[harness]"')
TASKS = Path(__file__).parent / "harness_tasks"
FACTS = [json.loads(line) for line in (TASKS / "facts.jsonl").read_text().splitlines()]
SHOTS = [json.loads(line) for line in (TASKS / "shots.jsonl").read_text().splitlines()]


class Loaded(NamedTuple):
    model: Any
    tokenizer: Any

    def logits(self, tokens: list[int]) -> Any:
        """[T, V] in float64, what follows each of `tokens`."""
        return np.array(self.model(mx.array([tokens])).astype(mx.float32), dtype=np.float64)[0]

    def scored(self, tokens: list[int], start: int) -> tuple[float, bool]:
        """The sum of log-probabilities from `start` on, and whether these are the greedy tokens."""
        logits = self.logits(tokens[:-1])
        peak = logits.max(axis=1)
        logps = logits - (peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1)))[:, None]
        pairs = [(at - 1, tokens[at]) for at in range(start, len(tokens))]
        return sum(float(logps[pair]) for pair in pairs), all(logits[at].argmax() == token for at, token in pairs)

    def continued(self, context: str, continuation: str) -> tuple[float, bool]:
        before = self.tokenizer.encode(context)
        return self.scored(self.tokenizer.encode(context + continuation), len(before))

    def answered(self, tokens: list[int], most: int) -> list[int]:
        """Greedy tokens one by one, without any cache."""
        said: list[int] = []
        while len(said) < most:
            token = int(self.logits(tokens + said)[-1].argmax())
            if token in self.tokenizer.eos_token_ids:
                break
            said.append(token)
        return said


class Request(NamedTuple):
    args: tuple[Any, ...]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A model whose answers vary and are text: larger weights, and letters are likelier than halves of characters."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    folder = tiny.write_model(tmp_path / "model", seed=3)
    model, _ = loading.load_model(folder)
    tokenizer = loading.load_tokenizer(folder)
    model.update(_scaled(model.parameters(), 3.0))
    texts = [tokenizer.decode([token]) for token in range(tiny.VOCABULARY)]
    letters = [token for token, text in enumerate(texts) if text.isascii() and text.isprintable() and len(text) == 1]
    kept = np.isin(np.arange(tiny.VOCABULARY), [*letters, tokenizer.eos_token_id])
    model.model.embed_tokens.weight *= mx.array(kept[:, None])
    model.eval()
    return Loaded(model, tokenizer)


def _scaled(tree: Any, by: float) -> Any:
    if isinstance(tree, dict):
        return {name: _scaled(value, by) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_scaled(value, by) for value in tree]
    return tree * by if tree.ndim == 2 else tree


def view(loaded: Loaded, *, context_length: int = 512, **rest: Any) -> Any:
    from droidft.engine.evaluation.harness_model import HarnessModel

    return HarnessModel(loaded.model, loaded.tokenizer, context_length=context_length, **rest)


def question(row: dict[str, Any], answer: str = "") -> str:
    return f"Question: {row['question']}\nAnswer:{answer}"


def expected(loaded: Loaded, contexts: list[str]) -> dict[str, tuple[float, ...]]:
    """Both accuracies of `facts`, from the best summed log-probability, and from the best one per character."""
    found: dict[str, list[float]] = {"acc": [], "acc_norm": []}
    for row, context in zip(FACTS, contexts, strict=True):
        sums = np.array([loaded.continued(context, f" {choice}")[0] for choice in row["choices"]])
        sizes = np.array([len(choice) for choice in row["choices"]])
        found["acc"].append(float(sums.argmax() == row["label"]))
        found["acc_norm"].append(float((sums / sizes).argmax() == row["label"]))
    return {metric: tuple(scores) for metric, scores in found.items()}


def prompts(shots: int = 1) -> list[str]:
    """Of the task `facts`, which has one example by itself."""
    before = "".join(question(row, f" {row['choices'][row['label']]}\n\n") for row in SHOTS[:shots])
    return [before + question(row) for row in FACTS]


@pytest.mark.parametrize(("wished", "shots"), [(None, 1), (2, 2), (0, 0)])
def test_multiple_choice_is_what_the_logits_say(
    arithmetic: None, loaded: Loaded, wished: int | None, shots: int
) -> None:
    found = harness.evaluate(*loaded, ["facts"], include=TASKS, num_fewshot=wished)
    wanted = expected(loaded, prompts(shots))
    # The Brier score is of the whole task, not of its questions: it is left out.
    assert {each.metric: tuple(each.scores) for each in found} == wanted
    assert wanted["acc"] != wanted["acc_norm"]
    for each in found:
        assert (each.task, each.version) == ("facts", "2.1")
        assert each.value == pytest.approx(np.mean(wanted[each.metric]))
        assert 0 < each.value < 1


def test_choices_of_one_token_share_their_input(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    from droidft.engine.evaluation import harness_model

    shapes: list[tuple[int, ...]] = []
    score = harness_model.score
    monkeypatch.setattr(
        harness_model,
        "score",
        lambda model, rows, asked: shapes.append((len(rows), len(asked))) or score(model, rows, asked),
    )
    # The task forbids examples, and that holds.
    (found,) = harness.evaluate(*loaded, ["letters"], include=TASKS, num_fewshot=2)
    assert np.sum(shapes, axis=0).tolist() == [len(FACTS), 3 * len(FACTS)]
    for row, scored in zip(FACTS, found.scores, strict=True):
        listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABC", row["choices"], strict=True))
        context = f"{row['question']}\n{listed}Answer:"
        sums = [loaded.continued(context, f" {letter}")[0] for letter in "ABC"]
        assert scored == (np.argmax(sums) == row["label"])


def test_log_likelihoods_and_the_greedy_flag(arithmetic: None, loaded: Loaded) -> None:
    _, tokenizer = loaded
    greedy = tokenizer.decode(loaded.answered(tokenizer.encode("Once upon"), 5))
    asked = [
        ("Once upon", greedy),
        ("Once upon", greedy[:-1] + "#"),
        ("", "Once"),
        (" ", "o"),
        ("a " * 200, "long one"),
        ("x", "y"),
    ]
    found = view(loaded).loglikelihood([Request(pair) for pair in asked])
    for (context, continuation), (value, likeliest) in zip(asked, found, strict=True):
        # Spaces at the end of a context belong to what follows. This tokenizer begins texts with nothing, so the
        # token that ends texts stands before those that follow nothing.
        before, whole = context.rstrip(), tokenizer.encode(context + continuation)
        wanted = (
            loaded.continued(before, context[len(before) :] + continuation)
            if before
            else loaded.scored([tokenizer.eos_token_id, *whole], 1)
        )
        assert value == pytest.approx(wanted[0], rel=1e-5)
        assert likeliest is bool(wanted[1])
    assert [likeliest for _, likeliest in found[:2]] == [True, False]


def test_what_is_too_long_loses_its_beginning(loaded: Loaded) -> None:
    _, tokenizer = loaded
    context, continuation = "The sea was calm that morning, and", " so were they"
    whole, length = tokenizer.encode(context + continuation), len(tokenizer.encode(continuation))
    ((value, _),) = view(loaded, context_length=20).loglikelihood([Request((context, continuation))])
    kept = whole[-21:]  # 20 are read, and predict the last
    assert value == pytest.approx(loaded.scored(kept, len(kept) - length)[0], rel=1e-5)
    (answer,) = view(loaded, context_length=20).generate_until([Request((context, {"max_gen_toks": 6}))])
    assert answer == tokenizer.decode(loaded.answered(tokenizer.encode(context)[-14:], 6))
    with pytest.raises(ConfigError, match="answers of 20 tokens, and the model's context is 20"):
        view(loaded, context_length=20).generate_until([Request((context, {"max_gen_toks": 20}))])
    with pytest.raises(ConfigError, match="a text of 13 tokens"):
        view(loaded, context_length=12).loglikelihood([Request((context, continuation))])


@pytest.mark.parametrize("length", [7, 512])
def test_every_token_of_a_text_is_counted_once(loaded: Loaded, length: int) -> None:
    _, tokenizer = loaded
    texts = ["A short one.", "Another text, of more than twenty tokens.", ""]
    found = view(loaded, context_length=length).loglikelihood_rolling([Request((text,)) for text in texts])
    for text, value in zip(texts, found, strict=True):
        tokens = [tokenizer.eos_token_id, *tokenizer.encode(text)]
        # Window by window; the last one is full too, and what it shares with the one before is context only.
        wanted, at = 0.0, 1
        while at < len(tokens):
            end = min(at + length, len(tokens))
            start = max(0, end - length - 1)
            wanted += loaded.scored(tokens[start:end], at - start)[0]
            at = end
        assert value == pytest.approx(wanted, rel=1e-5)


def test_answers_are_greedy_and_end_where_they_should(arithmetic: None, loaded: Loaded) -> None:
    _, tokenizer = loaded
    prompts = [row["question"] for row in FACTS] + ["", "Why " * 60]
    said = [tokenizer.decode(loaded.answered(tokenizer.encode(p) or [tokenizer.eos_token_id], 24)) for p in prompts]
    assert len(set(said)) == len(said)
    whole = view(loaded).generate_until([Request((prompt, {"max_gen_toks": 24})) for prompt in prompts])
    assert whole == said
    # Up to the first of two texts that occur, one of them over a border between tokens. Then no more is drawn.
    for prompt, answer in zip(prompts[:4], said, strict=False):
        stops = [answer[9:11], answer[5:7]]
        asked: list[None] = []
        drawing = view(loaded, should_stop=partial(asked.append, None))
        (cut,) = drawing.generate_until([Request((prompt, {"until": [*stops, "", "⁂"], "max_gen_toks": 24}))])
        assert cut == answer[: min(answer.index(stop) for stop in stops)]
        assert len(asked) < 16


@pytest.fixture
def own_answers(loaded: Loaded, tmp_path: Path) -> tuple[Path, list[str], list[str]]:
    """Tasks, what the model answers, and the targets: that answer, or its first letter, in turns."""
    folder = tmp_path / "tasks"
    shutil.copytree(TASKS, folder)
    answers = []
    for fact in FACTS:
        said = loaded.tokenizer.decode(loaded.answered(loaded.tokenizer.encode(fact["question"]), 12))
        answers.append(said.split("e")[0].split("~}")[0])
    targets = [answer if number % 2 else answer[:1] for number, answer in enumerate(answers)]
    rows = [{"question": fact["question"], "answer": target} for fact, target in zip(FACTS, targets, strict=True)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, answers, targets


def test_answers_under_each_filter(loaded: Loaded, own_answers: tuple[Path, list[str], list[str]]) -> None:
    folder, answers, targets = own_answers
    found = {each.metric: tuple(each.scores) for each in harness.evaluate(*loaded, ["answers"], include=folder)}
    pairs = list(zip(answers, targets, strict=True))
    assert found == {
        "exact_match,whole": tuple(float(answer == target) for answer, target in pairs),
        "exact_match,first-letter": tuple(float(answer[:1] == target) for answer, target in pairs),
    }
    assert {len(set(scores)) for scores in found.values()} == {2}


def test_only_means_over_questions_are_given(loaded: Loaded, own_answers: tuple[Path, list[str], list[str]]) -> None:
    """The accuracy is: is the target the greedy one? The perplexity is no mean, though each question has a number."""
    folder, _, targets = own_answers
    rows = [
        {"question": fact["question"], "answer": target if number % 3 else f"{target}~"}
        for number, (fact, target) in enumerate(zip(FACTS, targets, strict=True))
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = harness.evaluate(*loaded, ["endings"], include=folder)
    assert found.metric == "acc"
    assert found.scores == [float(loaded.continued(row["question"], row["answer"])[1]) for row in rows]
    assert set(found.scores) == {0.0, 1.0}


def test_a_group_is_scored_as_a_whole(loaded: Loaded) -> None:
    (found,) = harness.evaluate(*loaded, ["both"], include=TASKS, limit=4)
    apart = harness.evaluate(*loaded, ["facts", "letters"], include=TASKS, limit=4)
    scores = [each.scores for each in apart if each.metric == "acc"]
    assert (found.task, found.version, found.metric) == ("both", "3.0", "acc")
    assert found.scores == scores[0] + scores[1]
    assert found.value == pytest.approx(np.mean(found.scores))
    assert len(found.scores) == 8


def test_an_adapter_counts_and_the_model_stays_as_it_was(loaded: Loaded) -> None:
    model = loaded.model
    base = view(loaded).loglikelihood([Request(("one", " two"))])
    settings = jobs.config(lora_dropout=0.5)
    lora.attach(model, lora.targets_of(model, settings), settings)
    noise = [(name, array + 0.1 * mx.ones_like(array)) for name, array in lora.trainable(model).items()]
    model.load_weights(noise, strict=False)
    model.train()
    random.seed(7)
    state, numpy = random.getstate(), np.random.get_state()[1]
    found = harness.evaluate(*loaded, ["facts"], include=TASKS)
    assert model.training
    assert random.getstate() == state
    assert np.array_equal(np.random.get_state()[1], numpy)
    # Dropout would make this differ.
    model.eval()
    assert {each.metric: tuple(each.scores) for each in found} == expected(loaded, prompts())
    adapted = view(loaded).loglikelihood([Request(("one", " two"))])
    assert abs(adapted[0][0] - base[0][0]) > 0.01


def test_a_local_task_asks_no_network(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def refuse(*where: Any, **_: Any) -> None:
        asked.append(where)
        raise OSError("there is no network here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert harness.evaluate(*loaded, ["facts"], include=TASKS, limit=1)
    assert not asked


def test_progress_and_calling_off(loaded: Loaded) -> None:
    told: list[tuple[int, int]] = []
    harness.evaluate(*loaded, ["facts"], include=TASKS, progress=lambda *counts: told.append(counts))
    assert told[-1] == (33, 33)
    assert told == sorted(told)
    called_off = view(loaded, should_stop=lambda: True)
    with pytest.raises(Interrupted):
        called_off.loglikelihood([Request(("a", "b"))])
    with pytest.raises(Interrupted):
        called_off.generate_until([Request(("a", {}))])


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("texts", "no score for each question: word_perplexity, bits_per_byte", "leave it out"),
        ("drawn", "draws its answers at temperature 0.7", "leave it out"),
        ("broken", "cannot be loaded: FileNotFoundError: Unable to find", "data files are looked for in the folder"),
    ],
)
def test_tasks_that_cannot_be_used(name: str, problem: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        harness.check([name], include=TASKS)
    assert hint in caught.value.hint
    assert name in caught.value.message


def test_a_task_or_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no task 'mmlu_anatomi'") as caught:
        harness.check(["facts", "mmlu_anatomi"], include=TASKS)
    assert "did you mean mmlu_anatomy" in caught.value.hint
    # A path is no name: only `include` says where files may be read.
    with pytest.raises(NotFound, match="has no task"):
        harness.check([str(TASKS / "facts.yaml")])
    with pytest.raises(NotFound, match=r"there is no folder .*nowhere with tasks"):
        harness.check(["facts"], include=tmp_path / "nowhere")


def test_data_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DownloadError, match=r"'mmlu_anatomy' is not on this machine .*HF_HUB_OFFLINE=1") as caught:
        harness.check(["mmlu_anatomy"])
    assert caught.value.hint == "allow the network once; the data is kept"
