"""Each process killed under load, stopped with uploads in flight, and started twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from tests.support.stack import MODULES, Stack
from tests.system.faults.calls import CALLS, IMAGE, Customer, sign_up
from tests.system.faults.load import load

# One call of each service that needs no other.
ALONE = {
    "temp-image": "upload",
    "media-store": "store",
    "planter-orders": "list orders",
    "auth-verify": "me",
    "checkout": "session status",
}
# Killed two by two where they are no neighbours, since a start costs seconds.
KILLED_TOGETHER = (
    ("temp-image", "planter-orders"),
    ("media-store", "checkout"),
    ("auth-verify", "stripe-sandbox"),
    ("gateway",),
)
TWICE = ("gateway", "checkout")  # the second has commands too
LOADED_S = 0.3
PATIENCE_S = 20


@pytest.fixture
async def buyer(shop: Stack, http: aiohttp.ClientSession) -> Customer:
    customer = await sign_up(http, shop)
    return replace(customer, open_session=(await customer.check_out(http)).json["session_id"])


async def require_alone(customer: Customer, http: aiohttp.ClientSession, shop: Stack, killed: tuple[str, ...]) -> None:
    """While processes are dead, the others answer, and the paths of the dead say that they are away."""
    for service, name in ALONE.items():
        at = replace(customer, door=shop.url(service)) if "gateway" in killed else customer
        async with asyncio.timeout(PATIENCE_S):
            answer = await CALLS[name].send(at, http)
        if service in killed:
            assert (answer.status, answer.json["code"]) == (503, "service_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
        elif "stripe-sandbox" in killed and service == "checkout":
            assert answer.json["code"] == "payment_provider_unavailable"
        else:
            assert answer.status == CALLS[name].fine, (killed, answer)


async def test_what_was_promised_outlives_the_kill_of_each_process(
    shop: Stack, buyer: Customer, http: aiohttp.ClientSession
) -> None:
    async with load(buyer, http) as promises:
        for names in KILLED_TOGETHER:
            await asyncio.sleep(LOADED_S)
            for name in names:
                shop.kill(name)
            await require_alone(buyer, http, shop, names)
            await asyncio.to_thread(shop.start, *names)
        await asyncio.sleep(LOADED_S)
    await promises.require_kept(buyer, http, Path(shop.settings["DATA_DIR"]))
    for name in ALONE.values():
        assert (await CALLS[name].send(buyer, http)).status == CALLS[name].fine


@dataclass
class Upload:
    """An upload through the gateway that has sent the first half of its image."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rest: bytes

    @classmethod
    async def begin(cls, port: int) -> Upload:
        """Send the head, and half of the body once it is asked for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        form = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n' + IMAGE + b"\r\n--b--\r\n"
        )
        writer.write(
            b"POST /api/temp-image-upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(form)
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(form[: len(form) // 2])
        await writer.drain()
        return cls(reader, writer, form[len(form) // 2 :])

    async def finish(self) -> tuple[int, dict[str, str]]:
        """Send the rest; return the answer."""
        self.writer.write(self.rest)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = json.loads(await self.reader.readexactly(length))
        self.writer.close()
        return int(head.split()[1]), body


async def until_not_ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with http.get(f"{url}/ready") as answer:
                if answer.status == 503:
                    return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stopped", ["gateway", "temp-image"])
async def test_uploads_in_flight_are_finished_by_a_process_that_stops(
    shop: Stack, buyer: Customer, http: aiohttp.ClientSession, stopped: str
) -> None:
    uploads = [await Upload.begin(shop.ports["gateway"]) for _ in range(6)]
    await asyncio.sleep(LOADED_S)  # until they are behind the gateway too
    stopping = asyncio.create_task(asyncio.to_thread(shop.stop, stopped))
    await until_not_ready(http, shop.url(stopped))
    if stopped == "temp-image":
        refused = await buyer.upload(http)
        assert (refused.status, refused.headers["Retry-After"].isdigit()) == (503, True)
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(upload.finish() for upload in uploads))
        assert await stopping == 0
    assert {status for status, _ in answers} == {200}
    await asyncio.to_thread(shop.start, stopped)
    for _, kept in answers:
        assert (await buyer.retrieve(http, kept["imageId"])).body == IMAGE


async def start_again(shop: Stack, name: str) -> tuple[int, str]:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", MODULES[name]]
        return subprocess.run(
            command, cwd=shop.folder, env=shop.environment(), capture_output=True, text=True, timeout=60, check=False
        )

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout + done.stderr


async def test_whoever_is_started_twice_says_so_in_a_sentence_and_the_first_goes_on(
    shop: Stack, buyer: Customer, http: aiohttp.ClientSession
) -> None:
    for name, (code, said) in zip(
        TWICE, await asyncio.gather(*(start_again(shop, name) for name in TWICE)), strict=True
    ):
        assert code == 1, name
        assert said.splitlines() == [
            f"keepsake: port {shop.ports[name]} on 127.0.0.1 cannot be used: Address already in use."
        ]
    for name in ALONE.values():
        assert (await CALLS[name].send(buyer, http)).status == CALLS[name].fine
