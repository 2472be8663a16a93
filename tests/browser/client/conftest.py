"""The client in Chromium: pages of the shop's origin that are not served but given, and everything else real."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support.stack import ROOT

SHOP = "http://localhost:3000"  # the one origin that the stack of the tests answers
SOURCES = ROOT / "clients" / "javascript" / "src"

Shop = Callable[[Path], Page]


@pytest.fixture
def shop(chromium: Browser) -> Iterator[Shop]:
    """Opens a page whose origin is the shop's, and whose files lie in a folder; every other path is its `index.html`."""
    context = chromium.new_context()
    complaints: list[str] = []

    def opened(folder: Path) -> Page:
        def answer(route: Route) -> None:
            path = urlsplit(route.request.url).path
            file = SOURCES / path.removeprefix("/client/") if path.startswith("/client/") else folder / path.lstrip("/")
            file = file if file.is_file() else folder / "index.html"
            kind = mimetypes.guess_type(file.name)[0] or "text/html"
            route.fulfill(body=file.read_bytes(), content_type=kind)

        context.route(f"{SHOP}/**", answer)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield opened
    context.close()
    assert not complaints
