"""The whole stack as processes, as `make run` starts them: on free ports, with a data folder of its own.

`stack` runs once for the session on the embedded defaults; `Stack` is there for tests that kill, restart or configure.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import ServerDidNotStart, free_port

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
MODULES = {
    "auth-verify": "services.auth_verify",
    "temp-image": "services.temp_image",
    "media-store": "services.media_store",
    "checkout": "services.checkout",
    "planter-orders": "services.planter_orders",
    "stripe-sandbox": "stripe_sandbox",
    "gateway": "gateway",
}
DEMO_SHOP = "demo-shop"  # started where a test asks for it by name
URL_SETTINGS = {
    "auth-verify": "AUTH_SERVICE_URL",
    "temp-image": "TEMP_IMAGE_URL",
    "media-store": "MEDIA_STORE_URL",
    "checkout": "CHECKOUT_URL",
    "planter-orders": "PLANTER_ORDERS_URL",
}


def _setting(name: str) -> str:
    return name.upper().replace("-", "_")


class Stack:
    """Processes of Keepsake that can be started, killed and started again one by one."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in (*MODULES, DEMO_SHOP)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.settings = {
            "ENVIRONMENT": "development",
            "DATA_DIR": str(folder / "var"),
            "JWT_SECRET_KEY": secrets.token_urlsafe(32),
            "INTERNAL_SECRET": secrets.token_urlsafe(32),
            "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
            "FRONTEND_URL": "http://localhost:3000",
            "PUBLIC_URL": f"http://127.0.0.1:{self.ports['gateway']}",
            "RATE_LIMIT_DEFAULT": "off",
            "RATE_LIMIT_LOGIN": "off",
            "RATE_LIMIT_STORE_IMAGE": "off",
            **{f"{_setting(name)}_PORT": str(self.ports[name]) for name in MODULES},
            **{setting: self.url(name) for name, setting in URL_SETTINGS.items()},
            **(settings or {}),
        }

    def url(self, name: str) -> str:
        """Return the base address of a process."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: the settings, and nothing of the developer's own `.env`."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "PYTHONPATH": str(ROOT), **self.settings}

    def command(self, name: str) -> list[str]:
        """Return the command of a process."""
        return [sys.executable, "-m", "web.shop" if name == DEMO_SHOP else MODULES[name]]

    def start(self, *names: str) -> None:
        """Start processes, and return when each of them is ready."""
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self.command(name),
                    cwd=self.folder,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        for name in names:
            self._wait(name)

    def pid(self, name: str) -> int:
        """Return the process id."""
        return self._running[name].pid

    def runs(self, name: str) -> bool:
        """Say whether it was started and neither killed nor stopped since."""
        return name in self._running

    def log(self, name: str) -> str:
        """Return what the process wrote so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        """End a process the hard way: SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """End a process the polite way: SIGTERM; return its exit code."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(STOP_TIMEOUT_S)

    def stop_all(self) -> None:
        """End whatever still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _wait(self, name: str) -> None:
        path = "/" if name == "stripe-sandbox" else "/health"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._running[name].poll() is None:
            try:
                with urllib.request.urlopen(self.url(name) + path, timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        raise ServerDidNotStart(f"{name}: {self.log(name)[-3000:]}")


@contextmanager
def running_stack(folder: Path, settings: Mapping[str, str] | None = None, *names: str) -> Iterator[Stack]:
    """Run the named processes (all of them where none is named) until the block ends."""
    whole = Stack(folder, settings)
    try:
        whole.start(*(names or MODULES))
        yield whole
    finally:
        whole.stop_all()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack on embedded defaults, without rate limits, shared by the tests of the contract."""
    with running_stack(tmp_path_factory.mktemp("stack")) as whole:
        yield whole


@pytest.fixture(params=["gateway", "port"])
def door(request: pytest.FixtureRequest, stack: Stack) -> Callable[[str], str]:
    """Where a service is asked, by its name: through the gateway, and on its own port."""
    return stack.url if request.param == "port" else lambda _service: stack.url("gateway")
