"""The real processes, ended with SIGKILL while money moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.stack import Stack, running_stack
from tests.unit.services.checkout.shop import picture

pytestmark = pytest.mark.long

NEEDED = ("temp-image", "checkout", "stripe-sandbox")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("killed"), None, *NEEDED) as stack:
        yield stack


@pytest.fixture
def stack(processes: Stack) -> Stack:
    """All that is needed, also after a test that ended before it started again what it killed."""
    processes.start(*(name for name in NEEDED if not processes.runs(name)))
    return processes


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def upload(stack: Stack, http: aiohttp.ClientSession) -> str:
    form = aiohttp.FormData()
    form.add_field("image", picture(), filename="a.png", content_type="image/png")
    async with http.post(f"{stack.url('temp-image')}/api/temp-image-upload", data=form) as answer:
        return str((await answer.json())["imageId"])


async def open_session(stack: Stack, http: aiohttp.ClientSession, image_id: str) -> str:
    url = f"{stack.url('checkout')}/api/checkout/embedded-session"
    async with http.post(url, json={"imageId": image_id}) as answer:
        return str((await answer.json())["session_id"])


async def pay(stack: Stack, http: aiohttp.ClientSession, session_id: str) -> None:
    url = f"{stack.url('stripe-sandbox')}/pay/{session_id}"
    async with http.post(url, data={"action": "pay"}, allow_redirects=False) as answer:
        assert answer.status == 303


def promoted(stack: Stack, session_id: str) -> list[bytes]:
    folder = Path(stack.settings["DATA_DIR"]) / "objects" / "checkouts" / session_id
    return [path.read_bytes() for path in folder.glob("*.png")]


async def test_a_payment_made_while_checkout_is_dead_is_fulfilled_when_it_lives(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    image_id = await upload(stack, http)
    session_id = await open_session(stack, http, image_id)
    stack.kill("checkout")
    await pay(stack, http, session_id)
    await asyncio.to_thread(stack.start, "checkout")
    async with asyncio.timeout(60):
        while not promoted(stack, session_id):  # noqa: ASYNC110 - seen from outside, on disk
            await asyncio.sleep(0.05)
    assert promoted(stack, session_id) == [picture()]


async def test_processes_killed_at_any_moment_lose_no_paid_image(stack: Stack, http: aiohttp.ClientSession) -> None:
    paid = []
    for pause_s in (0.0, 0.01, 0.02, 0.04, 0.08):
        session_id = await open_session(stack, http, await upload(stack, http))
        paid.append(session_id)
        await pay(stack, http, session_id)
        await asyncio.sleep(pause_s)
        stack.kill("checkout")
        await asyncio.to_thread(stack.start, "checkout")
    async with asyncio.timeout(60):
        while not all(promoted(stack, session_id) for session_id in paid):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    for session_id in paid:
        url = f"{stack.url('checkout')}/api/checkout/sessions/{session_id}/image"
        async with http.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, picture())
        assert promoted(stack, session_id) == [picture()]
    assert stack.stop("checkout") == 0
