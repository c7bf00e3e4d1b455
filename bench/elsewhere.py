"""The demo's test rows, answered by every export of its adapter in the programs that exports are for.

    make demo
    make interop ARGS=--collect-only            # makes .venv-interop, with transformers, PEFT and llama.cpp
    .venv-interop/bin/python -m bench.elsewhere ADAPTER [--rows 100] [--forms peft gguf …] [--types F16 Q8_0]

For each form: the verdict of its certificate, the answers that are equal to the adapter's own token for token, those
that are exactly right, and the first answer that differs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_lm.tokenizer_utils import TokenizerWrapper

from droidft.adapters.exports import readers
from droidft.adapters.exports.checkpoint import Checkpoint
from droidft.adapters.exports.forms import Form
from droidft.adapters.exports.readers.reading import Reading, Request, Row, Subject
from droidft.adapters.folder import find_adapter, read_adapter
from droidft.api.exporting import Exported, export
from droidft.data import orders
from droidft.engine.evaluation import certify
from droidft.engine.generation.prompt import make_prompt
from droidft.engine.machine import host
from droidft.engine.machine.device import computing
from droidft.engine.model import adapter_weights, loading
from droidft.home import Home
from droidft.models.gguf.write import write_gguf

ANSWER_TOKENS = 96
CERTIFIED_ROWS = 8
"""Of each export, before its answers are compared."""


@dataclass(frozen=True)
class Asked:
    """The questions, and what base + adapter answer to them here."""

    base: Path
    tokenizer: TokenizerWrapper
    rows: list[orders.Order]
    request: Request
    answers: list[list[int]]

    def right(self, answers: Sequence[list[int]]) -> int:
        """Answers that are the till's line."""
        pairs = zip(answers, self.rows, strict=True)
        return sum(orders.is_right(self.text(answer), row.line) for answer, row in pairs)

    def text(self, answer: list[int]) -> str:
        """An answer as text, without what ends it."""
        return str(self.tokenizer.decode([token for token in answer if token not in self.request.ends]))


def main() -> None:
    """Print a line for each export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--forms", nargs="+", default=[form.value for form in Form if form is not Form.OLLAMA])
    parser.add_argument("--types", nargs="+", default=["F16", "Q8_0", "Q4_K_M"], help="of the GGUF files")
    args = parser.parse_args()
    home = Home.find()
    with computing(home.cache), tempfile.TemporaryDirectory() as scratch:
        asked = _ask(home, args.adapter, args.rows)
        print(f"{asked.right(asked.answers)} of {args.rows} answers of the adapter itself are right\n")
        print("| export | read by | certificate | equal answers | right answers |\n|---|---|---|---|---|")
        for form in map(Form, args.forms):
            for kind in args.types if form is Form.GGUF else [None]:
                name = f"elsewhere-{form.value}{'' if kind is None else f'-{kind}'}"
                chosen = {} if kind is None else {"type": kind}
                done = export(args.adapter, form.value, name=name, replace=True, row_count=CERTIFIED_ROWS, **chosen)
                _show(asked, done, kind, _read(asked, done, Path(scratch)))


def _ask(home: Home, adapter: str, count: int) -> Asked:
    info = read_adapter(*find_adapter(adapter, adapters_dir=home.adapters))
    base = Path(str(info.base))
    model, _ = loading.load_model(base)
    tokenizer = loading.load_tokenizer(base)
    rows = orders.orders("test")[:count]
    prompts = [make_prompt(tokenizer, row.spoken).tokens for row in rows]
    adapter_weights.apply(model, info)
    answers = certify.greedy(model, tokenizer, prompts, max_tokens=ANSWER_TOKENS)
    request = Request(
        rows=[Row(tokens=prompts[0], targets=[1])],
        prompts=prompts,
        max_tokens=ANSWER_TOKENS,
        ends=sorted(tokenizer.eos_token_ids),
        threads=host.threads(),
    )
    return Asked(base, tokenizer, rows, request, answers)


def _read(asked: Asked, done: Exported, scratch: Path) -> Reading:
    reader = readers.choose(done.form.value)
    if reader is None:
        raise SystemExit(readers.advice(done.form.value))
    outcome = readers.read(reader, [_subject(asked, done, scratch)], asked.request, scratch=scratch)
    if outcome.exported is None:
        raise SystemExit(f"{done.form.value}: {outcome.fault}")
    return outcome.exported


def _subject(asked: Asked, done: Exported, scratch: Path) -> Subject:
    match done.form:
        case Form.PEFT:
            return Subject(model=asked.base, adapter=done.path)
        case Form.MERGED | Form.MLX:
            return Subject(model=done.path)
        case Form.GGUF | Form.OLLAMA:
            return Subject(model=next(done.path.glob("*.gguf")), tokenizer=asked.base)
        case Form.GGUF_ADAPTER:
            whole = scratch / "base.gguf"
            write_gguf(asked.base, Checkpoint(asked.base, []), whole, kind="F16")
            return Subject(model=whole, adapter=next(done.path.glob("*.gguf")), tokenizer=asked.base)


def _show(asked: Asked, done: Exported, kind: str | None, read: Reading) -> None:
    differ = [index for index, answer in enumerate(read.answers) if answer != asked.answers[index]]
    verdict = "passed" if done.certificate.passed else "failed"
    name = done.form.value if kind is None else f"{done.form.value} {kind}"
    equal, count = len(read.answers) - len(differ), len(asked.rows)
    print(
        f"| {name} | {read.reader} | {verdict} | {equal} of {count} | {asked.right(read.answers)} of {count} |",
        flush=True,
    )
    for index in differ[:1]:
        print(f"  {asked.text(asked.answers[index])}\n  {asked.text(read.answers[index])}", flush=True)


if __name__ == "__main__":
    main()
