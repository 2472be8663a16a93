"""`python -m bench [--quick] [--only PART …]`: measure, print the goals, and write docs/performance.md."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import growth, latency, memory, phones, report, steps, thumbnails
from bench.client import WrongAnswer
from bench.comparisons import BEFORE, COMPARISONS, SMALL_SIZES, Bench
from bench.machine import DATA, ROOT, TOOLS, description, versions
from bench.plot import plot, timelines
from tests.support.processes import ServerDidNotStart

RESULTS = TOOLS / "results.json"
Results = dict[str, Any]


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
    parser.add_argument("--seconds", type=float, default=3.0, help="for each side in each round")
    parser.add_argument("--against", default=BEFORE, help="the commit whose /store-image is compared")
    return parser.parse_args()


def _picture(name: str, drawn: str) -> None:
    path: Path = report.PAGE.parent / "performance" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(drawn)


def _way(results: Results, _seconds: float) -> None:
    results["steps"] = steps.measure()
    photo = results["steps"]["12 MP"]
    titles = {"in": "A photo of 12 megapixels comes in", "worker": "… in the worker", "out": "… and goes out"}
    _picture("way.svg", timelines({title: photo[way] for way, title in titles.items()}))


def _latency(results: Results, seconds: float) -> None:
    results["latency"] = latency.measure(seconds * 3)


def _memory(results: Results, _seconds: float) -> None:
    results["growth"] = memory.growth()


def _stack(results: Results, _seconds: float) -> None:
    results["start_s"], results["idle"] = memory.of_stack()
    results["installed"] = memory.installed_mib()


def _growth(results: Results, _seconds: float) -> None:
    results["growing"] = growth.measure()
    _picture("growth.svg", plot(results["growing"], x_title="how many there are", y_title="milliseconds for one call"))


def _thumbnails(results: Results, _seconds: float) -> None:
    results["thumbnail"] = thumbnails.measure()


def _phones(results: Results, _seconds: float) -> None:
    results["phones"] = phones.measure()


EXTRAS: dict[str, Callable[[Results, float], None]] = {
    "way": _way,
    "latency": _latency,
    "memory": _memory,
    "stack": _stack,
    "growth": _growth,
    "thumbnails": _thumbnails,
    "phones": _phones,
}
NOT_QUICK = {"way", "growth", "phones", "thumbnails"}


def _compare(name: str, bench: Bench, results: Results) -> None:
    COMPARISONS[name](bench)
    for key, sizes in bench.results.items():
        results["comparisons"][key] = {
            size: {side: [asdict(run) for run in runs] for side, runs in sides.items()} for size, sides in sizes.items()
        }
        for size, sides in sizes.items():
            _say(f"  {key} {size}: " + ", ".join(f"{side} {_shown(runs)}" for side, runs in sides.items()))


def _shown(runs: list[Any]) -> str:
    cpu_ms = statistics.median(run.cpu_us for run in runs) / 1000
    return f"{cpu_ms:.3g} ms ({statistics.median(run.rate for run in runs):.0f}/s)"


def main() -> int:
    """Measure part after part; a part whose server is not there is said to be missing, a wrong answer fails the run."""
    arguments = _arguments()
    quick = arguments.quick
    results: Results = {"comparisons": {}}
    if arguments.only and RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    rounds, seconds = (1, 1.0) if quick else (arguments.rounds, arguments.seconds)
    results["about"] = {
        "command": f'make bench ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "make bench",
        "rounds": rounds,
        "seconds": seconds,
        "machine": description(),
        "versions": versions(),
    }
    results["failures"] = {}
    wrong, started = 0, time.monotonic()
    for name in arguments.only or [part for part in (*COMPARISONS, *EXTRAS) if not (quick and part in NOT_QUICK)]:
        begun = time.monotonic()
        _say(f"{name} …")
        try:
            if name in EXTRAS:
                EXTRAS[name](results, seconds)
            else:
                bench = Bench(rounds, seconds, commit=arguments.against)
                bench.sizes = SMALL_SIZES if quick else bench.sizes
                _compare(name, bench, results)
        except ServerDidNotStart as error:
            results["failures"][name] = "a server did not start"
            _say(f"  not measured: {error}")
        except WrongAnswer as error:
            results["failures"][name] = str(error)
            wrong += 1
            _say(f"  WRONG: {error}")
        except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
            results["failures"][name] = repr(error)
            wrong += 1
            _say(traceback.format_exc())
        _say(f"  {time.monotonic() - begun:.0f} s")
    shutil.rmtree(DATA, ignore_errors=True)
    _say(f"\nmeasured in {time.monotonic() - started:.0f} s\n\n" + "\n".join(report.verdicts(results)))
    if not quick:
        RESULTS.write_text(json.dumps(results))
        report.PAGE.write_text(report.page(results))
        _say(f"\nwrote {report.PAGE.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
