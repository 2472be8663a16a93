"""No token but a genuine one opens anything, whichever door it is tried at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support.stack import Stack
from tests.system.attacks.conftest import Person
from tests.system.attacks.forgeries import FORGERIES, SERVICE_FORGERIES, Loot, b64, service_claims

DOORS = {
    "gateway": ("gateway", "GET", "/api/auth/me"),
    "gateway, before a service that is down": ("gateway", "GET", "/api/images/orders"),
    "auth-verify": ("auth-verify", "GET", "/api/auth/verify"),
    "checkout": ("checkout", "POST", "/api/checkout/refunds"),
}


@pytest.fixture(scope="session")
def loot(site: Stack, alice: Person) -> Loot:
    return Loot(site, alice)


async def refused(http: aiohttp.ClientSession, method: str, url: str, token: str) -> None:
    async with http.request(method, url, headers={"Authorization": f"Bearer {token}"}) as answer:
        body = await answer.text()
        assert answer.status == 401, body
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert answer.content_type == "application/problem+json"
        assert len(token) < 3 or token not in body


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_opens_no_door(http: aiohttp.ClientSession, site: Stack, loot: Loot, forgery: str) -> None:
    token = FORGERIES[forgery](loot)
    for process, method, path in DOORS.values():
        await refused(http, method, site.url(process) + path, token)


async def test_the_genuine_tokens_open_their_doors(http: aiohttp.ClientSession, site: Stack, loot: Loot) -> None:
    """What the forgeries are measured by: where nothing is wrong, nothing is refused."""
    for token in (loot.victim.access_token, loot.but(), loot.but("iss", "aud"), loot.but(aud=["x", "keepsake"])):
        for process in ("gateway", "auth-verify"):
            async with http.get(f"{site.url(process)}/api/auth/me", headers={"Authorization": f"Bearer {token}"}) as me:
                assert me.status == 200
                assert (await me.json())["id"] == loot.victim.id


CARRIERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "the query": lambda token: {"params": {"access_token": token, "token": token, "jwt": token}},
    "a cookie": lambda token: {"headers": {"Cookie": f"access_token={token}; token={token}; Authorization={token}"}},
    "another header": lambda token: {"headers": {"X-Authorization": f"Bearer {token}", "X-Access-Token": token}},
    "the proxy's header": lambda token: {"headers": {"Proxy-Authorization": f"Bearer {token}"}},
    "an underscore header": lambda token: {"headers": {"HTTP_AUTHORIZATION": f"Bearer {token}"}},
    "the body": lambda token: {"data": {"access_token": token}},
    "Basic": lambda token: {"headers": {"Authorization": f"Basic {b64(f'user:{token}')}"}},
    "Token": lambda token: {"headers": {"Authorization": f"Token {token}"}},
    "DPoP": lambda token: {"headers": {"Authorization": f"DPoP {token}"}},
    "no scheme": lambda token: {"headers": {"Authorization": token}},
    "no space": lambda token: {"headers": {"Authorization": f"Bearer{token}"}},
    "a tab": lambda token: {"headers": {"Authorization": f"Bearer\t{token}"}},
    "a colon": lambda token: {"headers": {"Authorization": f"Bearer: {token}"}},
    "two headers": lambda token: {"headers": [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer x")]},
    "two headers the other way": lambda token: {
        "headers": [("Authorization", "Bearer x"), ("Authorization", f"Bearer {token}")]
    },
    "two good headers": lambda token: {
        "headers": [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    },
    "a header that Connection names": lambda token: {
        "headers": {"Connection": "keep-alive, Authorization", "X-Authorization": f"Bearer {token}"}
    },
}


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_token_counts_nowhere_but_in_its_header(
    http: aiohttp.ClientSession, site: Stack, loot: Loot, carrier: str
) -> None:
    for process in ("gateway", "auth-verify"):
        options = CARRIERS[carrier](loot.victim.access_token)
        async with http.get(f"{site.url(process)}/api/auth/me", **options) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("forgery", SERVICE_FORGERIES)
async def test_only_a_service_speaks_as_one(http: aiohttp.ClientSession, site: Stack, loot: Loot, forgery: str) -> None:
    """On the port, where `/internal/` can be reached; and as the gateway's word about who is asking."""
    path = f"/internal/holds/{'0' * 32}/cs_test_a1/bytes"
    await refused(http, "GET", site.url("temp-image") + path, SERVICE_FORGERIES[forgery](loot))
    url = f"{site.url('temp-image')}/api/temp-image-retrieve?imageId={'0' * 32}"
    async with http.get(url, headers={"X-Keepsake-Gateway": SERVICE_FORGERIES[forgery](loot)}) as answer:
        assert answer.status in {401, 404}
        assert "X-Keepsake-Claim" not in answer.headers


async def test_no_token_opens_the_inside_through_the_gateway(
    http: aiohttp.ClientSession, site: Stack, loot: Loot
) -> None:
    good = jwt.encode(service_claims(iat=int(time.time())), loot.internal_secret, "HS256")
    hold = f"/internal/holds/{'0' * 32}/cs_test_a1"
    for method, path in (
        ("PUT", hold),
        ("DELETE", hold),
        ("GET", f"{hold}/bytes"),
        ("GET", "/internal/"),
        ("GET", "/ready"),
    ):
        async with http.request(
            method, site.url("gateway") + path, headers={"Authorization": f"Bearer {good}"}
        ) as answer:
            assert answer.status == (200 if path == "/ready" else 404)
    async with http.get(f"{site.url('temp-image')}{hold}/bytes", headers={"Authorization": f"Bearer {good}"}) as answer:
        assert answer.status == 404  # taken for what it is; there is only nothing held
        assert (await answer.json())["code"] != "not_found"
