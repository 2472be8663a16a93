"""What a start says before it serves anything: all that is wrong at once, and where it listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.app.server import open_sockets

ROOT = Path(__file__).parents[3]
GOOD = {
    "JWT_SECRET_KEY": "users-secret-of-the-tests-0123456789",
    "INTERNAL_SECRET": "internal-secret-of-the-tests-0123456789",
    "STRIPE_WEBHOOK_SECRET": "whsec_dGVzdHM=",
}
PROCESSES = ("auth_verify", "temp_image", "media_store", "checkout", "planter_orders")
LOAD_ALL = "from stack.checks import load_processes; load_processes()"


def start(*arguments: str, folder: Path, **settings: str) -> tuple[int, list[str]]:
    """Start a process that is expected to end by itself; return its status and what it said."""
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **GOOD, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


def test_a_process_names_every_wrong_setting_in_a_line_each(tmp_path: Path) -> None:
    status, lines = start(
        "-m", "services.media_store", folder=tmp_path, ENVIRONMENT="production", MEDIA_STORE_PORT="http",
        MAX_UPLOAD_SIZE="0", STORAGE_BACKEND="s3", INTERNAL_SECRET="", JWT_SECRET_KEY="secret", CORS_ORIGINS="*",
        TRUSTED_PROXIES="somewhere", PUBLIC_URL="ftp://shop",
    )  # fmt: skip
    assert status == 2
    named = ("MEDIA_STORE_PORT", "MAX_UPLOAD_SIZE", "S3_BUCKET", "INTERNAL_SECRET", "JWT_SECRET_KEY", "CORS_ORIGINS",
             "TRUSTED_PROXIES", "PUBLIC_URL")  # fmt: skip
    assert all(line.startswith("keepsake: ") for line in lines)
    assert sorted(name for name in named for line in lines if line.startswith(f"keepsake: {name}")) == sorted(named)
    assert len(lines) == len(named)


def test_the_stack_names_what_is_wrong_of_any_process_once(tmp_path: Path) -> None:
    status, lines = start(
        "-c", LOAD_ALL, folder=tmp_path, JWT_SECRET_KEY="", RATE_LIMIT_LOGIN="often", CHECKOUT_SESSION_TTL_S="5",
        STORAGE_BACKEND="r2", TEMP_IMAGE_PORT="8002",
    )  # fmt: skip
    assert status == 2
    said = "\n".join(lines)
    for name in ("JWT_SECRET_KEY", "RATE_LIMIT_LOGIN", "CHECKOUT_SESSION_TTL_S", "R2_BUCKET_NAME", "R2_ACCOUNT_ID"):
        assert said.count(name) == 1, said


def test_two_processes_on_one_port_are_told(tmp_path: Path) -> None:
    status, lines = start("-c", LOAD_ALL, folder=tmp_path, TEMP_IMAGE_PORT="8002")
    assert (status, len(lines)) == (2, 1)
    assert "temp-image" in lines[0]
    assert "media-store" in lines[0]


@pytest.mark.parametrize("arguments", [*(("-m", f"services.{name}") for name in PROCESSES), ("-c", LOAD_ALL)])
def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    taken = tmp_path / "var"
    taken.touch()
    for data_dir in (taken, Path("/proc/keepsake")):
        status, lines = start(*arguments, folder=tmp_path, DATA_DIR=str(data_dir))
        assert (status, len(lines)) == (2, 1), lines
        assert lines[0].startswith(f"keepsake: DATA_DIR: the folder {data_dir} cannot be written")


def test_a_folder_of_temporary_images_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    status, lines = start("-m", "services.temp_image", folder=tmp_path, TEMP_DIR="/proc/keepsake")
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("keepsake: TEMP_DIR: the folder /proc/keepsake cannot be written")


def test_localhost_is_both_loopbacks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    opened = open_sockets("localhost", port, shared=False)
    try:
        assert {sock.getsockname()[:2] for sock in opened} == {("127.0.0.1", port), ("::1", port)}
    finally:
        for sock in opened:
            sock.close()


def test_a_port_that_is_taken_on_one_loopback_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            open_sockets("localhost", port, shared=False)
    assert f"port {port} on ::1" in capsys.readouterr().err


def test_a_system_without_ipv6_has_one_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, os.strerror(97))
        return real(family, kind)

    real = socket.socket
    monkeypatch.setattr("shared.app.server.socket.socket", without_ipv6)
    with real(socket.AF_INET) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (only,) = open_sockets("localhost", port, shared=False)
    assert only.getsockname() == ("127.0.0.1", port)
    only.close()
