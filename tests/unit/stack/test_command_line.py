"""What a mistyped command does: it says how it is used, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("stack --help", 0),
        ("stack docter", 2),
        ("stack --relaod", 2),
        ("stack doctor --bogus", 2),
        ("stack doctor --help", 0),
        ("gateway --help", 0),
        ("services.temp_image --bogus", 2),
        ("services.planter_orders serve", 2),
        ("stripe_sandbox --help", 0),
        ("web.shop bogus", 2),
        ("tools.settings_reference --help", 0),
        ("tools.settings_reference --bogus", 2),
    ],
)
def test_a_command_that_is_unknown_or_asks_for_help_changes_nothing(arguments: str, status: int) -> None:
    had_settings = (ROOT / ".env").exists()
    done = subprocess.run(
        [sys.executable, "-m", *arguments.split()],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_PORT": "none"},  # should it start the stack, that ends there
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, (done.stdout + done.stderr).startswith("usage: ")) == (status, True), done.stderr
    assert (ROOT / ".env").exists() == had_settings


PROGRAMS = re.findall(r"(?m)^\[program:(.+)\]\ncommand=.* -m (?!stack)(\S+)", (ROOT / "supervisord.conf").read_text())


@pytest.mark.parametrize(("name", "module"), PROGRAMS)
def test_each_process_of_the_stack_can_be_run_by_itself(name: str, module: str) -> None:
    told = subprocess.run(
        ["make", "-n", "--no-print-directory", f"run-{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert told.endswith(f"python -m {module}\n")
