"""The whole stack with its demo shop, and visitors to it: their devices, and what their browsers complain about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Route

from tests.browser.conftest import PATIENCE_MS
from tests.support import pictures
from tests.support.stack import DEMO_SHOP, MODULES, Stack

DEVICES: dict[str, dict[str, Any]] = {
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
    "desktop": {"viewport": {"width": 1440, "height": 900}},
}
BLURRED = re.compile(r'^url\("data:image/bmp;base64,')
REMEMBER_WHAT_IS_SHOWN = """
const { createObjectURL } = URL;
URL.createObjectURL = (blob) => { window.shown = blob; return createObjectURL.call(URL, blob); };
"""


@pytest.fixture(scope="package")
def shop_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack and the shop, each at an address of its own, as `make run` starts them."""
    stack = Stack(tmp_path_factory.mktemp("shop"))
    stack.settings["FRONTEND_URL"] = f"http://localhost:{stack.ports[DEMO_SHOP]}"
    stack.settings["PUBLIC_URL"] = f"http://localhost:{stack.ports['gateway']}"
    try:
        stack.start(*MODULES, DEMO_SHOP)
        yield stack
    finally:
        stack.stop_all()


class Visitor:
    """Somebody with a browser: pages, and every complaint of theirs that was not expected."""

    def __init__(self, context: BrowserContext, stack: Stack) -> None:
        self.context = context
        self.stack = stack
        self.shop = stack.settings["FRONTEND_URL"]
        self.gateway = stack.settings["PUBLIC_URL"]
        self.complaints: list[str] = []
        self.expected: list[str] = []
        self._hosts = {f"localhost:{port}" for port in stack.ports.values()}
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(REMEMBER_WHAT_IS_SHOWN)
        context.on("console", self._heard)
        context.on("request", self._asked)
        context.on("weberror", lambda error: self.complaints.append(f"{error.error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        # The sandbox's webhooks aside, 127.0.0.1 would be another origin.
        if address.scheme not in {"data", "blob"} and address.netloc not in self._hosts:
            self.complaints.append(f"a request to {request.url}")

    def expect(self, complaint: str) -> None:
        """Let a complaint pass that the test brings about, by a part of it."""
        self.expected.append(complaint)

    def unexpected(self) -> list[str]:
        """Return what was complained about and not expected."""
        return [said for said in self.complaints if not any(part in said for part in self.expected)]

    def open(self, path: str = "/") -> Page:
        """Open a page of the shop in a tab of its own."""
        page = self.context.new_page()
        page.goto(self.shop + path)
        return page


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser, shop_stack: Stack) -> Iterator[Visit]:
    """Opens a browser with nothing in it; at the end none may have complained."""
    visitors: list[Visitor] = []

    def come(device: str = "desktop", **options: Any) -> Visitor:
        visitor = Visitor(chromium.new_context(**{**DEVICES[device], **options}), shop_stack)
        visitors.append(visitor)
        return visitor

    yield come
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.unexpected() for visitor in visitors] == [[] for _ in visitors]


@pytest.fixture(params=DEVICES)
def visitor(request: pytest.FixtureRequest, visit: Visit) -> Visitor:
    """Somebody with a phone, and somebody at a desk."""
    return visit(request.param)


def button(page: Page | Locator, name: str) -> Locator:
    """Return the button of exactly this name."""
    return page.get_by_role("button", name=name, exact=True)


def status_of(page: Page) -> Locator:
    """Return what the page says by itself."""
    return page.get_by_role("status").filter(has_text=re.compile("."))


def photo_file(folder: Path, seed: int = 0, picture: Image.Image | None = None) -> Path:
    """Write a photo, another one for each seed, and return where."""
    path = folder / f"photo-{seed}.jpg"
    path.write_bytes(pictures.saved(picture or pictures.photo(seed=seed), "JPEG", quality=90))
    return path


@contextmanager
def held(page: Page, address: str | re.Pattern[str]) -> Iterator[list[Route]]:
    """Let what is asked for at such addresses wait until the block ends; gives what waits."""
    waiting: list[Route] = []

    def wait(route: Route) -> None:
        waiting.append(route)

    page.route(address, wait)
    yield waiting
    for route in waiting:
        route.continue_()
    page.unroute(address)
