"""The page: every goal with its measured ratio, the tables behind it, and how it was measured."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import goals, phones
from bench.goals import GOALS, NAMES, TITLES, Goal
from bench.machine import ROOT

PAGE = ROOT / "docs" / "performance.md"
NOTES = Path(__file__).parent / "notes.toml"
Runs = Mapping[str, list[Any]]

INTRODUCTION = """\
# Performance

Keepsake against what people would use instead, and against the limits of the machine. `make bench` measures and writes
this page; `make bench-quick` prints a shorter run. Neither ever fails on a time; both fail on a wrong answer.

How: every server is a process on one core of the loopback, `wrk` with 16 kept connections on another core (in the last
comparisons all of them share both cores), the sides in turn, round after round. Ours run as they are deployed, with
validation, rate limits, metrics and request ids on; the references are in `bench/references/`. Each answer's status is
checked, each upload's id, and every retrieved image byte for byte. A ratio is the median of the rounds' ratios; ± is
half the distance from the slowest round to the fastest. What uploads left is put aside between the rounds, not deleted: a
file system that deleted thousands of files is slow for minutes, whoever asks it next. *CPU* is the server's own processor
time for each answer: where others use the machine as well it says more than the rate does, so the ratio by CPU stands beside.
"""


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def ratio(ours: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """Return how many times the other's rate ours is: the median over the rounds in which the other answered at all."""
    pairs = zip(ours, other, strict=False)
    return _median([mine["rate"] / their["rate"] for mine, their in pairs if their["rate"]] or [float("nan")])


def cpu_ratio(ours: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """Return how many times our processor time the other needs for the same."""
    mine = _median(run["cpu_us"] for run in ours)
    return _median(run["cpu_us"] for run in other) / mine if mine else float("nan")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(runs: list[dict[str, float]]) -> str:
    rates = [run["rate"] for run in runs]
    half = (max(rates) - min(rates)) / 2
    cpu = _median(run["cpu_us"] for run in runs)
    used = f" · {_number(cpu)} µs" if cpu else ""
    return f"{_number(_median(rates))} ± {_number(half)}{used}"


def verdicts(results: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> list[str]:
    """Return a table of the goals, each with its measured ratio."""
    lines = ["| goal | size | to reach | measured | by CPU | |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        for size, floor in goal.floors.items():
            runs: Runs = results.get("comparisons", {}).get(goal.comparison, {}).get(size, {})
            name = f"{NAMES[goal.comparison]}, to {goal.other}"
            if goal.ours not in runs or goal.other not in runs:
                lines.append(f"| {name} | {size} | {floor:g} | not measured | | |")
                continue
            measured = ratio(runs[goal.ours], runs[goal.other])
            by_cpu = cpu_ratio(runs[goal.ours], runs[goal.other])
            met = "met" if measured >= floor else _unmet(goal, notes or {})
            lines.append(f"| {name} | {size} | {floor:g} | **{measured:.2f}** | {by_cpu:.2f} | {met} |")
    return lines


def _unmet(goal: Goal, notes: Mapping[str, str]) -> str:
    return f"not met: [why](#{goal.comparison.replace('_', '-')})" if goal.comparison in notes else "not met"


def _bound(name: str, value: float, most: float, unit: str) -> str:
    return f"| {name} | ≤ {most:g} {unit} | **{value:.1f} {unit}** | {'met' if value <= most else 'not met'} |"


def _resources(results: Mapping[str, Any]) -> list[str]:
    lines = ["| | to reach | measured | |", "|---|---|---|---|"]
    for name, grown in results.get("growth", {}).items():
        title = f"64 uploads of 5 MB at once: growth of {name}"
        most = goals.GROWTH_MIB.get(name)
        lines.append(_bound(title, grown, most, "MiB") if most else f"| {title} | | {grown:.0f} MiB | |")
    for name, idle in results.get("idle", {}).items():
        lines.append(_bound(f"idle: {name}", idle, goals.IDLE_MIB.get(name, goals.IDLE_OTHERS_MIB), "MiB"))
    if "start_s" in results:
        lines.append(_bound("cold start of the whole stack, all of it healthy", results["start_s"], goals.START_S, "s"))
    if "installed" in results:
        sizes = results["installed"]
        largest = ", ".join(f"{name} {size:.0f}" for name, size in list(sizes.items())[:6])
        lines.append(f"| installed runtime set (largest: {largest}) | | {sum(sizes.values()):.0f} MiB | |")
    if "thumbnail" in results:
        lines.append(
            _bound(
                "thumbnail of a 12-megapixel JPEG, as a multiple of libvips",
                results["thumbnail"]["ratio"],
                goals.THUMBNAIL_RATIO,
                "x",
            )
        )
    return lines


def _tables(results: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for key, title in TITLES.items():
        sizes: Mapping[str, Runs] = results.get("comparisons", {}).get(key, {})
        if not sizes:
            continue
        names = list(next(iter(sizes.values())))
        lines += ["", f'<a id="{key.replace("_", "-")}"></a>', "", f"### {title}", ""]
        lines += [f"| size | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        lines += [f"| {size} | {' | '.join(_cell(runs[name]) for name in names)} |" for size, runs in sizes.items()]
        if key in notes:
            lines += ["", notes[key].strip()]
    return lines


def _growing(taken: Mapping[str, Mapping[str, float]]) -> list[str]:
    counts = list(next(iter(taken.values())))
    return [
        f"| median milliseconds of | {' | '.join(f'{int(count):,}' for count in counts)} |",
        f"|---|{'---|' * len(counts)}",
        *(f"| {name} | {' | '.join(f'{line[count]:.1f}' for count in counts)} |" for name, line in taken.items()),
    ]


def _others(results: Mapping[str, Any]) -> float:
    comparisons = results.get("comparisons", {}).values()
    used = [
        run["others"] for sizes in comparisons for sides in sizes.values() for runs in sides.values() for run in runs
    ]
    return _median(used) if used else 0.0


def page(results: Mapping[str, Any]) -> str:
    """Return the whole page."""
    notes = tomllib.loads(NOTES.read_text()) if NOTES.exists() else {}
    about = results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        INTRODUCTION,
        f"- command: `{about['command']}` ({about['rounds']} rounds of {about['seconds']} s for each side and size)",
        f"- machine: {about['machine']}",
        f"- versions: {versions}",
        f"- others used {_others(results):.1f} of the cores meanwhile (median over the runs)",
        "",
        "## Goals",
        "",
        *verdicts(results, notes),
        "",
        "## Memory, start, size",
        "",
        *_resources(results),
        "",
        "## What was measured",
        "",
        "Answers a second, median ± spread · CPU for each.",
        *_tables(results, notes),
    ]
    if growing := results.get("growing"):
        lines += ["", "### Cost over size", "", *_growing(growing)]
    if rows := results.get("phones"):
        lines += ["", *phones.section(rows)]
    for title, picture in results.get("plots", {}).items():
        lines += ["", f"### {title}", "", f"![{title}](performance/{picture})"]
    failures = results.get("failures", {})
    if failures:
        lines += ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in failures.items())]
    return "\n".join(lines) + "\n"
