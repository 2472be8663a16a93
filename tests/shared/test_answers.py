from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from shared.answers import FileAnswer
from shared.app import base_app
from shared.routes import Route, ServiceInfo
from shared.settings import ServerSettings
from tests.plugins.raw_http import connect
from tests.plugins.serving import ServeApp

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
async def url(tmp_path: Path, serve_app: ServeApp) -> str:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def show(_request: web.Request) -> web.StreamResponse:
        return FileAnswer(path)

    route = Route(method="GET", path="/file", handler=show, summary="A file")
    return await serve_app(base_app(ServiceInfo("files", "For tests"), ServerSettings(_env_file=None), (route,)))


async def test_a_connection_outlives_the_files_sent_on_it(url: str) -> None:
    async with connect(url) as client:
        for more, status in (
            (b"", 200),
            (b"Range: bytes=0-9\r\n", 206),
            (b"Range: bytes=9999999-\r\n", 416),
            (b"", 200),
        ):
            await client.send(b"GET /file HTTP/1.1\r\nHost: shop\r\n" + more + b"\r\n")
            answer = await client.answer()
            assert answer.status == status
            if status == 200:
                assert answer.body == CONTENT
        etag = answer.headers["etag"][0].encode()
        await client.send(b"GET /file HTTP/1.1\r\nHost: shop\r\nIf-None-Match: " + etag + b"\r\n\r\n")
        assert (await client.answer("HEAD")).status == 304
        await client.send(b"HEAD /file HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert (await client.answer("HEAD")).headers["content-length"] == [str(len(CONTENT))]
        await client.send(b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert (await client.answer()).status == 200
