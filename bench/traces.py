"""What traces cost: processor time of all processes for a request, without them and with them, in turn within one run.

`python -m bench.traces` writes a table to the screen; a minute where the machine is quiet.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

from bench.bodies import FORM_TYPE, form
from bench.load import require
from bench.machine import cpu_s, memory_kib
from tests.support import pictures
from tests.support.otlp import collecting
from tests.support.processes import free_port
from tests.support.stack import Stack, running_stack

PROCESSES = ("temp-image", "media-store", "gateway")
ROUNDS = 5
PHOTO = form(pictures.of_bytes(50_000), {})
CALLS = {
    "small answer": ("GET", "/api/temp-image-retrieve", b"", 400, 300),
    "upload, 50 KB": ("POST", "/api/temp-image-upload", PHOTO, 200, 200),
    "/store-image, 50 KB": ("POST", "/store-image", PHOTO, 200, 80),
}


def _cpu_us(stack: Stack, call: str) -> float:
    """Make the call many times; return the microseconds of one."""
    method, path, body, expected, times = CALLS[call]
    leaders = [stack.pid(name) for name in PROCESSES]
    connection = HTTPConnection("127.0.0.1", stack.ports["gateway"])
    before = cpu_s(leaders)
    for _ in range(times):
        connection.request(method, path, body or None, {"Content-Type": FORM_TYPE} if body else {})
        with connection.getresponse() as answer:
            text = answer.read()
        require(answer.status == expected, f"{path} was answered {answer.status}: {text[:200]!r}")
    connection.close()
    return (cpu_s(leaders) - before) / times * 1e6


def main() -> None:
    """Measure, and print."""
    with ExitStack() as opened:
        collector = opened.enter_context(collecting())
        nowhere = f"http://127.0.0.1:{free_port()}"
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        modes = {
            "no traces": {},
            "1 in 20": {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
            "all": {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": "1"},
            "all, collector down": {"OTEL_EXPORTER_OTLP_ENDPOINT": nowhere, "OTEL_TRACES_SAMPLER_ARG": "1"},
        }
        stacks: dict[str, Stack] = {}
        for number, (mode, settings) in enumerate(modes.items()):
            (folder / str(number)).mkdir()
            stacks[mode] = opened.enter_context(running_stack(folder / str(number), settings, *PROCESSES))
        for call in CALLS:
            took: dict[str, list[float]] = {mode: [] for mode in modes}
            for turn in range(ROUNDS):
                for mode in sorted(modes, reverse=bool(turn % 2)):
                    took[mode].append(_cpu_us(stacks[mode], call))
            medians = {mode: statistics.median(times[1:]) for mode, times in took.items()}  # the first warms up
            sys.stdout.write(f"{call}: {', '.join(f'{mode} {medians[mode]:.0f} µs' for mode in modes)}\n")
            sys.stdout.flush()
        for mode, stack in stacks.items():
            sizes = (f"{name} {memory_kib(stack.pid(name), 'VmRSS') / 1024:.0f}" for name in PROCESSES)
            sys.stdout.write(f"MiB, {mode}: {', '.join(sizes)}\n")


if __name__ == "__main__":
    main()
