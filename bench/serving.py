"""Answers for many: `droidft serve` beside mlx-lm's own server, on one model, one BLAS, in one run.

    python -m bench.serving                          # SmolLM2-135M-Instruct, fetched once
    python -m bench.serving --clients 1 8 --tokens 64 --sides ours

Each client streams one chat completion at temperature 0, all at once. Tokens a second are those of all clients, from
the first request to the last token; what is refused counts as none. `mixed` spreads eight clients over the base and
four adapters (rank 32, all projections, random), which mlx-lm's server cannot; a ninth client comes while eight are
being answered, and its first token is compared with a lone one's. Let nothing else run meanwhile. Where that cannot
be had, compare `CPU`, the processor seconds that 100 tokens took, with --threads 1: threads that wait count too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from droidft.models import embedded

MODEL = "smollm2-135m-instruct"
TOPICS = [
    "sea",
    "harbour",
    "winter",
    "market",
    "railway",
    "garden",
    "mountain",
    "library",
    "bakery",
    "river",
    "school",
    "island",
]
OPENS = re.compile(r"open\s+http://127\.0\.0\.1:(\d+)")
PEER = """
import sys
from pathlib import Path
from droidft.engine.machine.device import prepare
prepare(Path(sys.argv.pop(1)))
from mlx_lm.server import main
main()
"""
"""mlx-lm's server on the BLAS and the compiler that ours has; the fused kernels are ours alone."""


@dataclass(frozen=True)
class Answer:
    """What one client got."""

    first: float
    """Seconds to the first text."""
    tokens: int


@dataclass(frozen=True)
class Served:
    """A server that answers at `port`, and what it is asked for."""

    port: int
    models: list[str]
    pid: int
    token: str = ""

    def seconds(self) -> float:
        """Processor time that its processes have used."""
        parent = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 48])
    parser.add_argument("--tokens", type=int, default=48, help="length of each answer")
    parser.add_argument("--sides", nargs="+", choices=("ours", "mlx-lm"), default=["ours", "mlx-lm"])
    parser.add_argument("--threads", type=int, help="of each server; as many as there are cores without it")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    args = parser.parse_args()
    if args.threads:
        os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)
    cache = args.cache.absolute()
    path = embedded.install(cache, cache_dir=cache)
    found: dict[tuple[str, str], float] = {}
    print(f"{'':<22}{'tokens/s':>10}{'first: median':>15}{'last':>9}{'refused':>9}{'CPU':>9}")
    for side in args.sides:
        with _ours(path, cache) if side == "ours" else _peer(path, cache) as server:
            asyncio.run(_measure(side, server, args.clients, args.tokens, found))
    for count in args.clients:
        ours, peer = (found.get((side, f"{count}"), 0.0) for side in ("ours", "mlx-lm"))
        if ours and peer:
            print(f"{count} clients, ours / mlx-lm: {ours / peer:.2f}")
    for side in args.sides:
        if one := found.get((side, "1")):
            gains = ", ".join(f"{n}: {found[side, f'{n}'] / one:.2f}" for n in args.clients if n > 1)
            print(f"{side}, clients against one: {gains}")


async def _measure(side: str, server: Served, clients: list[int], tokens: int, found: dict[Any, float]) -> None:
    await _ask(server, 0, 2)  # the model is loaded, and kernels are compiled
    for count in clients:
        found[side, f"{count}"] = await _together(f"{side}, {count}", server, [0] * count, tokens)
    if len(server.models) > 1:
        kinds = [client % len(server.models) for client in range(8)]
        await _ask(server, 0, 2)
        for kind in range(1, len(server.models)):
            await _ask(server, kind, 2)
        found[side, "mixed"] = await _together(f"{side}, 8 mixed", server, kinds, tokens)
    if max(clients) >= 8:
        await _ninth(side, server)


async def _together(label: str, server: Served, kinds: list[int], tokens: int) -> float:
    begun, used = time.perf_counter(), server.seconds()
    asked = [_ask(server, kind, tokens, client=client) for client, kind in enumerate(kinds)]
    answers = await asyncio.gather(*asked)
    seconds = time.perf_counter() - begun
    good = [answer for answer in answers if answer is not None]
    tokens_made = sum(answer.tokens for answer in good)
    speed, cost = tokens_made / seconds, (server.seconds() - used) / tokens_made * 100
    firsts = [answer.first for answer in good]
    middle, last = statistics.median(firsts), max(firsts)
    print(
        f"{label:<22}{speed:>10.1f}{middle:>14.2f}s{last:>8.2f}s{len(answers) - len(good):>9}{cost:>8.1f}s",
        flush=True,
    )
    return speed


async def _ninth(side: str, server: Served) -> None:
    """The time to the first token of a client that comes while eight are being answered."""
    alone, ninth = [], []
    for round in range(3):
        lone = await _ask(server, 0, 2, client=100 + round)
        eight = [asyncio.create_task(_ask(server, 0, 40, client=200 + 10 * round + each)) for each in range(8)]
        await asyncio.sleep(1.5)
        late = await _ask(server, 0, 2, client=300 + round)
        await asyncio.gather(*eight)
        assert lone is not None
        assert late is not None
        alone.append(lone.first)
        ninth.append(late.first)
    one, nine = statistics.median(alone), statistics.median(ninth)
    print(f"{side}, a ninth's first token after {nine:.2f} s, a lone one's after {one:.2f} s: {nine / one:.2f}")


async def _ask(server: Served, kind: int, tokens: int, *, client: int = 999) -> Answer | None:
    """One streamed chat; None where it was refused."""
    topic = TOPICS[client % len(TOPICS)]
    text = f"Story {client}: write a long story about the {topic}, the people who live by it, and the weather there."
    body = {
        "model": server.models[kind],
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    content = json.dumps(body).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *([f"Authorization: Bearer {server.token}"] if server.token else []),
    ]
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
    first, made = 0.0, 0
    if b" 200 " not in await reader.readline():
        writer.close()
        return None
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if not first and any(choice.get("delta", {}).get("content") for choice in event.get("choices", ())):
            first = time.perf_counter() - begun
        if usage := event.get("usage"):
            made = usage["completion_tokens"]
    writer.close()
    return Answer(first, made)


@contextmanager
def _ours(path: Path, cache: Path) -> Iterator[Served]:
    from bench.generate import adapter

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in ("models", "adapters"):
            (home / name).mkdir()
        (home / "models" / MODEL).symlink_to(path)
        (home / "cache").symlink_to(cache)
        names = [f"a{number}" for number in range(4)]
        for seed, name in enumerate(names):
            adapter(path, home / "adapters" / name, seed)
        with _started([sys.executable, "-m", "droidft.cli", "serve", "--port", "0", "--no-browser"], home) as process:
            assert process.stdout is not None
            port = next(int(found[1]) for line in process.stdout if (found := OPENS.search(line)))
            token = (home / "server" / "token").read_text().strip()
            _wait(process, port)
            yield Served(port, [MODEL, *(f"{MODEL}:{name}" for name in names)], process.pid, token)


@contextmanager
def _peer(path: Path, cache: Path) -> Iterator[Served]:
    port = 8971
    command = [sys.executable, "-c", PEER, str(cache), "--model", str(path), "--port", str(port)]
    with _started([*command, "--log-level", "WARNING"], cache) as process:
        _wait(process, port)
        yield Served(port, [str(path)], process.pid)


def _wait(process: subprocess.Popen[str], port: int) -> None:
    """Until it listens."""
    while process.poll() is None:
        try:
            asyncio.run(_knock(port))
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("a server has ended before it listened")


async def _knock(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


@contextmanager
def _started(command: list[str], home: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"DROIDFT_HOME": str(home), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    main()
