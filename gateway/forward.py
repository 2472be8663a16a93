"""Passing a request on and its answer back, both as streams: never more of a body here than a bounded buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from gateway.admission import CLIENTS, admit, too_large
from gateway.headers import answer_fields, request_fields
from gateway.one_time_delivery import claim_of, deliver
from gateway.route_table import Row
from gateway.stalled_reader import ReaderWatch
from gateway.upstream.exchange import Exchange, Outgoing
from gateway.upstream.pool import Pool
from shared.app.middleware import LIFE, REQUEST_ID, Life
from shared.app.routes import Handler
from shared.http.body import BODY, continue_body, discard_body
from shared.http.chunked import LAST_CHUNK, chunk
from shared.http.clients import Address
from shared.tracing import span, trace_headers

BODY_IDLE_S = 30.0
LENGTH_EXPECTED = frozenset({"POST", "PUT", "PATCH"})


def _fields(request: web.Request, row: Row, address: Address) -> bytes:
    """Return the header lines for the service: the client's, and what the gateway alone may say."""
    clients = request.app[CLIENTS]
    lines = request_fields(request.raw_headers, request.headers.getall(hdrs.CONNECTION, ()))
    lines.append(
        f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {clients.scheme_of(request)}\r\n"
        f"X-Forwarded-Host: {request.host}\r\nX-Request-Id: {request[REQUEST_ID]}\r\n".encode("latin-1", "ignore")
    )
    lines += (f"{name}: {value}\r\n".encode("latin-1") for name, value in trace_headers().items())
    if row.signed:
        lines.append(f"X-Keepsake-Gateway: {clients.token(row.service, str(address))}\r\n".encode())
    length = request[BODY].length
    if length is None:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length or request.method in LENGTH_EXPECTED:
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"".join(lines)


def _body(request: web.Request, row: Row) -> Callable[[], Awaitable[bytes]]:
    """Return a function that gives the body's next bytes as they go on the wire, and watches the row's limit."""
    chunked = request[BODY].length is None
    left = row.max_bytes
    ended = False

    async def more() -> bytes:
        nonlocal left, ended
        if ended:
            return b""
        data = await request[BODY].read(BODY_IDLE_S)
        if not chunked:
            return data
        left -= len(data)
        if left < 0:
            raise too_large(row)
        ended = not data
        return chunk(data) if data else LAST_CHUNK

    return more


async def _outgoing(request: web.Request, row: Row, address: Address) -> Outgoing:
    body, more = b"", None
    if request[BODY].length != 0:
        await continue_body(request)
        more = _body(request, row)
        if request[BODY].arrived:  # all of it came with the head: one write sends it on
            while data := await more():
                body += data
            more = None
    return Outgoing(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        fields=_fields(request, row, address),
        body=body,
        more=more,
        first_byte_s=row.first_byte_s,
    )


def _response_to(request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """Return the answer's head for the client, its body yet to be streamed."""
    head = exchange.head
    stream = web.StreamResponse(status=head.status, headers=answer_fields(head.fields))
    if head.length is not None:
        stream.content_length = head.length
    elif request.version < HttpVersion11:
        stream.force_close()  # the connection's end is the body's end
    return stream


async def _pass_on(request: web.Request, row: Row, exchange: Exchange) -> web.StreamResponse:
    """Pass the answer on as it comes."""
    head = exchange.head
    if exchange.complete and exchange.upload_complete:
        headers = answer_fields(head.fields)
        if request.method == hdrs.METH_HEAD and (length := head.value("content-length")) is not None:
            headers.append((hdrs.CONTENT_LENGTH, length))
        return web.Response(status=head.status, headers=headers, body=await exchange.read())
    stream = _response_to(request, exchange)
    if exchange.upload_complete:
        await _stream(request, row, exchange, stream)
        return stream
    # An answer before the upload's end is a refusal: say it at once, then read the rest away so that it arrives.
    await exchange.stop_upload()
    stream.force_close()
    await _stream(request, row, exchange, stream)
    await discard_body(request)
    return stream


@contextmanager
def _cut_at_stop(life: Life, exchange: Exchange) -> Iterator[None]:
    """End a stream of events, which never ends by itself, when the gateway stops."""

    async def cut() -> None:
        await life.stopping.wait()
        exchange.cut()

    task = asyncio.create_task(cut())
    try:
        yield
    finally:
        task.cancel()


async def _stream(request: web.Request, row: Row, exchange: Exchange, stream: web.StreamResponse) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    cut = _cut_at_stop(request.app[LIFE], exchange) if row.events else nullcontext()
    with ReaderWatch(transport) as watch, cut:
        await stream.prepare(request)
        while data := await exchange.read():
            watch.sent += len(data)
            await stream.write(data)
        await stream.write_eof()


def forwarder(row: Row, pool: Pool) -> Handler:
    """Return the handler of a row: admit the request, pass it on, bring the answer back."""

    async def forward(request: web.Request) -> web.StreamResponse:
        address = await admit(request, row)
        with span(row.service, row.method):
            async with Exchange(pool, await _outgoing(request, row, address)) as exchange:
                if row.one_time and (claim := claim_of(request, exchange, pool)) is not None:
                    return await deliver(request, _response_to(request, exchange), exchange, claim)
                return await _pass_on(request, row, exchange)

    return forward
