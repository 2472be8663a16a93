from __future__ import annotations

import re

import pytest

from tests.support.stack import ROOT

README = (ROOT / "README.md").read_text()
RELIABILITY = README.partition("## Reliability")[2].partition("\n## ")[0]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", RELIABILITY)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_readme_names_is_there(path: str, name: str) -> None:
    assert f"def {name or 'test_'}" in (ROOT / path).read_text()
