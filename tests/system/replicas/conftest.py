"""Two machines over one Redis, one PostgreSQL and one bucket: on each a gateway and every service, one process of each."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.postgres import fresh_database
from tests.support.s3 import fresh_bucket
from tests.support.stack import MODULES, URL_SETTINGS, Stack
from tests.unit.services.auth_verify.api import PASSWORD, Api, SignedIn

SANDBOX = "stripe-sandbox"
ADMIN = "admin"
PATIENCE_S = 20


@dataclass(frozen=True)
class Machines:
    """The two machines; the Stripe sandbox, which stands for Stripe, runs once."""

    both: tuple[Stack, Stack]
    bucket: str
    s3_client: Any

    @property
    def doors(self) -> tuple[str, str]:
        """The addresses of the two gateways."""
        return self.both[0].url("gateway"), self.both[1].url("gateway")

    def of(self, service: str) -> tuple[str, str]:
        """Return the addresses of a service's two replicas."""
        return self.both[0].url(service), self.both[1].url(service)

    @property
    def stripe(self) -> str:
        """The address of the sandbox."""
        return self.both[0].url(SANDBOX)

    def setting(self, name: str) -> str:
        """Return a setting that both have alike."""
        return self.both[0].settings[name]


def start(machines: Machines, *choices: tuple[str, ...]) -> None:
    """Start processes on both machines at the same time, and return when all of them are ready."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda pair: pair[0].start(*pair[1]), zip(machines.both, choices, strict=True)))


def create_admin(machine: Stack) -> subprocess.Popen[str]:
    """Begin to register the admin while the services start: yet another process that migrates."""
    command = [sys.executable, "-m", MODULES["auth-verify"], "create-admin"]
    running = subprocess.Popen(
        [*command, "--username", ADMIN, "--email", "admin@shop.example"],
        cwd=machine.folder,
        env=machine.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdin is not None
    running.stdin.write(f"{PASSWORD}\n")
    running.stdin.close()
    running.stdin = None
    return running


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Both machines, started at once on an empty database."""
    redis = request.getfixturevalue("redis_server_url").rsplit("/", 1)[0] + "/8"  # another than the other tests empty
    s3_server = request.getfixturevalue("s3_server")
    with (
        fresh_bucket(s3_server) as bucket,
        fresh_database(request.getfixturevalue("postgres_server_url")) as database,
    ):
        alike = {
            "REDIS_URL": redis,
            "DATABASE_URL": database,
            **bucket.settings,
            "JWT_ALGORITHM": "EdDSA",  # keys that both auth-verify make at first start
            "INTERNAL_SECRET": secrets.token_urlsafe(32),
            "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
            "RATE_LIMIT_STORE_IMAGE": "10/minute",
            "TRUSTED_PROXIES": "127.0.0.0/8",  # so that a test can be somebody else
        }
        first, second = (Stack(tmp_path_factory.mktemp("machine"), alike) for _ in range(2))
        for machine in (first, second):
            machine.settings |= {
                name: ",".join(each.url(service) for each in (first, second)) for service, name in URL_SETTINGS.items()
            }
            machine.settings["STRIPE_API_BASE"] = first.url(SANDBOX)
            machine.settings["PUBLIC_URL"] = first.url("gateway")
        found = Machines((first, second), bucket.bucket, s3_server.client)
        try:
            admin = create_admin(first)
            start(found, tuple(MODULES), tuple(name for name in MODULES if name != SANDBOX))
            said, _ = admin.communicate(timeout=PATIENCE_S)
            assert admin.returncode == 0, said
            yield found
        finally:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Stack.stop_all, (first, second)))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with as many connections as it needs."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


@pytest.fixture
async def customer(machines: Machines, http: aiohttp.ClientSession) -> SignedIn:
    """Somebody who signed in at the first gateway."""
    return await Api(http, machines.doors[0]).signed_in()


@pytest.fixture
async def admin_token(machines: Machines, http: aiohttp.ClientSession) -> str:
    """The admin's token, from the second gateway."""
    return str((await Api(http, machines.doors[1]).login(ADMIN)).body["access_token"])


async def metric(http: aiohttp.ClientSession, url: str, name: str, labels: str = "") -> float:
    """Return the sum of a metric of the process at `url`, over all its lines whose labels contain `labels`."""
    async with http.get(f"{url}/metrics") as answer:
        page = await answer.text()
    lines = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for found, value in lines if labels in found)


async def requests_answered(http: aiohttp.ClientSession, url: str, route: str) -> float:
    """Return how many requests to a route the process at `url` has answered with 200, by its own count."""
    return await metric(http, url, "keepsake_http_requests_total", f'route="{route}",status="200"')


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)
