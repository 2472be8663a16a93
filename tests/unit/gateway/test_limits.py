from __future__ import annotations

import asyncio
import time
from collections import Counter

import aiohttp
import pytest
from limits import parse
from redis import Redis

from gateway.rate_limits import ProcessWindows
from tests.support.serving import ServeApp
from tests.unit.gateway.conftest import SERVICES, OpenGateway, dead_url, echo_app

FROM = "X-Forwarded-For"


@pytest.fixture(params=["process", "redis"])
async def limited(request: pytest.FixtureRequest, open_gateway: OpenGateway, serve_app: ServeApp) -> str:
    """A gateway that counts in process, and one that counts in Redis."""
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    echo = await serve_app(echo_app())
    return await open_gateway(
        redis_url=redis_url,
        rate_limit_store_image="3/minute",
        rate_limit_login="2/minute",
        rate_limit_default="8/minute",
        trusted_proxies="127.0.0.0/8",
        **{f"{name}_url": (echo,) for name in SERVICES},
    )


async def statuses(
    http: aiohttp.ClientSession, method: str, url: str, count: int, client: str = "203.0.113.1"
) -> list[int]:
    found = []
    for _ in range(count):
        async with http.request(method, url, headers={FROM: client}) as answer:
            found.append(answer.status)
    return found


async def test_the_fourth_store_image_in_a_minute_is_refused(http: aiohttp.ClientSession, limited: str) -> None:
    assert await statuses(http, "POST", f"{limited}/store-image", 4) == [200, 200, 200, 429]


async def test_a_refusal_says_truly_when_to_come_back(http: aiohttp.ClientSession, limited: str) -> None:
    before = time.time()
    await statuses(http, "POST", f"{limited}/store-image", 3)
    async with http.post(f"{limited}/store-image/", headers={FROM: "203.0.113.1"}) as answer:
        spent_s = time.time() - before
        assert answer.status == 429
        assert (await answer.json())["code"] == "rate_limited"
        wait_s = int(answer.headers["Retry-After"])
        assert answer.headers["RateLimit"] == f'"store-image";r=0;t={wait_s}'
        assert answer.headers["RateLimit-Policy"] == '"store-image";q=3;w=60'
    assert 60 - spent_s - 1 <= wait_s <= 61


async def test_login_register_and_refresh_share_a_limit(http: aiohttp.ClientSession, limited: str) -> None:
    found = [(await statuses(http, "POST", f"{limited}/api/auth/{name}", 1))[0] for name in ("login", "register")]
    assert found == [200, 200]
    assert await statuses(http, "POST", f"{limited}/api/auth/refresh", 1) == [429]
    assert await statuses(http, "POST", f"{limited}/api/auth/logout", 1) == [200]


async def test_every_path_counts_to_the_default(http: aiohttp.ClientSession, limited: str) -> None:
    assert await statuses(http, "POST", f"{limited}/store-image", 3) == [200] * 3
    assert await statuses(http, "GET", f"{limited}/media/a", 6) == [200] * 5 + [429]


async def test_the_gateways_own_paths_are_not_counted(http: aiohttp.ClientSession, limited: str) -> None:
    assert await statuses(http, "GET", f"{limited}/health", 12) == [200] * 12
    assert await statuses(http, "GET", f"{limited}/media/a", 1) == [200]


async def test_clients_are_counted_apart(http: aiohttp.ClientSession, limited: str) -> None:
    assert await statuses(http, "POST", f"{limited}/store-image", 3, "203.0.113.1") == [200] * 3
    assert await statuses(http, "POST", f"{limited}/store-image", 3, "203.0.113.2") == [200] * 3


async def test_an_ipv6_client_is_its_site(http: aiohttp.ClientSession, limited: str) -> None:
    url = f"{limited}/store-image"
    found = [(await statuses(http, "POST", url, 1, f"2001:db8:1:1::{n}"))[0] for n in range(4)]
    assert found == [200, 200, 200, 429]
    assert await statuses(http, "POST", url, 1, "2001:db8:1:2::1") == [200]
    assert await statuses(http, "POST", url, 1, "::ffff:203.0.113.7") == [200]


async def test_fifty_at_once_never_exceed_the_limit(http: aiohttp.ClientSession, limited: str) -> None:
    found = await asyncio.gather(*(statuses(http, "POST", f"{limited}/store-image", 1) for _ in range(50)))
    assert Counter(status for one in found for status in one) == {200: 3, 429: 47}


async def test_two_gateways_on_one_redis_count_together(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp, redis_url: str
) -> None:
    echo = await serve_app(echo_app())
    urls = [
        await open_gateway(redis_url=redis_url, rate_limit_store_image="5/minute", media_store_url=echo)
        for _ in range(2)
    ]
    found = [(await statuses(http, "POST", f"{urls[n % 2]}/store-image", 1))[0] for n in range(8)]
    assert found == [200] * 5 + [429] * 3
    with Redis.from_url(redis_url) as redis:
        assert all(0 < redis.ttl(key) <= 60 for key in redis.keys("*"))


async def test_with_redis_out_of_reach_it_counts_in_process(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    url = await open_gateway(
        redis_url=dead_url().replace("http", "redis"),
        rate_limit_store_image="3/minute",
        media_store_url=await serve_app(echo_app()),
    )
    assert await statuses(http, "POST", f"{url}/store-image", 4) == [200, 200, 200, 429]


async def test_a_redis_that_never_answers_holds_nobody_up(
    http: aiohttp.ClientSession, open_gateway: OpenGateway, serve_app: ServeApp
) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        url = await open_gateway(
            redis_url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0",
            rate_limit_store_image="3/minute",
            media_store_url=await serve_app(echo_app()),
        )
        assert await statuses(http, "POST", f"{url}/store-image", 4) == [200, 200, 200, 429]


def test_a_window_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    windows, rate = ProcessWindows(), parse("2/minute")
    assert windows.hit(rate, "a", "x") == 0
    now = 1030.0
    assert windows.hit(rate, "a", "x") == 0
    now = 1040.0
    assert windows.hit(rate, "a", "x") == pytest.approx(20)
    assert windows.hit(rate, "b", "x") == 0
    now = 1060.5
    assert windows.hit(rate, "a", "x") == 0
    assert windows.hit(rate, "a", "x") == pytest.approx(29.5)
