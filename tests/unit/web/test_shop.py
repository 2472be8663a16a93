"""The demo shop's server: its pages, where they may send requests, and when it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stack.checks import Process, shop_runs
from tests.support.processes import free_port
from tests.support.serving import ServeApp
from web.shop.app import PAGES, create_app
from web.shop.settings import ShopSettings

FILES = {
    "design.css": "text/css",
    "shop.css": "text/css",
    "icon.svg": "image/svg+xml",
    "config.js": "text/javascript",
    "purchase.js": "text/javascript",
    "client/index.js": "text/javascript",
}


def settings(**changes: Any) -> ShopSettings:
    return ShopSettings(_env_file=None, **changes)


@pytest.fixture
async def shop(serve_app: ServeApp) -> str:
    return await serve_app(create_app(settings(public_url="http://pictures.local:8181")))


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_loads_nothing_from_elsewhere(shop: str, path: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(shop + path) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    loaded = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', text)
    assert all(address.startswith("/site/") for address in loaded)
    async with aiohttp.ClientSession() as http:
        for address in loaded:
            async with http.get(shop + address) as file:
                assert file.status == 200, address


@pytest.mark.parametrize(("name", "kind"), FILES.items())
async def test_a_file_has_its_type_and_is_sent_once(shop: str, name: str, kind: str) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{shop}/site/{name}") as first:
            assert (first.status, first.content_type, first.headers["X-Content-Type-Options"]) == (200, kind, "nosniff")
        async with http.get(f"{shop}/site/{name}", headers={"If-None-Match": first.headers["ETag"]}) as again:
            assert again.status == 304


@pytest.mark.parametrize("path", ["/site/app.py", "/site/../settings.py", "/nothing", "/site/client/package.json"])
async def test_nothing_but_the_site_is_served(shop: str, path: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(shop + path) as answer:
        assert answer.status == 404


async def test_the_pages_know_where_keepsake_is(shop: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{shop}/site/config.js") as answer:
        assert '"keepsakeUrl": "http://pictures.local:8181"' in await answer.text()


def test_the_pages_may_ask_the_shop_and_keepsake_alone() -> None:
    policy = settings(public_url="http://pictures.local:8181").policy
    assert "default-src 'self'; connect-src 'self' http://pictures.local:8181;" in policy
    assert not re.search("unsafe|stripe|https:", policy)


def test_stripes_own_script_is_let_in_where_its_key_is_set() -> None:
    policy = settings(stripe_secret_key="sk_test_1").policy
    assert re.search("script-src 'self' https://js.stripe.com", policy)
    assert "frame-src 'self' https://js.stripe.com" in policy
    assert "stripe" not in settings(stripe_secret_key="sk", stripe_api_base="http://localhost:8009").policy


def test_the_bucket_of_direct_uploads_is_let_in() -> None:
    policy = settings(
        storage_backend="s3",
        s3_bucket="shop",
        s3_endpoint_url="http://bucket.local:9000",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        cdn_url="https://cdn.example/images",
    ).policy
    assert re.search("connect-src [^;]* http://bucket.local:9000;", policy)
    assert re.search("img-src [^;]* https://cdn.example;", policy)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"frontend_url": "http://127.0.0.1:3131"}, True),
        ({"demo_shop": "off"}, False),
        ({"frontend_url": "http://shop.example:3000"}, False),
        ({"frontend_url": "https://localhost:3000"}, False),
        ({"environment": "production", "public_url": "https://api.example"}, False),
    ],
)
def test_it_runs_in_development_at_an_address_of_this_machine(changes: dict[str, str], *, wanted: bool) -> None:
    assert settings(**changes).is_wanted is wanted


def test_a_taken_port_is_said_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    port = free_port()
    monkeypatch.setenv("FRONTEND_URL", f"http://localhost:{port}")
    assert shop_runs(())
    assert not shop_runs([Process("gateway", settings(frontend_url=f"http://localhost:{port}"))])
    assert "the demo shop does not run" in capsys.readouterr().err
