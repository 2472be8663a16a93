"""What the tests of the doctor share: one check run by itself, and the whole doctor run as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.settings import ServerSettings
from stack.doctor.findings import Check, run_checks
from tests.support import secret_values
from tests.support.processes import free_port

ROOT = Path(__file__).parents[3]


async def found(check: Check) -> list[tuple[str, str]]:
    """Run one check; return the state and what each of its findings is about."""
    return [(finding.state, finding.what) for finding in await run_checks({"it": check})]


def server(port: int) -> ServerSettings:
    return ServerSettings(_env_file=None, port=port)


def examine(folder: Path, *arguments: str, within: Sequence[str] = (), **settings: str) -> tuple[int, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    ports = ("GATEWAY", "AUTH_VERIFY", "TEMP_IMAGE", "MEDIA_STORE", "CHECKOUT", "PLANTER_ORDERS", "STRIPE_SANDBOX")
    good = {
        **secret_values.SETTINGS,
        **{f"{name}_PORT": str(free_port()) for name in ports},
    }
    done = subprocess.run(
        [*within, sys.executable, "-m", "stack", "doctor", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **good, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout
