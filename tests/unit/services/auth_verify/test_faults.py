from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from services.auth_verify.app import build_app
from services.auth_verify.settings import AuthVerifySettings
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, JWT_SECRET, PASSWORD, Api, Reply

ANSWERED_WITHIN_S = 3


class Wire:
    """A TCP connection to a server that can be cut or go silent, and be mended."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        netloc = f"{self._target.netloc.rpartition(':')[0]}:{port}"
        try:
            yield self._target._replace(netloc=netloc).geturl()
        finally:
            server.close()
            self.cut()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._is_cut = False
        self._flows.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._is_cut:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._writers.add(far_writer)
            for source, sink in ((reader, far_writer), (far_reader, writer)):
                pump = asyncio.create_task(self._pump(source, sink))
                self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                await self._flows.wait()
                sink.write(chunk)
                await sink.drain()
        sink.close()


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[tuple[Wire, str]]:
    wire = Wire(postgres_url)
    async with wire.laid() as url:
        yield wire, url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[tuple[Wire, str]]:
    wire = Wire(redis_url)
    async with wire.laid() as url:
        yield wire, url


@pytest.fixture
async def api(
    postgres: tuple[Wire, str],
    redis: tuple[Wire, str],
    serve_app: ServeApp,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> Api:
    settings = AuthVerifySettings(
        _env_file=None,
        data_dir=tmp_path,
        database_url=postgres[1],
        redis_url=redis[1],
        jwt_secret_key=JWT_SECRET,
        internal_secret=INTERNAL_SECRET,
    )
    return Api(http, await serve_app(build_app(settings)))


async def until_it_answers(status: int, ask: Callable[[], Awaitable[Reply]]) -> None:
    async with asyncio.timeout(30):
        while (await ask()).status != status:  # noqa: ASYNC110 - nobody tells a client that a service is well again
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("trouble", ["cut", "silence"])
async def test_without_the_database_each_call_says_so_and_it_recovers_by_itself(
    api: Api, postgres: tuple[Wire, str], trouble: str
) -> None:
    wire, _ = postgres
    user = await api.signed_in("alice")
    getattr(wire, trouble)()
    for call in (
        api.login("alice"),
        api.register("bob"),
        api.refresh(user.refresh_token),
        api.get("/api/auth/me", user.token),
        api.get("/api/v1/organizations", user.token),
        api.get("/ready"),
    ):
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            reply = await call
        assert (reply.status, reply.body["code"]) == (503, "database_unavailable")
        assert int(reply.headers["Retry-After"]) >= 1
    assert (await api.get("/api/auth/verify", user.token)).status == 200
    assert (await api.get("/health")).status == 200
    wire.mend()
    await until_it_answers(200, lambda: api.get("/ready"))
    assert (await api.login("alice")).status == 200
    assert (await api.refresh(user.refresh_token)).status == 200


@pytest.mark.parametrize("trouble", ["cut", "silence"])
async def test_without_redis_people_come_in_and_nobody_is_told_of_a_logout_that_did_not_hold(
    api: Api, redis: tuple[Wire, str], trouble: str
) -> None:
    wire, _ = redis
    user = await api.signed_in("alice")
    getattr(wire, trouble)()
    assert (await api.login("alice", "not the password")).status == 401
    assert (await api.login("alice", PASSWORD)).status == 200
    assert (await api.get("/api/auth/verify", user.token)).status == 200
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        reply = await api.post("/api/auth/logout", {"refresh_token": user.refresh_token})
    assert (reply.status, reply.body["code"]) == (503, "redis_unavailable")
    assert (await api.get("/ready")).body["code"] == "redis_unavailable"
    wire.mend()
    await until_it_answers(204, lambda: api.post("/api/auth/logout", {"refresh_token": user.refresh_token}))
    await until_it_answers(401, lambda: api.get("/api/auth/verify", user.token))
