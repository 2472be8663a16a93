"""One run of the load on one side, and what it tells: the processor time for each answer, and the rate."""

from __future__ import annotations

import http.client
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from bench.client import Load, Told, WrongAnswer
from bench.machine import LOAD_CORE, ROOT, cpu_s, machine_cpu_s, on
from bench.servers import Server


@dataclass(frozen=True)
class Side:
    """One of the servers compared, and how it is asked."""

    name: str
    server: Server
    load: Load
    load_cores: frozenset[int] = LOAD_CORE


@dataclass(frozen=True)
class Run:
    """One run: right answers a second, wrong ones, the server's processor time for each, and what others used of the machine.

    `cpu_us` is user and system time of all the server's processes; `others` is in cores.
    """

    rate: float
    wrong: int
    cpu_us: float
    others: float


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def loading(load: Load, cores: frozenset[int]) -> Iterator[subprocess.Popen[str]]:
    """Load in another process, which is ended with the block."""
    with on(cores):
        client = subprocess.Popen(
            [sys.executable, "-m", "bench.client", json.dumps(asdict(load))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with client:
        try:
            yield client
        finally:
            client.kill()


def told(client: subprocess.Popen[str]) -> Told:
    """Wait for what a load tells. Raises WrongAnswer where it got a wrong answer, or none."""
    out, errors = client.communicate()
    result = Told(**json.loads(out)) if out else Told(0, 1, 1.0, 0.0, 0.0)
    require(not result.wrong, f"{result.wrong} of {result.good + result.wrong} answers: {errors[-500:]}")
    return result


def run(side: Side) -> Run:
    """Load one side."""
    leaders = list(side.server.leaders)
    before = cpu_s(leaders), _children_cpu_s(), machine_cpu_s(), time.monotonic()
    with loading(side.load, side.load_cores) as client:
        result = told(client)
    after = cpu_s(leaders), _children_cpu_s(), machine_cpu_s(), time.monotonic()
    served, loaded, machine, wall = (end - start for start, end in zip(before, after, strict=True))
    side.server.empty()
    return Run(
        rate=result.good / result.seconds,
        wrong=result.wrong,
        cpu_us=served / max(result.good, 1) * 1e6,
        others=max(0.0, machine - served - loaded) / wall,
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


def alternate(sides: Sequence[Side], rounds: int) -> dict[str, list[Run]]:
    """Load the sides in turn, round after round, each round beginning with another one; one short run each warms up."""
    runs: dict[str, list[Run]] = {side.name: [] for side in sides}
    for side in sides:
        run(replace(side, load=replace(side.load, seconds=side.load.seconds / 4)))
    for number in range(rounds):
        for side in (*sides[number % len(sides) :], *sides[: number % len(sides)]):
            runs[side.name].append(run(side))
    return runs
