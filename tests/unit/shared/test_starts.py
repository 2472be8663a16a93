"""What a start says before it serves anything: all that is wrong at once, and where it listens."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from shared.app.server import open_sockets
from shared.settings import ServerSettings, read_settings
from stack.checks import PROCESSES as SETTINGS
from stack.checks import read_processes
from tests.support.migrations import make_tables
from tests.support.processes import free_port
from tests.support.secret_values import SETTINGS as GOOD
from web.shop.settings import ShopSettings

ROOT = Path(__file__).parents[3]
PROCESSES = ("auth_verify", "temp_image", "media_store", "checkout", "planter_orders")
FREE_TEXT = {
    "JWT_SECRET_KEY", "JWT_ISSUER", "JWT_AUDIENCE", "INTERNAL_SECRET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET",
}  # fmt: skip
ANY_WORD = {"HOST", "S3_BUCKET", "AWS_REGION", "R2_ACCOUNT_ID", "R2_BUCKET_NAME", "ORDER_WEBHOOK_SECRET"}
FOLDERS = {"DATA_DIR", "TEMP_DIR"}
LOAD_ALL = "from stack.checks import load_processes; load_processes()"


EVERY: tuple[type[BaseSettings], ...] = (*SETTINGS.values(), ShopSettings)


def names_read_by(model: type[BaseSettings]) -> set[str]:
    """Return the environment's names for all that a process reads."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        found.update(map(str, getattr(alias, "choices", [alias or name.upper()])))
    return found


def checked_settings() -> list[tuple[type[BaseSettings], str]]:
    return [(model, name) for model in EVERY for name in sorted(names_read_by(model) - FREE_TEXT - FOLDERS)]


@pytest.fixture
def settings_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Have nothing set but what must be."""
    monkeypatch.chdir(tmp_path)
    for name in set().union(*map(names_read_by, EVERY)):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


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


@pytest.mark.long
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


@pytest.mark.parametrize(("model", "name"), checked_settings())
def test_nonsense_stops_the_start_with_one_sentence_that_names_the_setting(
    settings_in_order: pytest.MonkeyPatch, model: type[ServerSettings], name: str
) -> None:
    for value in ("no such thing!", "junk")[: 1 if name in ANY_WORD else 2]:
        settings_in_order.setenv(name, value)
        settings, lines = read_settings(model)
        assert settings is None
        assert len(lines) == 1
        assert lines[0].startswith(name)
        assert value not in lines[0]


@pytest.mark.parametrize("model", [*SETTINGS.values(), ShopSettings])
def test_a_start_without_nonsense_says_nothing(
    settings_in_order: pytest.MonkeyPatch, model: type[ServerSettings]
) -> None:
    assert read_settings(model)[1] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("CDN_URL", "R2_PUBLIC_DOMAIN") for value in (
            "cdn.example", "cdn.example:8443/images", "https://cdn", "http://127.0.0.1:9000/bucket", "https://[::1]:9",
        )),
        ("PUBLIC_URL", "https://shop.example/images/"),
        ("CORS_ORIGINS", "https://a.example, http://[::1]:3000/,http://localhost:3000"),
        ("MEDIA_STORE_URL", "http://media_store:8002,http://10.0.0.1:8002/"),
        ("S3_ENDPOINT_URL", "http://s3.localhost:8333"),
        ("ORDER_WEBHOOK_URL", "https://user:word@hooks.example/keepsake?shop=1"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("REDIS_URL", "rediss://:p%40ss@redis.example:6380/2"),
    ],
)  # fmt: skip
def test_an_honest_address_is_taken(settings_in_order: pytest.MonkeyPatch, name: str, value: str) -> None:
    settings_in_order.setenv("ORDER_WEBHOOK_SECRET", "whsec_dGVzdHMgb2YgdGhlIHN0YXJ0IG9mIGEgc2VydmljZQ==")
    settings_in_order.setenv(name, value)
    assert read_processes()[1] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "http://"),
        ("FRONTEND_URL", "http://localhost:shop"),
        ("CDN_URL", "https://cdn.example:99999"),
        ("CDN_URL", "cdn.example:x"),
        ("CORS_ORIGINS", "https://shop.example:99999"),
        ("AUTH_SERVICE_URL", "http://[::1"),
        ("S3_ENDPOINT_URL", "https://s3 .example"),
        ("REDIS_URL", "redis://localhost:port"),
    ],
)
def test_an_address_that_is_none_is_told_once(settings_in_order: pytest.MonkeyPatch, name: str, value: str) -> None:
    settings_in_order.setenv(name, value)
    (line,) = read_processes()[1]
    assert line.startswith(name)


def test_what_has_another_form_is_told_in_words(settings_in_order: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "DATABASE_URL", "REDIS_URL", "S3_BUCKET", "AWS_REGION", "R2_ACCOUNT_ID"):
        settings_in_order.setenv(name, "no/such thing")
    lines = read_processes()[1]
    assert len(lines) == 6
    assert all("must be" in line and "^" not in line for line in lines)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("none/it.db", "is not there"),
        ("file/it.db", "is not there"),
        ("", "is a folder"),
        ("/proc/it.db", "cannot be written"),
    ],
)
def test_a_database_that_can_have_no_file_stops_the_start(
    settings_in_order: pytest.MonkeyPatch, tmp_path: Path, path: str, says: str
) -> None:
    (tmp_path / "file").touch()
    settings_in_order.setenv("CHECKOUT_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / path}")
    (line,) = read_processes()[1]
    assert line.startswith("CHECKOUT_DATABASE_URL: ")
    assert says in line


def test_stripes_own_keys_are_not_said_to_be_made_here(settings_in_order: pytest.MonkeyPatch) -> None:
    settings_in_order.setenv("ENVIRONMENT", "production")
    settings_in_order.delenv("STRIPE_SECRET_KEY", raising=False)
    (line,) = [line for line in read_processes()[1] if line.startswith("STRIPE_SECRET_KEY")]
    assert "Stripe's dashboard" in line


@pytest.mark.long
def test_a_setting_of_all_processes_is_told_once_by_the_name_that_was_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=mysql://x\n")
    status, lines = start("-c", LOAD_ALL, folder=tmp_path, WORKERS="x", CHECKOUT_WORKERS="99")
    assert status == 2
    assert sorted(line.split(":")[1].strip() for line in lines) == ["CHECKOUT_WORKERS", "DATABASE_URL", "WORKERS"]


@pytest.mark.long
def test_the_stack_names_what_is_wrong_of_any_process_once(tmp_path: Path) -> None:
    status, lines = start(
        "-c", LOAD_ALL, folder=tmp_path, JWT_SECRET_KEY="", RATE_LIMIT_LOGIN="often", CHECKOUT_SESSION_TTL_S="5",
        STORAGE_BACKEND="r2", TEMP_IMAGE_PORT="8002",
    )  # fmt: skip
    assert status == 2
    said = "\n".join(lines)
    for name in ("JWT_SECRET_KEY", "RATE_LIMIT_LOGIN", "CHECKOUT_SESSION_TTL_S", "R2_BUCKET_NAME", "R2_ACCOUNT_ID"):
        assert said.count(name) == 1, said


@pytest.mark.long
def test_two_processes_on_one_port_are_told(tmp_path: Path) -> None:
    status, lines = start("-c", LOAD_ALL, folder=tmp_path, TEMP_IMAGE_PORT="8002")
    assert (status, len(lines)) == (2, 1)
    assert "temp-image" in lines[0]
    assert "media-store" in lines[0]


@pytest.mark.parametrize("arguments", [*(("-m", f"services.{name}") for name in PROCESSES), ("-c", LOAD_ALL)])
@pytest.mark.long
def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    taken = tmp_path / "var"
    taken.touch()
    for data_dir, says in (
        (taken, f"{taken} is no folder"),
        (Path("/proc/keepsake"), "the folder /proc/keepsake cannot be written"),
    ):
        status, lines = start(*arguments, folder=tmp_path, DATA_DIR=str(data_dir))
        assert (status, len(lines)) == (2, 1), lines
        assert lines[0].startswith(f"keepsake: DATA_DIR: {says}")


@pytest.mark.long
def test_a_data_folder_that_cannot_be_written_is_told_with_all_else(tmp_path: Path) -> None:
    status, lines = start(
        "-m", "services.media_store", folder=tmp_path, DATA_DIR="/proc/nope", MAX_IMAGE_FRAMES="x", STORAGE_BACKEND="s3",
        STORE_IMAGE_TO="cloudinary",
    )  # fmt: skip
    assert status == 2
    named = ("DATA_DIR", "MAX_IMAGE_FRAMES", "S3_BUCKET", "CLOUDINARY_URL")
    assert sorted(line.split()[1].rstrip(":") for line in lines) == sorted(named)


@pytest.mark.parametrize(
    ("name", "workers"),
    [("auth_verify", "2"), ("media_store", "1"), ("checkout", "1"), ("planter_orders", "1")],
)
@pytest.mark.long
def test_tables_of_a_newer_release_stop_the_start_with_one_sentence(tmp_path: Path, name: str, workers: str) -> None:
    service = name.replace("_", "-")
    with closing(sqlite3.connect(tmp_path / f"{service}.db")) as newer:
        newer.execute(f'CREATE TABLE "alembic_version_{service}" (version_num TEXT)')
        newer.execute(f"INSERT INTO \"alembic_version_{service}\" VALUES ('9999')")  # noqa: S608
        newer.commit()
    settings = {"DATA_DIR": str(tmp_path), f"{name.upper()}_PORT": str(free_port()), "WORKERS": workers}
    status, lines = start("-m", f"services.{name}", folder=tmp_path, **settings)
    assert status == 2
    says = f"keepsake: The tables of {service} were migrated by a newer release than this one"
    assert set(lines) == {f"{says}: run that release, or restore a backup."}


COMMANDS = (
    ("shared.persistence.migrations", "checkout"),
    ("services.checkout",),
    ("services.checkout", "reconcile"),
    ("services.auth_verify", "erase", "--username", "sam"),
    ("services.media_store", "sweep"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.long
def test_a_database_that_cannot_be_used_is_one_sentence_and_status_2_everywhere(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    service = "checkout" if "checkout" in " ".join(command) else command[0].split(".")[1].replace("_", "-")
    settings = {"DATA_DIR": str(tmp_path), "CHECKOUT_PORT": str(free_port())}
    database = tmp_path / f"{service}.db"
    database.write_bytes(bytes(range(256)) * 32)
    damaged = f"keepsake: The database of {service} ({database}) is damaged or another program's: restore a backup."
    assert start("-m", *command, folder=tmp_path, **settings) == (2, [damaged])
    database.unlink()
    asyncio.run(make_tables("", service.replace("-", "_"), tmp_path))
    with closing(sqlite3.connect(database)) as tables:
        tables.execute(f'DELETE FROM "alembic_version_{service}"')  # noqa: S608
        tables.commit()
    assert start("-m", *command, folder=tmp_path, **settings) == (2, [damaged])
    with closing(sqlite3.connect(database)) as tables:
        tables.execute(f"INSERT INTO \"alembic_version_{service}\" VALUES ('9999')")  # noqa: S608
        tables.commit()
    status, [line] = start("-m", *command, folder=tmp_path, **settings)
    assert (status, "were migrated by a newer release than this one" in line) == (2, True)


def test_a_host_that_is_not_of_this_machine_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(SystemExit) as ended:
            open_sockets(host, 0, shared=False)
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith(f"keepsake: HOST: {host} is no address of this machine")


@pytest.mark.long
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
