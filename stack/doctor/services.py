"""The services at their addresses: that the right one answers there, and takes the tokens that the others sign."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from gateway.settings import GatewaySettings
from shared.app.erasure import PATH as ERASURES
from shared.auth.access_tokens import sign_service_token
from shared.settings import LOOPBACK_HOSTS, ServerSettings
from stack.doctor.findings import UNREACHED, Finding, failure, right, shown, unknown, wrong

ANSWER_S = 3.0
SANDBOX_TITLE = "· Stripe sandbox</title>"
NAMES = {"Keepsake": "gateway", "Pet Planter Image Upload Service": "planter-orders"}
# Calls for services alone that find nothing and change nothing: no organization, image or person is named by them.
PROBES = {
    "auth-verify": ("GET", "/internal/organizations/doctor/members/doctor"),
    "temp-image": ("GET", "/internal/holds/doctor/doctor/bytes"),
    "media-store": ("POST", ERASURES),
    "checkout": ("POST", ERASURES),
    "planter-orders": ("POST", ERASURES),
}


def local_url(settings: ServerSettings) -> str:
    host = "localhost" if settings.host in {"localhost", "0.0.0.0", "::"} else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def open_client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S))


async def name_at(http: aiohttp.ClientSession, url: str) -> str | None:
    """Return which process answers at `url`: empty where it is none of Keepsake's, None where nothing answers."""
    try:
        async with http.get(f"{url}/", headers={"Accept": "application/json"}, allow_redirects=False) as answer:
            if answer.headers.get("Server") != "keepsake":  # the sandbox answers as Stripe does, without our headers
                return "stripe-sandbox" if SANDBOX_TITLE in await answer.text() else ""
            name = str((await answer.json(content_type=None))["service"])
            return NAMES.get(name, name)
    except (aiohttp.ClientConnectionError, TimeoutError):
        return None
    except (aiohttp.ClientError, ValueError, LookupError, TypeError):
        return ""


async def check_addresses(settings: GatewaySettings) -> AsyncIterator[Finding]:
    """Ask at every address of a service; while nothing runs on this machine, its default addresses are not wrong."""
    addresses = {**settings.addresses(), "stripe-sandbox": (settings.sandbox_url,) if settings.sandbox_url else ()}
    asked = [(service, url.rstrip("/")) for service, urls in addresses.items() for url in urls]
    async with open_client() as http:
        gateway, *names = await asyncio.gather(
            name_at(http, local_url(settings)), *(name_at(http, url) for _, url in asked)
        )
        default = [_is_default(settings, service, url) for service, url in asked]
        runs = bool(gateway) or any(name for name, own in zip(names, default, strict=True) if own)
        for (service, url), name, own in zip(asked, names, default, strict=True):
            if name is None and own and not runs:
                yield unknown(f"address of {service}", f"nothing runs at {url} yet: ask again when it does.")
            else:
                yield await _at_address(http, service, url, name, settings.internal_secret)


async def _at_address(http: aiohttp.ClientSession, service: str, url: str, name: str | None, secret: str) -> Finding:
    what = f"address of {service}"
    if name is None:
        return wrong(what, f"nothing answers at {shown(url)}.", UNREACHED)
    if name != service:
        says = f"{shown(url)} leads to {name or 'another program'}."
        return wrong(what, says, f"set it to where {service} listens.")
    try:
        refused = await _refuses_us(http, service, url, secret)
    except (aiohttp.ClientError, TimeoutError) as error:
        return failure(what, error)
    if refused:
        says = f"{service} at {shown(url)} refuses our token: it has another INTERNAL_SECRET than this one."
        return wrong(what, says, "set the same INTERNAL_SECRET for all, start them anew, and see to the clocks.")
    return right(what, f"{service} answers at {shown(url)}.")


def _is_default(settings: GatewaySettings, service: str, url: str) -> bool:
    port = getattr(settings, f"{service.replace('-', '_')}_port")
    return URL(url).host in LOOPBACK_HOSTS and URL(url).port == port


async def _refuses_us(http: aiohttp.ClientSession, service: str, url: str, secret: str) -> bool:
    if service not in PROBES:
        return False
    method, path = PROBES[service]
    headers = {"Authorization": f"Bearer {sign_service_token(secret, caller='doctor', audience=service)}"}
    async with http.request(method, url + path, headers=headers, allow_redirects=False) as answer:
        return answer.status == 401
