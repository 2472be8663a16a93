from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
import yarl
from aiohttp import web

from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.http.sendfile import send_file
from shared.settings import ServerSettings
from tests.support.serving import serving

MUCH = os.urandom(12 * 2**20)  # more than the sockets of both sides hold
REQUEST = b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Sending:
    """An app that sends a file from its sixth byte on, as if it had `length` bytes from there, and how that ended."""

    def __init__(self, path, length):
        self.path, self.length = path, length
        self.ended = asyncio.get_running_loop().create_future()

    async def handle(self, request):
        response = web.StreamResponse()
        response.content_length = self.length
        try:
            with self.path.open("rb") as file:
                await response.prepare(request)
                await send_file(request, b"", file.fileno(), 5, self.length)
                await response.write_eof()
        except ConnectionResetError:
            self.ended.set_result("reset")
            raise
        self.ended.set_result("sent")
        return response

    def serving(self):
        route = Route(method="GET", path="/file", handler=self.handle, summary="Send it.")
        return serving(base_app(ServiceInfo("files", "Files"), ServerSettings(_env_file=None), (route,)))


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return request.param


@pytest.fixture
def much(tmp_path):
    path = tmp_path / "much"
    path.write_bytes(MUCH)
    return path


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def asked(url):
    connection = socket.create_connection(("127.0.0.1", yarl.URL(url).port), timeout=10)
    connection.sendall(REQUEST)
    return connection


def read_answer(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    head, _, rest = head.partition(b"\r\n\r\n")
    body = bytearray(rest)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length and (piece := connection.recv(65536)):
        body += piece
    return bytes(body)


def test_who_reads_late_gets_every_byte_and_the_connection_serves_on(run, much):
    async def main():
        sending = Sending(much, len(MUCH) - 5)
        async with sending.serving() as url:
            with await asyncio.to_thread(asked, url) as connection:
                await asyncio.sleep(0.2)  # the socket is full by then
                assert not sending.ended.done()
                assert await asyncio.to_thread(read_answer, connection) == MUCH[5:]
                assert await sending.ended == "sent"
                sending.ended = asyncio.get_running_loop().create_future()
                await asyncio.to_thread(connection.sendall, REQUEST)
                assert await asyncio.to_thread(read_answer, connection) == MUCH[5:]

    run(main())


def test_a_file_that_is_too_short_ends_the_connection(run, much):
    async def main():
        sending = Sending(much, len(MUCH))
        async with sending.serving() as url:
            with await asyncio.to_thread(asked, url) as connection:
                with suppress(ConnectionResetError):
                    assert len(await asyncio.to_thread(read_answer, connection)) < len(MUCH)
                assert await sending.ended == "reset"

    run(main())


def test_who_leaves_in_the_middle_ends_the_sending_and_leaves_nothing_open(run, much):
    async def main():
        sending = Sending(much, len(MUCH) - 5)
        async with sending.serving() as url:
            before = open_files()
            with await asyncio.to_thread(asked, url) as connection:
                await asyncio.to_thread(connection.recv, 1000)
            assert await sending.ended == "reset"
            await asyncio.sleep(0.1)
            assert open_files() == before

    run(main())
