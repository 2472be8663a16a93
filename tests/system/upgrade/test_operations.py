"""One person with docs/operations.md: what the release before kept is upgraded, approved, lost, and restored."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from tests.support import pictures
from tests.support.nginx import example, nginx_before
from tests.support.postgres import administer, postgres_program
from tests.support.s3 import RunningS3, S3Server, empty_bucket, fresh_bucket
from tests.support.stack import MODULES, ROOT, Stack
from tests.system.proxies.test_doctor_outside import certificate
from tests.system.upgrade.conftest import LeftBehind
from tests.system.upgrade.promises import Client, buy, everything, go_on, require_kept

DOCUMENT = (ROOT / "docs/operations.md").read_text()
LINES = dict(re.findall(r"^```sh\n# ([^\n]+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
PRODUCTION = {"FRONTEND_URL": "https://shop.example", "TRUSTED_PROXIES": "127.0.0.1/32,::1/128", "WORKERS": "2"}


class Machine:
    """The processes behind nginx with TLS, and a shell with their settings."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.stack = Stack(folder, settings)
        self.folder = folder
        self.ca = str(certificate(folder, 90))

    def run(self, name: str) -> str:
        """Run the lines of docs/operations.md that begin with this word; return what they say."""
        programs = (Path(sys.executable).parent, postgres_program("pg_dump").parent)
        environment = self.stack.environment()
        environment["PATH"] = ":".join([*map(str, programs), environment["PATH"]])
        environment["SSL_CERT_FILE"] = self.ca
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", LINES[name]],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def behind_nginx(self) -> Iterator[str]:
        """Run nginx, and at the end stop whatever runs; give the outside address."""
        block = partial(example, certificate=Path(self.ca))
        with nginx_before(self.stack.url("gateway"), self.folder / "nginx", block) as port:
            self.stack.settings["PUBLIC_URL"] = f"https://127.0.0.1:{port}"
            try:
                yield self.stack.settings["PUBLIC_URL"]
            finally:
                self.stack.stop_all()


@contextmanager
def uploading(door: str, ca: str) -> Iterator[None]:
    """Have somebody store images until the block ends."""
    over, client = threading.Event(), Client(door, ca=ca)

    def go_on_storing() -> None:
        while not over.is_set():
            client.ask("POST", "/store-image", files={"image": ("a.jpg", pictures.jpeg(), "image/jpeg")})

    storing = threading.Thread(target=go_on_storing)
    storing.start()
    try:
        yield
    finally:
        over.set()
        storing.join()


def lose_everything(machine: Machine, running: RunningS3, bucket: str) -> None:
    """Leave an empty database, an empty bucket and an empty Redis."""
    url = machine.stack.settings["DATABASE_URL"]
    server, _, name = url.rpartition("/")
    for statement in (f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name}"):
        administer(f"{server}/postgres", statement)
    empty_bucket(running.client, bucket)
    with Redis.from_url(machine.stack.settings["REDIS_URL"]) as redis:
        redis.flushdb()


@pytest.mark.timeout(300)
def test_a_machine_is_upgraded_approved_lost_and_restored_by_the_lines_of_the_documentation(
    servers_left: LeftBehind, tmp_path: Path, s3: S3Server, s3_server: RunningS3
) -> None:
    rules = json.loads(DOCUMENT.split("```json\n")[1].partition("```")[0])
    s3_server.client.put_bucket_cors(Bucket=s3.bucket, CORSConfiguration={"CORSRules": rules})
    with fresh_bucket(s3_server) as backup:
        machine = Machine(tmp_path, {**servers_left.settings, **PRODUCTION, "BACKUP_BUCKET": backup.bucket})
        pay = machine.stack.url("stripe-sandbox")
        with machine.behind_nginx() as door:
            machine.run("upgrade")
            machine.stack.start(*MODULES)
            assert "Nothing of" in machine.run("approve")
            require_kept(door, servers_left.promised, machine.ca)
            go_on(door, pay, servers_left.promised, machine.ca)
            kept = everything(door, machine.ca)
            with uploading(door, machine.ca):
                machine.run("back up")
            machine.stack.stop_all()
            lose_everything(machine, s3_server, s3.bucket)
            assert "row without an object" not in machine.run("restore")
            machine.stack.start(*MODULES)
            assert everything(door, machine.ca) == kept
            buy(door, pay, machine.ca)
