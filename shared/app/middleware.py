"""The one middleware: each request gets its id, its answer or its refusal, and is counted; and how the process lives."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

from aiohttp import HttpVersion11, hdrs, web

from shared.app.routes import Handler
from shared.errors import Forbidden, KeepsakeError, Unavailable
from shared.http.body import BODY, discard_body, require_unencoded
from shared.http.connection import CONNECTION
from shared.http.problem import as_keepsake_error, problem_response
from shared.log import current_request_id, get_logger
from shared.metrics import request_metrics

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    hdrs.SERVER: "keepsake",  # and not which Python and which aiohttp
}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
SLOW_S = 5.0
STREAM = "/events"  # a stream of events lasts for as long as somebody watches
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ALLOWED_HEADERS = (
    "Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id", "Range", "If-None-Match", "Last-Event-ID",
    "Cache-Control",  # every polyfill of EventSource sends it
    "If-Range", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "traceparent", "tracestate",
)  # fmt: skip
EXPOSED_HEADERS = ("ETag", "Location", "X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy")
ALWAYS_OPEN = frozenset({"/", "/health", "/ready", "/metrics"})
SETTLES = "/internal/claims/"  # the end of a delivery that was in flight when the stop began

ReadinessCheck = Callable[[], Awaitable[None]]


class Lifecycle:
    """How a process lives: the requests in flight, and whether it is stopping."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.stopping = asyncio.Event()
        self.idle = asyncio.Event()  # set once a process that stops has answered its last request

    def stop(self) -> None:
        """Begin to stop: `/ready` turns 503, new requests are refused, streams that never end should end."""
        self.stopping.set()
        if not self.in_flight:
            self.idle.set()


LIFECYCLE: Final = web.AppKey("LIFECYCLE", Lifecycle)
CHECKS: Final = web.AppKey("CHECKS", MutableMapping[str, ReadinessCheck])
ORIGINS: Final = web.AppKey("ORIGINS", frozenset[str])
REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)


def request_id_of(request: web.BaseRequest) -> str:
    """Return the client's request id where it is well-formed, else a new one."""
    given = request.headers.get("X-Request-Id", "")
    if REQUEST_ID_PATTERN.match(given):
        return given
    # An id only has to be unlike the others; one from the system costs a call that gives up the interpreter's lock.
    return f"{random.getrandbits(128):032x}"


def route_name(request: web.Request) -> str:
    """Return the pattern of the route that takes the request, never its path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _refuse_unfit(request: web.Request, life: Lifecycle) -> None:
    """Refuse new work while stopping, and what no path takes and the gate lets pass: an encoded body (RFC 9110)."""
    if life.stopping.is_set() and request.path not in ALWAYS_OPEN and not request.path.startswith(SETTLES):
        raise Unavailable("The service is restarting. Please try again.", code="service_stopping")
    require_unencoded(request)


def _router_refusal(request: web.Request, error: web.HTTPException) -> KeepsakeError:
    """Translate what aiohttp's router and aiohttp-cors raise; an OPTIONS that is no preflight is a method like any other."""
    if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
        resource = request.match_info.route.resource
        if isinstance(resource, web.Resource):
            error = web.HTTPMethodNotAllowed(hdrs.METH_OPTIONS, {route.method for route in resource})
    if isinstance(error, web.HTTPForbidden) and _may_call(request.headers.get(hdrs.ORIGIN), request.app[ORIGINS]):
        return Forbidden(_header_refusal(request), "header_not_allowed")
    return as_keepsake_error(error)


def _may_call(origin: str | None, origins: frozenset[str]) -> bool:
    return origin is not None and (origin in origins or "*" in origins)


def _header_refusal(request: web.Request) -> str:
    """Name the headers of a preflight that are not allowed, where they are headers' names at all (RFC 9110)."""
    asked = ",".join(request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, [])).split(",")
    allowed = {name.lower() for name in ALLOWED_HEADERS}
    refused = [name for name in dict.fromkeys(map(str.strip, asked)) if name.lower() not in allowed]
    names = ", ".join(name for name in refused if HEADER_NAME.fullmatch(name))
    what = f"The request header{'s' * (', ' in names)} {names}" if names else "One of the request's headers"
    return f"{what} may not be sent from another origin."


async def _refuse(request: web.Request, error: KeepsakeError) -> web.StreamResponse:
    """Answer `error`; where the body is still coming, read on for a while so that the client sees the answer."""
    if request.writer.output_size > 0:
        # The answer has begun: a second one inside it would be read as its bytes. Cut instead.
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError
    response = problem_response(error, request[REQUEST_ID])
    if not request[BODY].complete:
        response.force_close()
        await _send(request, response)
        await discard_body(request)
    else:
        await _send(request, response)
    return response


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each request its id, turn every error into a problem, count it, and log what failed or was slow.

    One middleware does all of it: an empty one costs 3 % of a small request.
    """
    started = time.perf_counter()
    life, connection = request.app[LIFECYCLE], request[CONNECTION]
    request_id = request[REQUEST_ID] = request_id_of(request)
    current_request_id.set(request_id)
    route = route_name(request)
    response: web.StreamResponse | None = None
    life.in_flight += 1
    try:
        if connection.unanswered > 1:
            await asyncio.sleep(0)  # let others go first: all that one client queued would else be answered in one go
        _refuse_unfit(request, life)
        response = await handler(request)
        await _send(request, response)
    except web.HTTPException as error:
        response = await _refuse(request, _router_refusal(request, error))
    except KeepsakeError as error:
        if error.status >= 500:
            get_logger().error("request_refused", route=route, code=error.code, exc_info=error)
        response = await _refuse(request, error)
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 - the one place where what nobody expected becomes a 500
        get_logger().exception("request_failed", method=request.method, route=route)
        response = await _refuse(request, KeepsakeError())
    finally:
        status = 499 if response is None else response.status
        seconds = time.perf_counter() - started
        answered, duration = request_metrics(
            request.method if request.method in KNOWN_METHODS else "other", route, status
        )
        answered.inc()
        duration.observe(seconds)
        if seconds > SLOW_S and not route.endswith(STREAM):
            get_logger().info("request_slow", route=route, status=status, seconds=round(seconds, 3))
        life.in_flight -= 1
        if life.stopping.is_set() and not life.in_flight:
            life.idle.set()
        connection.request_ends()
    return response


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    """Send the answer here, so that it is timed to its end, and that a stop waits for files on their way too."""
    if not response.prepared:
        if _is_last(request):
            response.force_close()
        await response.prepare(request)
        await response.write_eof()


def _is_last(request: web.Request) -> bool:
    connection = request[CONNECTION]
    return (connection.last and connection.unanswered <= 1) or request.app[LIFECYCLE].stopping.is_set()


def is_plain(request: web.Request) -> bool:
    """Tell whether its answer is as most: in HTTP/1.1, on a connection that stays open, for no other origin."""
    return (
        request.version == HttpVersion11
        and request.keep_alive
        and hdrs.ORIGIN not in request.headers
        and not _is_last(request)
    )


async def on_response_prepare(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Complete the headers of an answer that aiohttp sends: its signal of the same name."""
    set_headers(request, response.headers)


def set_headers(request: web.BaseRequest, headers: MutableMapping[str, str]) -> None:
    """Add what every answer carries, and the CORS headers of all answers but preflights'; the answer counts as begun."""
    connection = request[CONNECTION]
    connection.answering = True
    headers["X-Request-Id"] = request.get(REQUEST_ID) or request_id_of(request)
    headers.update(COMMON_HEADERS)
    vary = headers.get(hdrs.VARY)
    if vary is None:
        headers[hdrs.VARY] = "Origin"
    elif "origin" not in vary.lower():
        headers[hdrs.VARY] = f"{vary}, Origin"
    origin = request.headers.get(hdrs.ORIGIN)
    if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in headers:
        return
    if origin is not None and _may_call(origin, connection.origins):
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(EXPOSED_HEADERS)
