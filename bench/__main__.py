"""`python -m bench [--quick] [--only PART …]`: measure, print the goals, and write docs/performance.md."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench import growth, memory, phones, report, thumbnails
from bench.comparisons import COMPARISONS, Bench
from bench.load import WrongAnswer
from bench.machine import DATA, ROOT, TOOLS, description, missing_tools, versions
from bench.plot import plot
from tests.support.processes import ServerDidNotStart

RESULTS = TOOLS / "results.json"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, 50 KB and 1 MB, and no page")
    parser.add_argument(
        "--only", nargs="+", choices=[*COMPARISONS, *EXTRAS], help="these parts; the page keeps the others' numbers"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    return parser.parse_args()


def _memory(results: dict[str, Any]) -> None:
    results["growth"] = memory.growth()


def _stack(results: dict[str, Any]) -> None:
    results["start_s"], results["idle"] = memory.of_stack()
    results["installed"] = memory.installed_mib()


def _growth(results: dict[str, Any]) -> None:
    taken = growth.measure()
    picture = report.PAGE.parent / "performance" / "growth.svg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(plot(taken, x_title="how many there are", y_title="milliseconds for one call"))
    results["plots"] = {"One call over the number of images, orders or sessions there are": picture.name}
    results["growing"] = taken


def _thumbnails(results: dict[str, Any]) -> None:
    results["thumbnail"] = thumbnails.measure()


def _phones(results: dict[str, Any]) -> None:
    results["phones"] = phones.measure()


EXTRAS: dict[str, Callable[[dict[str, Any]], None]] = {
    "memory": _memory,
    "stack": _stack,
    "growth": _growth,
    "thumbnails": _thumbnails,
    "phones": _phones,
}
NOT_QUICK = {"growth", "phones", "thumbnails", "workers"}


def _compare(name: str, bench: Bench, results: dict[str, Any]) -> None:
    COMPARISONS[name](bench)
    for key, sizes in bench.results.items():
        results["comparisons"][key] = {
            size: {side: [asdict(run) for run in runs] for side, runs in sides.items()} for size, sides in sizes.items()
        }
        for size, sides in sizes.items():
            rates = ", ".join(
                f"{side} {statistics.median(run.rate for run in runs):.0f}" for side, runs in sides.items()
            )
            _say(f"  {key} {size}: {rates}")
            for side, runs in sides.items():
                if wrong := sum(run.wrong for run in runs):
                    raise WrongAnswer(f"{key} {size}: {wrong} wrong answers from {side}")


def main() -> int:
    """Measure part after part; a part whose server is not there is said to be missing, a wrong answer fails the run."""
    arguments = _arguments()
    if missing := missing_tools():
        _say(missing)
        return 2
    quick = arguments.quick
    results: dict[str, Any] = {"comparisons": {}}
    if arguments.only and RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    rounds, seconds = (1, 1) if quick else (arguments.rounds, arguments.seconds)
    results["about"] = {
        "command": "make bench-quick"
        if quick
        else f"make bench ARGS='{' '.join(sys.argv[1:])}'"
        if sys.argv[1:]
        else "make bench",
        "rounds": rounds,
        "seconds": seconds,
        "machine": description(),
        "versions": versions(),
    }
    results["failures"] = {}
    wrong = 0
    started = time.monotonic()
    for name in arguments.only or [part for part in (*COMPARISONS, *EXTRAS) if not (quick and part in NOT_QUICK)]:
        _say(f"{name} …")
        try:
            if name in EXTRAS:
                EXTRAS[name](results)
            else:
                bench = Bench(rounds, seconds, ("50 KB", "1 MB")) if quick else Bench(rounds, seconds)
                _compare(name, bench, results)
        except ServerDidNotStart as error:
            results["failures"][name] = "a server did not start"
            _say(f"  not measured: {error}")
        except WrongAnswer as error:
            results["failures"][name] = str(error)
            wrong += 1
            _say(f"  WRONG: {error}")
    shutil.rmtree(DATA, ignore_errors=True)
    _say(
        f"\nmeasured in {time.monotonic() - started:.0f} s\n\n"
        + "\n".join(line for line in report.verdicts(results) if "not measured" not in line)
    )
    if not quick:
        RESULTS.write_text(json.dumps(results))
        report.PAGE.write_text(report.page(results))
        _say(f"\nwrote {report.PAGE.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
