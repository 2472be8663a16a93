"""Pictures as SVG written by hand: they need no library, and their changes can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 250, 20, 40
COLOURS = ("#1b6ca8", "#c1440e", "#2e7d32", "#7b1fa2", "#8d6e00", "#546e7a")


def plot(lines: Mapping[str, Mapping[int, float]], *, x_title: str, y_title: str) -> str:
    """Draw each line's values over their (whole, positive) numbers, from zero up; its name stands at its right end."""
    numbers = sorted({number for line in lines.values() for number in line})
    most = max(value for line in lines.values() for value in line.values()) * 1.1
    first, last = math.log10(numbers[0]), math.log10(numbers[-1])

    def x(number: int) -> float:
        return LEFT + (math.log10(number) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{x_title}</text>',
        f'<text x="14" y="{HEIGHT / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2:.0f})">{y_title}</text>',
    ]
    parts += [
        f'<text x="{x(number):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number:,}</text>'
        for number in numbers
    ]
    for step in range(1, 5):
        value = most / 1.1 * step / 4
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
    labels = _apart({name: y(line[max(line)]) for name, line in lines.items()})
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        points = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in sorted(line.items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{labels[name] + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def timelines(lanes: Mapping[str, Mapping[str, float]]) -> str:
    """Draw each lane's steps one after the other, each as long as it took, with its name and milliseconds below."""
    height, parts = 10, []
    for title, steps in lanes.items():
        whole, left = sum(steps.values()) or 1.0, 10.0
        parts.append(f'<text x="10" y="{height + 16}" font-weight="bold">{title}: {whole:,.2f} ms</text>')
        for number, (name, took) in enumerate(steps.items()):
            width, colour = took / whole * (WIDTH - 20), COLOURS[number % len(COLOURS)]
            below = height + 62 + number * 17
            parts += [
                f'<rect x="{left:.1f}" y="{height + 24}" width="{width:.1f}" height="20" fill="{colour}"/>',
                f'<rect x="10" y="{below - 9}" width="10" height="10" fill="{colour}"/>',
                f'<text x="26" y="{below}">{name}: {took:,.2f} ms</text>',
            ]
            left += width
        height += 72 + 17 * len(steps)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *parts, "</svg>", ""])


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Move labels that would overlap apart, from the top down."""
    placed: dict[str, float] = {}
    above = TOP - 14.0
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        above = placed[name] = max(height, above + 14)
    return placed
