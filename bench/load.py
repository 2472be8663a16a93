"""The load: wrk on a core of its own, and what one run of it tells."""

from __future__ import annotations

import http.client
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import LOAD_CORE, cpu_s, machine_cpu_s, on
from bench.servers import Server

CONNECTIONS = 16
WRK = Path(__file__).parent / "wrk"
READER = Path(__file__).parent / "reader.py"
COUNTS = re.compile(r"^BENCH (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
TIMEOUT_S = 20


class WrongAnswer(Exception):
    """A server answered something else than it should."""


@dataclass(frozen=True)
class Side:
    """One of the servers compared, and how it is asked: a script of wrk's or `reader`, a path, and the script's environment."""

    name: str
    server: Server
    script: str
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    load_cores: frozenset[int] = LOAD_CORE


@dataclass(frozen=True)
class Run:
    """One run: right answers a second, wrong ones, the server's processor time for each, and what others used of the machine.

    `others` is in cores.
    """

    rate: float
    wrong: int
    cpu_us: float
    others: float


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _command(side: Side, seconds: int) -> list[str]:
    port = side.server.port
    if side.script == "reader":
        return [sys.executable, str(READER), str(port), side.path, str(CONNECTIONS), str(seconds)]
    return [
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s",
        "-s", str(WRK / f"{side.script}.lua"), f"http://127.0.0.1:{port}{side.path}",
    ]  # fmt: skip


def run(side: Side, seconds: int, helpers: Sequence[int] = ()) -> Run:
    """Load one side for that many seconds; `helpers` are session leaders that work for it."""
    leaders = list(side.server.leaders)
    before = cpu_s(leaders), cpu_s(list(helpers)), _children_cpu_s(), machine_cpu_s(), time.monotonic()
    with on(side.load_cores):
        done = subprocess.run(
            _command(side, seconds),
            env={**os.environ, "BENCH_LUA": str(WRK), **side.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
    counted = COUNTS.search(done.stdout)
    if counted is None:
        raise WrongAnswer(f"{side.name}: the load said {(done.stdout + done.stderr)[-500:]}")
    after = cpu_s(leaders), cpu_s(list(helpers)), _children_cpu_s(), machine_cpu_s(), time.monotonic()
    served, helped, loaded, machine, wall = (end - start for start, end in zip(before, after, strict=True))
    side.server.empty()
    good, bad, broken, micros, _ = map(int, counted.groups())
    return Run(
        rate=good / (micros / 1e6),
        wrong=bad + broken,
        cpu_us=served / max(good, 1) * 1e6,
        others=max(0.0, machine - served - helped - loaded) / wall,
    )


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Ask once; return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def require(condition: object, sentence: str) -> None:
    """Raise WrongAnswer with the sentence unless the condition holds."""
    if not condition:
        raise WrongAnswer(sentence)


def alternate(sides: Sequence[Side], *, rounds: int, seconds: int, helpers: Sequence[int] = ()) -> dict[str, list[Run]]:
    """Load the sides in turn, round after round, each round beginning with another one; the first second warms up."""
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for number in range(rounds):
        turned = [*sides[number % len(sides) :], *sides[: number % len(sides)]]
        for side in turned:
            if number == 0 and rounds > 1:
                run(side, 1, helpers)
            runs[side.name].append(run(side, seconds, helpers))
    return runs
