"""The npm package: small, typed, with examples that are true."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shared import VERSION
from tests.support.node import ensure_installed, node, npm
from tests.support.stack import ROOT, Stack

HOME = ROOT / "clients" / "javascript"
MAX_CORE_BYTES = 8 * 1024
IMPORT = re.compile(r'^(?:import|export) [^;]*?from "\./([a-z]+\.js)";', re.MULTILINE)


def imported(name: str) -> set[str]:
    """Return the modules that a module brings with it, itself included."""
    found = {name}
    for other in IMPORT.findall((HOME / "src" / name).read_text()):
        found |= imported(other)
    return found


def test_the_core_is_at_most_8_kb_gzipped() -> None:
    core = imported("index.js")
    assert {"index.js", "transport.js", "errors.js"} <= core
    assert sum(len(gzip.compress((HOME / "src" / name).read_bytes(), mtime=0)) for name in core) <= MAX_CORE_BYTES


def test_each_import_of_the_package_is_there_with_its_types() -> None:
    package = json.loads((HOME / "package.json").read_text())
    assert not package.get("dependencies")
    assert package["version"] == VERSION
    entries = [entry for entry in package["exports"].values() if isinstance(entry, dict)]
    assert {entry["default"] for entry in entries} >= {"./src/index.js", "./src/react.js", "./src/uppy.js"}
    for entry in entries:
        assert (HOME / entry["default"]).is_file()
        assert (HOME / entry["types"]).is_file()


@pytest.mark.long  # TypeScript takes its time
@pytest.mark.timeout(300)
def test_types_and_the_readmes_examples_hold_under_strict() -> None:
    ensure_installed(HOME)
    npm(HOME, "run", "check")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_client_fits_the_api_as_it_is_described_today(stack: Stack, tmp_path: Path) -> None:
    ensure_installed(HOME)
    ignored = shutil.ignore_patterns("node_modules", "examples")
    home = Path(shutil.copytree(HOME, tmp_path / "client", ignore=ignored))
    (home / "node_modules").symlink_to(HOME / "node_modules")
    subprocess.run([node(), HOME / "scripts" / "examples.mjs", home / "examples"], check=True)
    npm(home, "run", "types", "--", f"{stack.url('gateway')}/openapi.json")
    npm(home, "exec", "--offline", "--", "tsc", "--project", ".")


def test_no_lock_file_names_a_registry() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "*package-lock.json"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    locks = [Path(ROOT, name) for name in listing.stdout.splitlines()]
    assert HOME / "package-lock.json" in locks
    for lock in locks:
        assert '"resolved"' not in lock.read_text()
