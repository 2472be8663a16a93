import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import aiohttp
import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.errors import KeepsakeError
from shared.http.body import Body, continue_body, discard_body, read_bytes, size_text
from shared.settings import ServerSettings
from tests.support.serving import ServeApp
from tests.support.serving import serving as serving_app

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


async def leave_expectation(_request: web.Request) -> None:
    pass


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve `handler` and connect to it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except KeepsakeError as error:
            return web.Response(status=error.status, text=error.detail)

    app = web.Application()
    app.router.add_route("POST", "/", handle, expect_handler=leave_expectation)
    async with serving_app(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            yield reader, writer
        finally:
            writer.close()


def head(*headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"POST / HTTP/{version}", "Host: shop", *headers, "", "")).encode()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_bytes(request, max_bytes=1000))


@pytest.mark.parametrize(
    ("size", "said"), [(5 * 2**20, "5 MiB"), (64 * 1024, "64 KiB"), (1500, "1500 bytes"), (3 * 2**19, "1536 KiB")]
)
def test_a_limit_reads_as_a_person_would_say_it(size, said):
    assert size_text(size) == said


async def test_a_waiting_client_is_told_to_go_on_once():
    async def twice(request: web.Request) -> web.Response:
        await continue_body(request)
        await continue_body(request)
        assert request.writer.output_size == 0
        return await echo(request)

    async with serving(twice) as (reader, writer):
        writer.write(head("Content-Length: 5", "Expect: 100-continue"))
        assert await reader.readexactly(len(GO_ON)) == GO_ON
        writer.write(b"hello")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(5) == b"hello"


async def test_a_client_whose_body_is_refused_is_not_told_to_go_on():
    async with serving(echo) as (reader, writer):
        writer.write(head("Content-Length: 5000", "Expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_head",
    [head("Content-Length: 5", "Expect: 100-continue", version="1.0"), head("Content-Length: 5")],
)
async def test_a_client_that_does_not_wait_gets_no_interim_answer(request_head):
    async with serving(echo) as (reader, writer):
        writer.write(request_head)
        await asyncio.sleep(0.02)
        writer.write(b"hello")
        assert b" 200 " in await reader.readuntil(b"\r\n")


async def test_a_body_of_the_limit_is_read_and_a_longer_one_is_refused_with_the_limit():
    async with serving(echo) as (reader, writer):
        writer.write(head("Content-Length: 1000") + b"x" * 1000)
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(1000) == b"x" * 1000
        writer.write(head("Content-Length: 1001"))
        assert b" 413 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"1000 bytes.")


async def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_long():
    async with serving(echo) as (reader, writer):
        writer.write(head("Transfer-Encoding: chunked") + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        assert b" 413 " in await reader.readuntil(b"\r\n\r\n")


async def refuse(request: web.Request) -> web.StreamResponse:
    response = web.Response(status=413)
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    await discard_body(request)
    return response


class NeverHeldUp:
    def pause_body(self) -> None:
        pass

    def resume_body(self) -> None:
        pass


@given(sizes=st.lists(st.integers(1, 20), max_size=5), cuts=st.sets(st.integers(1, 150)))
@example(sizes=[5, 1], cuts={3, 5, 8, 10, 11})  # a size line by itself
def test_a_chunked_body_reads_the_same_wherever_its_bytes_are_cut(sizes: list[int], cuts: set[int]) -> None:
    content = bytes(range(65, 65 + max(sizes, default=0)))
    sent = b"".join(b"%x\r\n%b\r\n" % (size, content[:size]) for size in sizes) + b"0\r\n\r\n"

    async def read_while_it_arrives() -> bytes:
        body = Body(NeverHeldUp(), None)

        async def read() -> bytes:
            return b"".join([piece async for piece in aiter_of(body)])

        reading = asyncio.create_task(read())
        for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]):
            await asyncio.sleep(0)
            body.feed(sent[start:end])
        return await reading

    assert asyncio.run(read_while_it_arrives()) == b"".join(content[:size] for size in sizes)


async def aiter_of(body: Body) -> AsyncIterator[bytes]:
    while piece := await body.read():
        yield piece


async def test_a_refused_client_can_send_on_and_then_read_its_answer():
    async with serving(refuse) as (reader, writer):
        writer.write(head("Content-Length: 3000000"))
        for _ in range(30):
            writer.write(bytes(100_000))
            await writer.drain()
        assert b" 413 " in await reader.readuntil(b"\r\n")


async def test_a_client_that_reads_only_where_it_cannot_send_is_held_up_and_reads_its_answer():
    """As nginx does with a body that it has gathered: a reset would be a 502 for the browser."""
    async with serving(refuse) as (reader, writer):
        writer.write(head("Content-Length: 60000000") + bytes(60_000_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 1)
        assert b" 413 " in await reader.readuntil(b"\r\n")


async def test_discarding_ends_with_its_time_and_never_raises():
    ended: list[str] = []

    async def discard(request: web.Request) -> web.Response:
        await discard_body(request, max_s=0.05, max_bytes=1000)
        ended.append("more than its bytes came")
        await discard_body(request, max_s=0.05)
        ended.append("time")
        return web.Response()

    async with serving(discard) as (reader, writer):
        writer.write(head("Content-Length: 100000") + bytes(50_000))
        assert b" 200 " in await reader.readuntil(b"\r\n")
    assert ended == ["more than its bytes came", "time"]


async def test_a_client_that_waits_to_be_told_is_not_waited_for():
    async def discard(request: web.Request) -> web.Response:
        await discard_body(request, max_s=100)
        return web.Response(status=400)

    async with serving(discard) as (reader, writer):
        writer.write(head("Content-Length: 100000", "Expect: 100-continue"))
        assert b" 400 " in await reader.readuntil(b"\r\n")


class TestWhatAiohttpOffers:
    """Handlers that read as aiohttp's manual shows get the body, or fail: never an empty one."""

    @pytest.fixture
    async def url(self, serve_app: ServeApp) -> str:
        async def by_name(request: web.Request) -> web.Response:
            match request.match_info["way"]:
                case "read":
                    return web.Response(body=await request.read())
                case "text":
                    return web.Response(text=await request.text())
                case "json":
                    return web.json_response(await request.json())
                case "post":
                    return web.json_response(dict(await request.post()))
                case way:
                    return web.Response(body=await getattr(request.content, way)())

        route = Route(method="POST", path="/{way}", handler=by_name, summary="")
        return await serve_app(base_app(ServiceInfo("ways", ""), ServerSettings(_env_file=None), [route]))

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("way", ["read", "text", "json"])
    async def test_a_whole_body_can_be_read(self, url: str, way: str, *, chunked: bool) -> None:
        body = b'{"a": "' + b"x" * 200_000 + b'"}'
        async with aiohttp.ClientSession() as http:
            data = aiohttp.AsyncIterablePayload(_pieces(body)) if chunked else io.BytesIO(body)
            async with http.post(f"{url}/{way}", data=data, expect100=True) as answer:
                assert (answer.status, await answer.read()) == (200, body)

    async def test_a_small_form_can_be_read(self, url: str) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/post", data={"a": "1"}) as answer:
            assert await answer.json() == {"a": "1"}

    async def test_more_than_the_apps_limit_is_refused(self, url: str) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/read", data=io.BytesIO(bytes(2**21))) as answer:
            assert answer.status == 413

    @pytest.mark.parametrize("way", ["readline", "readchunk", "readexactly", "iter_chunks"])
    async def test_another_way_fails_at_once(self, url: str, way: str) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/{way}", data=b"x") as answer:
            assert answer.status == 500


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]
