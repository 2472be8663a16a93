"""What the suites of attacks, faults and replicas withstood, counted at the end of a run, as README.md repeats it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

SUITE = re.compile(r"tests/(attacks|faults|replicas)/test_(\w+)\.py::")
withstood: Counter[tuple[str, str]] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    found = SUITE.match(report.nodeid)
    if found and report.when == "call" and report.passed:
        withstood[found[1], found[2]] += 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for (kind, suite), count in sorted(withstood.items()):
        terminalreporter.write_line(f"{kind}: {suite} {count}")
