"""The whole stack on Redis, PostgreSQL and S3, each of them, auth-verify and Stripe behind a proxy that tests make toxic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.postgres import fresh_database
from tests.support.s3 import fresh_bucket
from tests.support.stack import MODULES, Stack, running_stack
from tests.support.toxic import PASS, ToxicProxy, toxic_proxy
from tests.system.faults.calls import Customer, become_customer


@dataclass(frozen=True)
class ToxicSite:
    """The running stack, and the proxy before each thing that it depends on."""

    stack: Stack
    proxies: dict[str, ToxicProxy]


@pytest.fixture(scope="session")
def whole_site(
    tmp_path_factory: pytest.TempPathFactory,
    redis_server_url: str,
    postgres_server_url: str,
    s3_server: Any,
) -> Iterator[ToxicSite]:
    redis = redis_server_url.rsplit("/", 1)[0] + "/8"  # another than the other tests empty
    with ExitStack() as opened:
        stack, bucket = Stack(tmp_path_factory.mktemp("toxic")), opened.enter_context(fresh_bucket(s3_server))
        originals = {
            "redis": ("REDIS_URL", redis),
            "database": ("DATABASE_URL", opened.enter_context(fresh_database(postgres_server_url))),
            "storage": ("S3_ENDPOINT_URL", bucket.endpoint_url),
            "auth-verify": ("AUTH_SERVICE_URL", stack.url("auth-verify")),
            "stripe": ("STRIPE_API_BASE", stack.url("stripe-sandbox")),
        }
        proxies = {}
        for name, (setting, url) in originals.items():
            proxies[name], stack.settings[setting] = opened.enter_context(toxic_proxy(url))
        stack.settings.update(
            STORAGE_BACKEND="s3",
            S3_BUCKET=bucket.bucket,
            AWS_REGION=bucket.region,
            AWS_ACCESS_KEY_ID=bucket.access_key,
            AWS_SECRET_ACCESS_KEY=bucket.secret_key,
            JWT_ALGORITHM="EdDSA",
            RATE_LIMIT_DEFAULT="1000000/minute",  # counted in Redis, and never reached
        )
        opened.callback(stack.stop_all)
        stack.start(*MODULES)
        yield ToxicSite(stack, proxies)


@pytest.fixture
def site(whole_site: ToxicSite) -> Iterator[ToxicSite]:
    """The stack, everything of which is well again after the test."""
    yield whole_site
    for proxy in whole_site.proxies.values():
        proxy.manner = PASS


@pytest.fixture(scope="session")
def mortal_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack on embedded defaults, whose processes are killed and started again."""
    with running_stack(tmp_path_factory.mktemp("mortal")) as stack:
        yield stack


@pytest.fixture
def shop(mortal_stack: Stack) -> Stack:
    """All of its processes, also after a test that ended before it started again what it killed."""
    mortal_stack.start(*(name for name in MODULES if not mortal_stack.runs(name)))
    return mortal_stack


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="session")
def remembered() -> dict[str, Customer]:
    return {}


@pytest.fixture
async def customer(site: ToxicSite, http: aiohttp.ClientSession, remembered: dict[str, Customer]) -> Customer:
    """Somebody who has an image, an order and a paid session in the whole stack."""
    if "customer" not in remembered:
        remembered["customer"] = await become_customer(http, site.stack)
    return remembered["customer"]
