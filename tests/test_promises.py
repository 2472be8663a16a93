from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.plugins.stack import ROOT

README = (ROOT / "README.md").read_text()
RELIABILITY = README.partition("## Reliability")[2].partition("\n## ")[0]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", RELIABILITY)
COUNTED = re.findall(r"^\| `(tests/\w+/test_\w+\.py)` \| (\d+) \|$", RELIABILITY, re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_readme_names_is_there(path: str, name: str) -> None:
    assert f"def {name or 'test_'}" in (ROOT / path).read_text()


def test_the_counts_in_the_readme_are_true() -> None:
    folders = [f"tests/{name}" for name in ("attacks", "faults", "replicas")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = Counter(line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line)
    assert {path: int(count) for path, count in COUNTED} == dict(found)
