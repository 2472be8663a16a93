"""What browsers and programs get at the gateway's pages, and what stays away in production."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest

from gateway.settings import GatewaySettings
from tests.support.secret_values import INTERNAL, USERS
from tests.unit.gateway.conftest import OpenGateway

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PAGES = {"/": "Images that survive checkout", "/docs": "The API"}
FILES = {
    "/pages/design.css": "text/css",
    "/pages/front.js": "text/javascript",
    "/pages/icon.svg": "image/svg+xml",
    "/docs/docs.js": "text/javascript",
    "/docs/swagger-ui-bundle.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (BROWSER, "text/html"),
        ("text/html", "text/html"),
        ("application/json;q=0.5, text/html;q=0.9", "text/html"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("text/html;q=x", "application/json"),
        ("", "application/json"),
    ],
)
async def test_the_front_page_is_for_whoever_prefers_html(
    gateway: str, http: aiohttp.ClientSession, accept: str, kind: str
) -> None:
    async with http.get(f"{gateway}/", headers={"Accept": accept}) as answer:
        assert (answer.status, answer.content_type) == (200, kind)
        assert "accept" in answer.headers["Vary"].lower()


@pytest.mark.parametrize(("path", "heading"), PAGES.items())
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_page_asks_nothing_of_any_other_host(
    gateway: str, http: aiohttp.ClientSession, path: str, heading: str, slash: str
) -> None:
    address = gateway + (path.rstrip("/") + slash or "/")
    async with http.get(address, headers={"Accept": BROWSER}) as answer:
        text = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert heading in text
    assert "{{" not in text
    assert "default-src 'self';" in policy
    assert not re.search("unsafe|script-src|connect-src", policy)
    assert all(address.startswith("/") for address in re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', text))


@pytest.mark.parametrize(("path", "kind"), FILES.items())
async def test_a_file_has_its_type_and_is_sent_once(
    gateway: str, http: aiohttp.ClientSession, path: str, kind: str
) -> None:
    async with http.get(gateway + path) as first:
        etag = first.headers["ETag"]
        assert (first.status, first.content_type, first.headers["X-Content-Type-Options"]) == (200, kind, "nosniff")
        assert await first.read()
    async with http.get(gateway + path, headers={"If-None-Match": etag}) as again:
        assert (again.status, again.headers["ETag"], await again.read()) == (304, etag, b"")
    async with http.head(gateway + path) as head:
        assert (head.status, head.headers["ETag"], head.headers["Content-Length"]) == (
            200,
            etag,
            first.headers["Content-Length"],
        )


@pytest.mark.parametrize("path", ["/pages/nothing.css", "/docs/nothing.js", "/client/nothing.js", "/docs/__init__.py"])
async def test_what_is_no_file_of_the_pages_is_not_found(gateway: str, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(gateway + path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_found")


async def test_the_front_page_names_the_addresses_of_this_machine(
    open_gateway: OpenGateway, http: aiohttp.ClientSession
) -> None:
    url = await open_gateway(
        public_url="http://pictures.local:8181", frontend_url="http://localhost:3131", stripe_sandbox_port=8119
    )
    async with http.get(url, headers={"Accept": BROWSER}) as answer:
        text = await answer.text()
    for address in ("http://pictures.local:8181/api/temp-image-upload", "http://localhost:3131/planter"):
        assert address in text
    assert 'href="http://localhost:8119/"' in text


async def test_the_front_page_does_not_lead_to_what_is_not_there(
    open_gateway: OpenGateway, http: aiohttp.ClientSession
) -> None:
    url = await open_gateway(demo_shop="off", stripe_secret_key="sk_test_1")
    async with http.get(url, headers={"Accept": BROWSER}) as answer:
        text = await answer.text()
    assert "Demo shop" not in text
    assert "Stripe sandbox" not in text


async def test_without_pages_the_client_is_served_and_the_rest_is_json(
    open_gateway: OpenGateway, http: aiohttp.ClientSession
) -> None:
    url = await open_gateway(pages="off")
    async with http.get(url, headers={"Accept": BROWSER}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
    async with http.get(f"{url}/docs") as answer:
        assert answer.status == 404
    async with http.get(f"{url}/client/index.js", headers={"Origin": "https://any.example"}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/javascript")
        assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]


def test_production_has_no_pages_unless_it_asks_for_them() -> None:
    production: dict[str, Any] = {
        "environment": "production",
        "public_url": "https://api.example",
        "jwt_secret_key": USERS,
        "internal_secret": INTERNAL,
        "_env_file": None,
    }
    assert GatewaySettings(**production).pages == "off"
    assert GatewaySettings(**production, pages="on").pages == "on"
    assert GatewaySettings(**{**production, "environment": "development"}).pages == "on"
