"""Passing a request on and its answer back, both as streams: never more of a body here than a bounded buffer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from gateway.admission import CLIENTS, admit, too_large
from gateway.headers import answer_fields, request_fields
from gateway.one_time_delivery import claim_of, deliver
from gateway.route_table import PublicRoute
from gateway.stalled_reader import ReaderWatch
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.exchange import Outgoing, Pool, exchange
from gateway.upstream.response_head import Head
from shared.app.middleware import LIFECYCLE, REQUEST_ID, Lifecycle
from shared.app.responses import WholeAnswer
from shared.app.routes import Handler
from shared.auth.access_tokens import GATEWAY_HEADER
from shared.http.body import BODY, continue_body, discard_body
from shared.http.chunked import LAST_CHUNK, chunk
from shared.http.clients import Address
from shared.tracing import span, trace_headers

BODY_IDLE_S = 30.0
LENGTH_EXPECTED = frozenset({"POST", "PUT", "PATCH"})


async def _pieces(request: web.Request, route: PublicRoute) -> AsyncIterator[bytes]:
    """Give the body in pieces as they go on the wire, and watch the route's limit."""
    body, left = request[BODY], route.max_bytes
    while data := await body.read(BODY_IDLE_S):
        left -= len(data)
        if left < 0:
            raise too_large(route)
        yield data if body.length is not None else chunk(data)
    if body.length is None:
        yield LAST_CHUNK


async def _outgoing(request: web.Request, route: PublicRoute, address: Address) -> Outgoing:
    """Return the request for the service: the client's, with the headers that the gateway alone may say."""
    clients, client, incoming = request.app[CLIENTS], str(address), request[BODY]
    lines = request_fields(request.raw_headers, request.headers.getall(hdrs.CONNECTION, ()))
    lines.append(
        f"X-Forwarded-For: {client}\r\nX-Forwarded-Proto: {clients.scheme_of(request)}\r\n"
        f"X-Forwarded-Host: {request.host}\r\nX-Request-Id: {request[REQUEST_ID]}\r\n".encode("latin-1", "ignore")
    )
    for name, value in trace_headers().items():
        lines.append(f"{name}: {value}\r\n".encode("latin-1"))
    if route.signed:
        lines.append(f"{GATEWAY_HEADER}: {clients.token(route.service, client)}\r\n".encode())
    length, body, more = incoming.length, b"", None
    if length is None:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length or request.method in LENGTH_EXPECTED:
        lines.append(b"Content-Length: %d\r\n" % length)
    if length and (whole := incoming.whole()):  # all of it came with the head: one write sends it on
        body = whole
        incoming.drop()
    elif length != 0:
        await continue_body(request)
        more = _pieces(request, route)
    return Outgoing(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        fields=b"".join(lines),
        body=body,
        more=more,
        first_byte_s=route.first_byte_s,
    )


def _response_to(request: web.Request, head: Head) -> web.StreamResponse:
    """Return the answer's head for the client, its body yet to be streamed."""
    stream = web.StreamResponse(status=head.status, headers=answer_fields(head))
    if head.length is not None:
        stream.content_length = head.length
    elif request.version < HttpVersion11:
        stream.force_close()  # the connection's end is the body's end
    return stream


async def _pass_on(request: web.Request, route: PublicRoute, answer: UpstreamConnection) -> web.StreamResponse:
    head = answer.head
    if answer.complete and answer.upload_complete:
        headers = answer_fields(head)
        if request.method == hdrs.METH_HEAD and (length := head.value("content-length")) is not None:
            headers.append((hdrs.CONTENT_LENGTH, length))
        return WholeAnswer(await answer.read(), headers, status=head.status)
    stream = _response_to(request, head)
    if answer.upload_complete:
        await _stream(request, route, answer, stream)
        return stream
    # An answer before the upload's end is a refusal: say it at once, then read the rest away so that it arrives.
    await answer.stop_upload()
    stream.force_close()
    await _stream(request, route, answer, stream)
    await discard_body(request)
    return stream


@contextmanager
def _cut_at_stop(life: Lifecycle, answer: UpstreamConnection) -> Iterator[None]:
    """End a stream of events, which never ends by itself, when the gateway stops."""

    async def cut() -> None:
        await life.stopping.wait()
        answer.fail(ConnectionResetError())

    task = asyncio.create_task(cut())
    try:
        yield
    finally:
        task.cancel()


async def _stream(
    request: web.Request, route: PublicRoute, answer: UpstreamConnection, stream: web.StreamResponse
) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    cut = _cut_at_stop(request.app[LIFECYCLE], answer) if route.events else nullcontext()
    with ReaderWatch(transport) as watch, cut:
        await stream.prepare(request)
        while data := await answer.read():
            watch.sent += len(data)
            await stream.write(data)
        await stream.write_eof()


def forwarder(route: PublicRoute, pool: Pool) -> Handler:
    """Return the handler of a route: admit the request, pass it on, bring the answer back."""

    async def forward(request: web.Request) -> web.StreamResponse:
        address = await admit(request, route)
        with span(route.service, route.method):
            async with exchange(pool, await _outgoing(request, route, address)) as answer:
                if route.one_time and (claim := claim_of(request, answer, pool)) is not None:
                    return await deliver(request, _response_to(request, answer.head), answer, claim)
                return await _pass_on(request, route, answer)

    return forward
