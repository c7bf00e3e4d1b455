from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from droidft.cli import main
from tests.adapters.files import ATTENTION_QV, write_adapter
from tests.tiny import llama, write_model


@pytest.fixture(autouse=True)
def tiny(home: Path) -> Path:
    return write_model(home / "models" / "tiny")


def test_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chat", "--model", "tiny", "--prompt", "hello", "--max-tokens", "8", "--seed", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert (found["tokens"], found["finish_reason"], found["chat_template_used"]) == (8, "length", True)
    assert found["adapter"] is None
    # Control characters that a model may write do not reach the terminal.
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)


def test_an_adapter_with_its_details(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(home / "adapters" / "poet", llama(), keys=ATTENTION_QV)
    words = ["chat", "--model", "tiny", "--adapter", "poet", "--prompt", "hello", "--max-tokens", "3"]
    assert main(words) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "poet (latest): lora, rank 4, alpha 4, scale 1, 2 modules in 2 of 2 blocks" in told
    assert "moves the logits by up to" in told
    assert "warning: adapts 2 of the 7 projections" in told
    assert main([*words, "--json"]) == 0
    adapter = json.loads(capsys.readouterr().out)["adapter"]
    assert adapter["difference"]["max_logit"] > 0
    assert "attention_only" in [warning["code"] for warning in adapter["warnings"]]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--model", "tiny", "--adapter", "nobody", "--prompt", "x"], 1, "there is no adapter 'nobody'"),
        (["--model", "nothing", "--prompt", "x"], 1, "there is no model 'nothing'"),
        (["--model", "tiny", "--adapter", "wide", "--prompt", "x"], 1, "adapter wide does not fit this model"),
        (["--model", "tiny", "--adapter", "wide@best", "--prompt", "x"], 1, "has no best_adapters"),
        (["--model", "tiny", "--prompt", "x", "--top-p", "2"], 2, "top_p is 2"),
        (["--model", "tiny", "--prompt", "x", "--raw", "--system", "y"], 2, "--system needs a chat template"),
    ],
)
def test_errors_are_never_a_silent_base_answer(
    home: Path, words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_adapter(home / "adapters" / "wide", llama(hidden_size=64))
    assert main(["chat", *words]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_json_needs_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--model", "tiny", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "--json needs --prompt"


def test_options_without_effect_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--temperature", "0", "--top-k", "5", "--seed", "2"]
    assert main(["chat", "--model", "tiny", "--prompt", "x", "--max-tokens", "2", *words]) == 0
    assert "without effect at temperature 0: --top-k, --seed" in " ".join(capsys.readouterr().err.split())


def test_a_conversation_remembers_and_forgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*lines: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
        words = ["--model", "tiny", "--temperature", "0", "--max-tokens", "12", "--system", "be brief"]
        assert main(["chat", *words]) == 0
        return capsys.readouterr().out

    once = say("hello")
    assert say("hello", "/exit", "never asked") == once
    assert say("hello", "/reset", "", "hello") == once + once
    assert say("hello", "hello") != once + once, "what came before changes the answer"


def test_what_is_remembered(home: Path) -> None:
    from droidft.commands.chat import Conversation
    from droidft.engine.generation.loaded import load
    from droidft.engine.generation.sampling import Sampling

    model = load("tiny", models_dir=home / "models", cache_dir=home)
    conversation = Conversation(
        model, Sampling(max_tokens=5, temperature=1, seed=1), system="s", use_chat_template=True
    )
    said = "".join(token.text for token in conversation.answer("a"))
    stopped = conversation.answer("b")
    next(stopped)
    part = next(stopped).text
    stopped.close()
    roles = [message["role"] for message in conversation.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert conversation.messages[2]["content"] == said
    assert conversation.messages[4]["content"].endswith(part), "a stopped answer is remembered as far as it came"
    conversation.reset()
    assert conversation.messages == [{"role": "system", "content": "s"}]


def test_a_prompt_too_long_for_the_context_does_not_end_the_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a" * 600 + "\nhello\n"))
    assert main(["chat", "--model", "tiny", "--max-tokens", "3"]) == 0
    captured = capsys.readouterr()
    assert "the model's context is 512" in " ".join(captured.err.split())
    assert captured.out.strip()


def heed_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_stops_one_answer_only(home: Path, tmp_path: Path) -> None:
    """A process of its own: the signal arrives while an answer of hundreds of tokens is being written."""
    environment = {**os.environ, "DROIDFT_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    # A large context and greedy decoding, which with these weights never ends an answer by itself.
    write_model(home / "models" / "long", max_position_embeddings=100_000)
    words = ["chat", "--model", "long", "--max-tokens", "90000", "--temperature", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "droidft.cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=heed_ctrl_c,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        process.stdout.read(20)  # it is answering
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = b""
        while b"[stopped]" not in said:
            letter = process.stdout.read(1)
            assert letter, "it ended"
            said += letter
        process.stdin.write(b"/exit\n")
        process.stdin.close()
        assert process.wait(timeout=20) == 0
