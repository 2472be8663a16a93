"""The page: every goal with what was measured, a photo's way, the tables behind it, and how it was measured."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import goals, phones
from bench.goals import DROPPED, GOALS, NAMES, TITLES, Goal
from bench.latency import STRAIGHT
from bench.machine import ROOT

PAGE = ROOT / "docs" / "performance.md"
NOTES = Path(__file__).parent / "notes.toml"
Runs = Mapping[str, list[Any]]

INTRODUCTION = """\
# Performance

What is felt: how long a photo takes on its way in and out, how many a machine keeps, how long the page that waits for it waits
while others upload, and what all of it needs of memory. `make bench` measures and writes this page; `make bench-quick` prints a
shorter run. Neither ever fails on a time; both fail on a wrong answer.

How: the sides in turn, round after round, with 16 kept connections. Ours run as they are deployed, with validation, rate limits,
metrics and request ids on, on SQLite and local disk; the references are in `bench/references/`. Each answer's status is checked,
each upload's id, and every retrieved image byte for byte. *CPU* is the processor time, user and system, of all processes of a
side for each answer; it comes first, since it says the same on a machine that others use. ± is half the distance from the slowest
round to the fastest. What is under way when a round ends is waited for and counted. What uploads left is put aside between the
rounds, not deleted: a file system that deleted thousands of files is slow for minutes, whoever asks it next.
"""


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def ratio(goal: Goal, runs: Runs) -> dict[str, float]:
    """Return how many times better ours is: by rate the median over the rounds, by processor time that of the medians."""
    ours, other = runs[goal.ours], runs[goal.other]
    rates = [mine["rate"] / their["rate"] for mine, their in zip(ours, other, strict=True) if their["rate"]]
    mine, their = (_median(run["cpu_us"] for run in side) for side in (ours, other))
    return {"rate": _median(rates or [float("nan")]), "cpu": their / mine if mine else float("nan")}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(runs: list[dict[str, float]]) -> str:
    rates = [run["rate"] for run in runs]
    half = (max(rates) - min(rates)) / 2
    cpu_ms = _median(run["cpu_us"] for run in runs) / 1000
    return f"**{_number(cpu_ms)} ms** · {_number(_median(rates))} ± {_number(half)}"


def verdicts(results: Mapping[str, Any]) -> list[str]:
    """Return a table of the goals, each with what was measured."""
    notes = _notes()
    lines = [
        "| work | size | against | by | floor | goal | measured | by the other | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for goal in GOALS:
        for size, (floor, aim) in goal.floors.items():
            runs: Runs = results.get("comparisons", {}).get(goal.comparison, {}).get(size, {})
            name = f"| {NAMES[goal.comparison]} | {size} | {goal.other} | {goal.by} | {floor:g} | {aim:g} |"
            if goal.ours not in runs or goal.other not in runs:
                lines.append(f"{name} not measured | | |")
                continue
            by = ratio(goal, runs)
            measured, beside = by[goal.by], by["cpu" if goal.by == "rate" else "rate"]
            verdict = _verdict(measured >= floor, measured >= aim, goal.comparison, notes)
            lines.append(f"{name} **{measured:.2f}** | {beside:.2f} | {verdict} |")
    if call := results.get("latency", {}).get(STRAIGHT):
        p99 = call["busy_ms"][1]
        verdict = _verdict(p99 <= goals.P99_FLOOR_MS, p99 <= goals.P99_GOAL_MS, "latency", notes)
        lines.append(
            f"| p99 of retrieves while 12 MP photos come in | 50 KB | idle {call['idle_ms'][1]:.1f} ms | time "
            f"| {goals.P99_FLOOR_MS} ms | {goals.P99_GOAL_MS} ms | **{p99:.1f} ms** | | {verdict} |"
        )
    return lines


def _notes() -> dict[str, str]:
    return dict(tomllib.loads(NOTES.read_text()))


def _verdict(floor: bool, aim: bool, key: str, notes: Mapping[str, str]) -> str:  # noqa: FBT001 - both are what was found
    if aim:
        return "goal met"
    found = "floor met" if floor else "not met"
    return f"{found}: [why](#{key.replace('_', '-')})" if key in notes else found


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
        title = "thumbnail of a 12-megapixel JPEG, as a multiple of libvips"
        lines.append(_bound(title, results["thumbnail"]["ratio"], goals.THUMBNAIL_RATIO, "x"))
    return lines


def _anchored(key: str, title: str) -> list[str]:
    return ["", f'<a id="{key.replace("_", "-")}"></a>', "", title, ""]


def _tables(results: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for key, title in TITLES.items():
        sizes: Mapping[str, Runs] = results.get("comparisons", {}).get(key, {})
        if not sizes:
            continue
        names = list(next(iter(sizes.values())))
        lines += _anchored(key, f"### {title}")
        lines += [f"| size | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        lines += [f"| {size} | {' | '.join(_cell(runs[name]) for name in names)} |" for size, runs in sizes.items()]
        if key in notes:
            lines += ["", notes[key].strip()]
    return lines


def _way(steps: Mapping[str, Mapping[str, Mapping[str, float]]], notes: Mapping[str, str]) -> list[str]:
    lines = ["| step, median milliseconds | " + " | ".join(steps) + " |", f"|---|{'---|' * len(steps)}"]
    first = next(iter(steps.values()))
    for way, title in (("in", "in, whole"), ("worker", "of the worker's trip"), ("out", "out, whole")):
        sums = (f"**{sum(steps[size][way].values()):.2f}**" for size in steps)
        lines.append(f"| **{title}** | {' | '.join(sums)} |")
        lines += [
            f"| {name} | {' | '.join(f'{steps[size][way][name]:.2f}' for size in steps)} |" for name in first[way]
        ]
    return [*lines, "", notes["way"].strip()]


def _latency(calls: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    return [
        "| call | a second | idle: median, p99 | while photos come in: median, p99 | photos kept a second meanwhile |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {call['a_second']:.0f} | {call['idle_ms'][0]:.1f}, {call['idle_ms'][1]:.1f} ms "
            f"| {call['busy_ms'][0]:.1f}, **{call['busy_ms'][1]:.1f} ms** | {call['photos']:.1f} |"
            for name, call in calls.items()
        ),
        "",
        notes["latency"].strip(),
    ]


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


def _command(part: str) -> str:
    return f'`make bench ARGS="--only {part}"`'


def page(results: Mapping[str, Any]) -> str:
    """Return the whole page."""
    notes, about = _notes(), results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        INTRODUCTION,
        f"- command: `{about['command']}` ({about['rounds']} rounds of {about['seconds']:g} s for each side and size)",
        f"- machine: {about['machine']}",
        f"- versions: {versions}",
        f"- others used {_others(results):.1f} of the cores meanwhile (median over the runs)",
        "",
        "## Goals",
        "",
        "By `rate`: how many times as many answers a second ours gives; by `cpu`: how many times our processor time it needs.",
        "",
        *verdicts(results),
    ]
    if steps := results.get("steps"):
        picture = "![A photo's way in and out, step by step](performance/way.svg)"
        lines += ["", "## A photo's way in and out", "", _command("way"), "", picture, "", *_way(steps, notes)]
    lines += [
        "",
        "## How many, and at what cost",
        "",
        _command("store-image temp-image whole serve"),
    ]
    lines += ["", "CPU for each answer · answers a second, median ± spread.", *_tables(results, notes)]
    if calls := results.get("latency"):
        lines += [*_anchored("latency", "## How long others wait while photos come in"), _command("latency"), ""]
        lines += _latency(calls, notes)
    lines += ["", "## Memory, start, size", "", _command("memory stack thumbnails phones"), "", *_resources(results)]
    if rows := results.get("phones"):
        lines += ["", *phones.section(rows)]
    if growing := results.get("growing"):
        picture = "![One call over the number of images, orders or sessions there are](performance/growth.svg)"
        lines += ["", "## Cost over size", "", _command("growth"), "", *_growing(growing), "", picture]
    lines += ["", "## Goals that were dropped", "", *(f"- **{goal}**: {why}" for goal, why in DROPPED.items())]
    if failures := results.get("failures"):
        lines += ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in failures.items())]
    return "\n".join(lines) + "\n"
