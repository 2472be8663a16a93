from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.upstream.exchange import Outgoing, Pool, exchange
from gateway.upstream.response_head import UpstreamTimeout
from tests.support.raw_http import ask, connect
from tests.unit.gateway.conftest import OpenGateway, bearer
from tests.unit.gateway.wire_server import ok, saying, wire_server

GET = b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n"

GOOD = {
    "length": (ok(b"fine"), b"fine"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2;x=y\r\nne\r\n0\r\n\r\n", b"fine"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-T: 1\r\n\r\n", b"fine"),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(b"fine"), b"fine"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nfine", b"fine"),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 4\r\n\r\n', b""),
    "refusal": (b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    "own status": (b"HTTP/1.1 299 Own\r\nContent-Length: 4\r\n\r\nfine", b"fine"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_answer_goes_through(open_gateway: OpenGateway, name: str) -> None:
    data, body = GOOD[name]
    async with wire_server(saying(data)) as wire:
        url = await open_gateway(media_store_url=wire.url)
        async with connect(url) as client:
            for _ in range(3):
                await client.send(GET)
                answer = await client.answer()
                assert answer.status == int(data.split(b"HTTP/1.1 ")[-1][:3])
                assert answer.body == body
                assert "x-t" not in answer.headers
        assert wire.connections == 1


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_body_that_ends_with_the_connection_goes_through(open_gateway: OpenGateway, version: bytes) -> None:
    async with wire_server(saying(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000, close=True)) as wire:
        url = await open_gateway(media_store_url=wire.url)
        async with connect(url) as client:
            await client.send(b"GET /media/a HTTP/%s\r\nHost: a\r\nConnection: close\r\n\r\n" % version)
            answer = await client.answer()
            body = answer.body or await client.rest()
    assert len(body) == 300_000


BAD = {
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 4\n\r\n\r\nfine",
    "bare LF in a header": b"HTTP/1.1 200 OK\r\nX-A: b\nX-B: c\r\nContent-Length: 4\r\n\r\nfine",
    "bare CR in a header": b"HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 4\r\n\r\nfine",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 4\r\n\r\nfine",
    "folded header": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 4\r\n\r\nfine",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nfine",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 4\r\n\r\nfine",
    "status 099": b"HTTP/1.1 099 Odd\r\nContent-Length: 4\r\n\r\nfine",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "version": b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfine",
    "length of no digits": b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nfine",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 40_000,
}


@pytest.mark.parametrize("name", BAD)
async def test_an_answer_that_is_no_good_http_is_a_bad_gateway(open_gateway: OpenGateway, name: str) -> None:
    async with wire_server(saying(BAD[name])) as wire:
        url = await open_gateway(media_store_url=wire.url)
        answer = await ask(url, GET)
    assert answer.status == 502
    assert json.loads(answer.body)["code"] == "bad_gateway"


async def test_a_service_that_hangs_up_instead_of_answering_is_a_bad_gateway(open_gateway: OpenGateway) -> None:
    async with wire_server(saying(b"", close=True)) as wire:
        url = await open_gateway(media_store_url=wire.url)
        assert (await ask(url, GET)).status == 502
        assert wire.connections == 1


BROKEN_BODIES = {
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 600_000,
    "short chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\nzz\r\n",
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_body_that_breaks_off_breaks_off_for_the_client_too(open_gateway: OpenGateway, name: str) -> None:
    async with wire_server(saying(BROKEN_BODIES[name], close=True)) as wire:
        url = await open_gateway(media_store_url=wire.url)
        async with connect(url) as client:
            await client.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            data = await client.rest()
    assert len(data) < 650_000
    assert not data.endswith(b"0\r\n\r\n")


async def test_what_is_of_the_inside_stays_inside(open_gateway: OpenGateway) -> None:
    data = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: inner\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Access-Control-Allow-Origin: *\r\nX-Keepsake-Claim: secret\r\nX-Request-Id: inner\r\nKeep-Alive: timeout=5\r\n"
        b'Connection: keep-alive, X-Named\r\nX-Named: 1\r\nETag: "x"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n'
        b"Vary: Accept\r\nLocation: /internal\r\n\r\nfine"
    )
    async with wire_server(saying(data)) as wire:
        url = await open_gateway(media_store_url=wire.url)
        answer = await ask(
            url, b"GET /media/a HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nOrigin: http://localhost:3000\r\n\r\n"
        )
    headers = answer.headers
    assert headers["x-request-id"] == ["mine"]
    assert headers["access-control-allow-origin"] == ["http://localhost:3000"]
    assert len(headers["date"]) == 1
    assert not headers["date"][0].endswith("1970 00:00:00 GMT")
    assert headers["server"] == ["keepsake"]
    assert not {"x-keepsake-claim", "keep-alive", "x-named"} & set(headers)
    assert headers["set-cookie"] == ["a=1", "b=2"]
    assert headers["etag"] == ['"x"']
    assert headers["vary"] == ["Accept, Origin"]
    assert headers["x-content-type-options"] == ["nosniff"]


async def test_a_redirect_and_an_encoded_body_are_passed_on_as_they_are(
    http: aiohttp.ClientSession, open_gateway: OpenGateway
) -> None:
    data = b"HTTP/1.1 302 Found\r\nLocation: /media/b\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b..."
    async with wire_server(saying(data[:-1])) as wire:
        answer = await ask(await open_gateway(media_store_url=wire.url), GET)
        assert answer.status == 302
        assert answer.headers["location"] == ["/media/b"]
        assert answer.body == b"\x1f\x8b.."
        assert len(wire.heads) == 1


async def test_head_keeps_the_length_and_has_no_body(open_gateway: OpenGateway) -> None:
    async with wire_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")) as wire:
        url = await open_gateway(media_store_url=wire.url)
        async with connect(url) as client:
            for _ in range(2):
                await client.send(b"HEAD /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await client.answer("HEAD")).headers["content-length"] == ["12345"]
        assert wire.connections == 1


async def test_a_connection_that_died_while_idle_is_no_error(open_gateway: OpenGateway) -> None:
    async with wire_server(saying(ok())) as wire:
        url = await open_gateway(media_store_url=wire.url)
        for method, target in (("GET", "/media/a"), ("POST", "/store-image"), ("GET", "/media/a")):
            request = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
            assert (await ask(url, request)).status == 200
            wire.drop_connections()
        assert len(wire.heads) == 3


async def test_a_get_is_sent_again_where_a_kept_connection_closes_unanswered(open_gateway: OpenGateway) -> None:
    seen = 0

    async def every_second_hangs_up(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        if seen % 2 == 0:
            raise ConnectionResetError
        writer.write(ok())

    async with wire_server(every_second_hangs_up) as wire:
        url = await open_gateway(media_store_url=wire.url)
        assert (await ask(url, GET)).status == 200
        assert (await ask(url, GET)).status == 200
        assert len(wire.heads) == 3
        assert (await ask(url, b"POST /store-image HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")).status == 502
        assert len(wire.heads) == 4


@pytest.mark.parametrize("line", ["DELETE /api/user_image/1/delete", "PUT /api/user_image/1/set_primary"])
async def test_what_changes_something_is_never_sent_again(open_gateway: OpenGateway, line: str) -> None:
    request = f"{line} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer()['Authorization']}\r\n\r\n".encode()
    answers = [ok()]

    async def one_answer(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not answers:
            raise ConnectionResetError
        writer.write(answers.pop())

    async with wire_server(one_answer) as wire:
        url = await open_gateway(media_store_url=wire.url)
        assert (await ask(url, request)).status == 200
        assert (await ask(url, request)).status == 502
        assert len(wire.heads) == 2


async def test_bytes_nobody_asked_for_are_nobodys_answer(open_gateway: OpenGateway) -> None:
    async with wire_server(saying(ok(b"one") + ok(b"two"))) as wire:
        url = await open_gateway(media_store_url=wire.url)
        answers = [await ask(url, GET) for _ in range(3)]
    assert {answer.status for answer in answers} == {502}


async def test_a_late_first_byte_is_a_timeout() -> None:
    async def never(_head: bytes, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with wire_server(never) as wire:
        pool = Pool("media-store", (wire.url,))
        with pytest.raises(UpstreamTimeout):
            async with exchange(pool, Outgoing(method="GET", target=b"/", fields=b"", first_byte_s=0.05)):
                pass
        pool.close()


async def test_the_wait_for_the_first_byte_begins_after_the_last_one_sent() -> None:
    async def read_slowly(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"end")
        writer.write(ok())

    pieces = [b"a"] * 10 + [b"end"]

    async def more() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(0.03)
            yield piece

    async with wire_server(read_slowly) as wire:
        pool = Pool("media-store", (wire.url,))
        outgoing = Outgoing(method="POST", target=b"/", fields=b"", more=more(), first_byte_s=0.2)
        async with exchange(pool, outgoing) as answer:
            assert await answer.read() == b"fine"
        pool.close()
