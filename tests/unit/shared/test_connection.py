from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from shared.app.factory import base_app
from shared.app.routes import Route, ServiceInfo
from shared.http import connection
from shared.http.body import BODY, continue_body, read_bytes
from shared.settings import ServerSettings
from tests.support.raw_http import RawAnswer, ask, connect
from tests.support.serving import ServeApp

ORIGIN = "http://localhost:3000"
GET = b"GET /told HTTP/1.1\r\nHost: a\r\n\r\n"


async def told(request: web.Request) -> web.Response:
    """Tell what arrived."""
    body = await read_bytes(request, max_bytes=2**20)
    headers = [[name.lower(), value] for name, value in request.headers.items()]
    return web.json_response({"path": request.path, "body": body.decode("latin-1"), "headers": headers})


async def streamed(request: web.Request) -> web.StreamResponse:
    await continue_body(request)
    response = web.StreamResponse()
    await response.prepare(request)
    while chunk := await request[BODY].read():
        await response.write(chunk)
    await response.write_eof()
    return response


async def unread(_request: web.Request) -> web.Response:
    return web.json_response({"read": False})


@pytest.fixture
async def url(serve_app: ServeApp) -> str:
    routes = (
        Route(method="GET", path="/told", handler=told, summary="Tell"),
        Route(method="POST", path="/told", handler=told, summary="Tell"),
        Route(method="POST", path="/streamed", handler=streamed, summary="Echo"),
        Route(method="POST", path="/unread", handler=unread, summary="Leave the body"),
    )
    return await serve_app(base_app(ServiceInfo("told", "Tells"), ServerSettings(), routes))


def assert_problem(answer: RawAnswer, status: int) -> None:
    assert answer.status == status, answer
    assert answer.status_line.startswith("HTTP/1.1 ")
    assert answer.headers["content-type"] == ["application/problem+json"]
    body = json.loads(answer.body)
    assert body["status"] == status
    assert [body["request_id"]] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == ["nosniff"]
    assert answer.headers["vary"] == ["Origin"]


async def test_an_ordinary_request_is_answered_and_the_connection_kept(url: str) -> None:
    async with connect(url) as client:
        for _ in range(3):
            await client.send(GET)
            answer = await client.answer()
            assert answer.status == 200
            assert "connection" not in answer.headers


async def test_a_head_may_come_in_pieces(url: str) -> None:
    async with connect(url) as client:
        for byte in GET:
            await client.send(bytes([byte]))
        assert (await client.answer()).status == 200


async def test_empty_lines_before_a_request_are_skipped(url: str) -> None:
    assert (await ask(url, b"\r\n\r\n" + GET)).status == 200


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_a_body_and_the_next_request_behind_it_are_told_apart(url: str, size: int) -> None:
    post = b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"G" * size
    async with connect(url) as client:
        await client.send(post + GET + post)
        answers = [json.loads((await client.answer()).body) for _ in range(3)]
    assert [answer["body"] for answer in answers] == ["G" * size, "", "G" * size]


async def test_fifty_pipelined_requests_get_fifty_answers_in_order(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            b"".join(b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d" % n for n in range(50))
        )
        for n in range(50):
            assert json.loads((await client.answer()).body)["body"] == f"{n:03d}"


async def test_a_chunked_body_is_read_and_the_connection_kept(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
        )
        answer = await client.answer()
        assert json.loads(answer.body)["body"] == "abcde"
        await client.send(GET)
        assert (await client.answer()).status == 200


async def test_a_chunked_body_may_come_byte_by_byte(url: str) -> None:
    async with connect(url) as client:
        await client.send(b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in b"3\r\nabc\r\n002\r\nde\r\n0\r\nX: y\r\n\r\n" + GET:
            await client.send(bytes([byte]))
        assert json.loads((await client.answer()).body)["body"] == "abcde"
        assert (await client.answer()).status == 200


async def test_thousands_of_pipelined_requests_are_all_answered(url: str) -> None:
    async with connect(url) as client:
        sending = asyncio.create_task(client.send(GET * 3000))
        for _ in range(3000):
            assert (await client.answer()).status == 200
        await sending


CHUNKED = b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_small_chunks_are_taken_and_a_flood_of_them_is_refused(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            CHUNKED + b"1\r\nx\r\n" * 16_384 + b"0\r\n\r\n" + CHUNKED + b"10\r\n%s\r\n" % (b"y" * 16) * 20_000
        )
        assert json.loads((await client.answer()).body)["body"] == "x" * 16_384
        await client.send(b"0\r\n\r\n")
        assert json.loads((await client.answer()).body)["body"] == "y" * 320_000
        await client.send(CHUNKED + b"1\r\nx\r\n" * 17_000)
        assert_problem(await client.answer(), 400)


async def test_a_chunked_body_can_be_streamed_back(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            b"POST /streamed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert (await client.answer()).body == b"abc"
        await client.send(GET)
        assert (await client.answer()).status == 200


async def test_requests_around_a_chunked_one_are_answered_in_order(url: str) -> None:
    chunked = b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with connect(url) as client:
        await client.send(GET + GET + chunked + chunked + GET)
        bodies = [json.loads((await client.answer()).body)["body"] for _ in range(5)]
    assert bodies == ["", "", "abc", "abc", ""]


async def test_trailers_never_become_headers(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
            b"Authorization: Bearer x\r\nHost: b\r\n\r\n" + GET
        )
        answers = [json.loads((await client.answer()).body) for _ in range(2)]
    assert [answer["headers"] for answer in answers] == [[["host", "a"]], [["host", "a"]]]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /told HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /told HTTP/1.1\r\nHost: a\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        b"POST /told HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc",
        (
            b"POST /told HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n"
        ),
    ],
)
async def test_an_upgrade_is_dropped_and_the_connection_closed_after_the_answer(url: str, request_bytes: bytes) -> None:
    async with connect(url) as client:
        await client.send(request_bytes)
        answer = await client.answer()
        assert answer.status == 200
        seen = json.loads(answer.body)
        assert seen["body"] == ("abc" if request_bytes.startswith(b"POST") else "")
        assert "upgrade" not in dict(seen["headers"])
        assert answer.headers["connection"] == ["close"]
        assert await client.rest() == b""


BROKEN = {
    "no version": (b"GET /told\r\n\r\n", 400),
    "no version, with headers": (b"GET /told\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /told HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/2.0": (b"GET /told HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET /told HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.10": (b"GET /told HTTP/1.10\r\nHost: a\r\n\r\n", 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "lower-case http": (b"GET /told http/1.1\r\nHost: a\r\n\r\n", 400),
    "another protocol": (b"GET /told RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "two spaces": (b"GET  /told HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab": (b"GET\t/told\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in the target": (b"GET /to ld HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /to\x00ld HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "leading space": (b" GET /told HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bare LF": (b"GET /told HTTP/1.1\nHost: a\n\r\n\r\n", 400),
    "bare LF after a header": (b"GET /told HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n", 400),
    "bare CR in a header": (b"GET /told HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n", 400),
    "NUL in a header": (b"GET /told HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n", 400),
    "folded header": (b"GET /told HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", 400),
    "space before the colon": (b"GET /told HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", 400),
    "header without colon": (b"GET /told HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n", 400),
    "header without name": (b"GET /told HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    "leading space in the first header": (b"GET /told HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "no Host": (b"GET /told HTTP/1.1\r\nX-A: b\r\n\r\n", 400),
    "two Hosts": (b"GET /told HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two equal Hosts": (b"GET /told HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    "empty Host": (b"GET /told HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "Host with a path": (b"GET /told HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "Host with a user": (b"GET /told HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "Host with two values": (b"GET /told HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "two lengths": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "two equal lengths": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a list of lengths": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    "negative length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nabc", 400),
    "signed length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    "hexadecimal length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    "underscored length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabcdefghij", 400),
    "empty length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    "endless length": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nabc", 400),
    "length and chunks": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and length": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked twice": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked in two headers": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked, then another": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    "another coding": (b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
    "another coding, then chunked": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "obfuscated chunked": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "quoted chunked": (b'POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "vertical tab before chunked": (
        b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked in HTTP/1.0": (b"POST /told HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
    "another expectation": (b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 200-ok\r\n\r\nabc", 417),
    "method with a colon": (b"GE:T /told HTTP/1.1\r\nHost: a\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_good_http_is_a_problem_and_the_end_of_the_connection(url: str, name: str) -> None:
    request_bytes, status = BROKEN[name]
    async with connect(url) as client:
        await client.send(request_bytes + GET)
        assert_problem(await client.answer(), status)
        assert await client.rest() == b""


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"BREW", b"get"])
async def test_methods_that_nothing_takes_are_refused(url: str, method: bytes) -> None:
    answer = await ask(url, method + b" /told HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status in {400, 405, 501}
    assert b"/told" not in answer.body


async def test_connect_to_an_authority_opens_no_tunnel(url: str) -> None:
    async with connect(url) as client:
        await client.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + GET)
        answers = await client.rest()
    assert b"HTTP/1.1 200" not in answers


async def test_a_request_in_http_1_0_is_answered_without_a_host_and_closed(url: str) -> None:
    async with connect(url) as client:
        await client.send(b"GET /told HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


async def test_a_head_over_its_limit_is_431(url: str) -> None:
    head = b"GET /told HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * connection.MAX_HEAD_BYTES
    async with connect(url) as client:
        await client.send(head)
        assert_problem(await client.answer(), 431)


async def test_many_small_headers_are_refused(url: str) -> None:
    head = b"GET /told HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n"
    assert (await ask(url, head)).status in {400, 431}


@pytest.mark.parametrize(
    "line", [b"zz\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3 3\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n"]
)
async def test_a_broken_chunk_ends_the_connection(url: str, line: bytes) -> None:
    async with connect(url) as client:
        await client.send(
            b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"0\r\n\r\n" + GET
        )
        answers = await client.rest()
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"HTTP/1.1 400" in answers


async def test_a_bad_request_behind_a_good_one_does_not_take_its_place(url: str) -> None:
    async with connect(url) as client:
        await client.send(GET + b"GET /told HTTP/3.0\r\n\r\n" + GET)
        assert (await client.answer()).status == 200
        assert b"HTTP/1.1 200" not in await client.rest()


async def test_a_parser_refusal_tells_an_allowed_origin_too(url: str) -> None:
    origin = f"Origin: {ORIGIN}\r\n".encode()
    for request_bytes in (
        b"GET /told HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n" + origin + b"\r\n",
        b"GET /told HTTP/3.0\r\nHost: a\r\n" + origin + b"\r\n",
    ):
        answer = await ask(url, request_bytes)
        assert answer.status >= 400
        assert answer.headers["access-control-allow-origin"] == [ORIGIN]


async def test_a_parser_refusal_names_no_stranger(url: str) -> None:
    answer = await ask(url, b"GET /told HTTP/3.0\r\nHost: a\r\nOrigin: http://evil.example\r\n\r\n")
    assert "access-control-allow-origin" not in answer.headers


async def test_nothing_hostile_is_repeated(url: str) -> None:
    answer = await ask(url, b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: a\r\nBad Header: secret\r\n\r\n")
    assert b"script" not in answer.body
    assert b"secret" not in answer.body


async def test_continue_is_sent_only_when_the_body_is_wanted(url: str) -> None:
    head = b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with connect(url) as client:
        await client.send(b"POST /told HTTP/1.1\r\n" + head)
        assert (await client.answer()).status == 100
        await client.send(b"abc")
        assert json.loads((await client.answer()).body)["body"] == "abc"
    async with connect(url) as client:
        await client.send(b"POST /unread HTTP/1.1\r\n" + head)
        assert (await client.answer()).status == 200


async def test_a_body_nobody_read_is_not_taken_for_the_next_request(url: str) -> None:
    hidden = b"GET /told HTTP/1.1\r\nHost: hidden\r\n\r\n"
    async with connect(url) as client:
        await client.send(
            b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden + GET
        )
        answers = await client.rest() if (await client.answer()).headers.get("connection") else b""
    assert b"hidden" not in answers


async def test_an_idle_client_is_let_go_and_a_slow_head_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with connect(url) as client:
        assert await client.rest() == b""
    async with connect(url) as client:
        await client.send(b"GET /told HTTP/1.1\r\n")
        assert_problem(await client.answer(), 408)
        assert await client.rest() == b""


async def test_a_slow_second_head_is_refused_as_well(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with connect(url) as client:
        await client.send(GET)
        assert (await client.answer()).status == 200
        await asyncio.sleep(0.1)
        await client.send(b"GET /told HTTP/1.1\r\nX-")
        assert_problem(await client.answer(), 408)


async def test_a_chunk_that_breaks_later_is_the_clients_fault(url: str) -> None:
    async with connect(url) as client:
        await client.send(
            b"POST /told HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await client.answer()).status == 100
        await client.send(b"3\r\nabc\r\nnonsense\r\n" + GET)
        assert_problem(await client.answer(), 400)
        assert await client.rest() == b""


async def test_a_client_that_hangs_up_in_its_body_is_nobodys_failure(url: str) -> None:
    async with connect(url) as client:
        await client.send(b"POST /told HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(b"abc")
        client.writer.write_eof()
        assert await client.rest() == b""
