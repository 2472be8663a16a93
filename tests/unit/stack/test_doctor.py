"""The doctor: each check is shown with what is right, and with what is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from shared.app.factory import base_app
from shared.app.routes import ServiceInfo
from shared.settings import ServerSettings
from stack.checks import Process
from stack.doctor import machine
from stack.doctor.findings import Check, Finding, right, run_checks, wrong
from tests.support.processes import free_port
from tests.support.serving import ServeApp

ROOT = Path(__file__).parents[3]


async def found(check: Check) -> list[tuple[str, str]]:
    """Run one check; return the state and what each of its findings is about."""
    return [(finding.state, finding.what) for finding in await run_checks({"it": check})]


def server(port: int) -> ServerSettings:
    return ServerSettings(_env_file=None, port=port)


def examine(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    ports = ("GATEWAY", "AUTH_VERIFY", "TEMP_IMAGE", "MEDIA_STORE", "CHECKOUT", "PLANTER_ORDERS", "STRIPE_SANDBOX")
    good = {
        "JWT_SECRET_KEY": "users-secret-of-the-tests-0123456789",
        "INTERNAL_SECRET": "internal-secret-of-the-tests-0123456789",
        "STRIPE_WEBHOOK_SECRET": "whsec_dGVzdHM=",
        **{f"{name}_PORT": str(free_port()) for name in ports},
    }
    done = subprocess.run(
        [sys.executable, "-m", "stack", "doctor", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **good, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_fresh_machine_is_right(tmp_path: Path) -> None:
    status, said = examine(tmp_path)
    assert status == 0, said
    assert "WRONG" not in said


def test_what_is_wrong_is_told_to_people_and_to_machines(tmp_path: Path) -> None:
    status, said = examine(tmp_path, RATE_LIMIT_LOGIN="often")
    assert status == 1
    assert [line for line in said.splitlines() if "WRONG" in line and "RATE_LIMIT_LOGIN" in line]
    status, said = examine(tmp_path, "--json", RATE_LIMIT_LOGIN="often")
    report = json.loads(said)
    assert (status, report["right"]) == (1, False)
    (finding,) = [finding for finding in report["findings"] if finding["state"] == "wrong"]
    assert set(finding) == {"what", "state", "says", "mend"}


async def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    async def breaks() -> AsyncIterator[Finding]:
        yield right("first", "fine.")
        raise RuntimeError

    async def works() -> AsyncIterator[Finding]:
        yield wrong("other", "not so.", "do this.")

    findings = await run_checks({"breaks": breaks, "works": works})
    assert [(finding.state, finding.what) for finding in findings] == [
        ("right", "first"), ("wrong", "breaks"), ("wrong", "other"),
    ]  # fmt: skip


async def test_a_port_is_free_or_taken_or_keepsakes_own(serve_app: ServeApp) -> None:
    own = int((await serve_app(base_app(ServiceInfo("it", ""), server(8080), []))).rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"gateway": own, "checkout": taken, "media-store": free_port()}
        processes = [Process(name, server(port)) for name, port in ports.items()]
        assert await found(partial(machine.check_ports, processes)) == [
            ("right", "port of gateway"),
            ("wrong", "port of checkout"),
            ("right", "port of media-store"),
        ]


async def test_a_disk_without_room_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = partial(machine.check_room, {"DATA_DIR": tmp_path / "not" / "yet"})
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 1)
    assert await found(check) == [("right", "room of DATA_DIR")]
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 2**80)
    assert await found(check) == [("wrong", "room of DATA_DIR")]


async def test_secrets_that_others_can_read_are_wrong(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    assert await found(partial(machine.check_secrets, env)) == []
    env.touch(mode=0o600)
    assert await found(partial(machine.check_secrets, env)) == [("right", "secrets")]
    env.chmod(0o644)
    assert await found(partial(machine.check_secrets, env)) == [("wrong", "secrets")]
