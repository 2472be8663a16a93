"""Serving an app over TCP: hardened connections, several processes on one port, and an orderly stop."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop
from aiohttp import http, web

from shared.app.factory import LIFE, ORIGINS, Life
from shared.app.prefork import run_workers
from shared.http.connection import MAX_HEAD_BYTES, Connection
from shared.http.connection_limit import CROWD, raise_descriptor_limit
from shared.http.read_body import BODY
from shared.log import configure_logging, get_logger
from shared.settings import ServerSettings

DRAIN_S = 15.0
BACKLOG = 1024
MODULE_OF_C_PARSER = re.compile(r"_http_parser$")


def require_c_parser() -> None:
    """End the process where aiohttp fell back to its Python parser, which is slower and laxer."""
    if not MODULE_OF_C_PARSER.search(http.HttpRequestParser.__module__):
        sys.stderr.write("keepsake: aiohttp's C parser is missing: reinstall aiohttp from a binary wheel.\n")
        raise SystemExit(2)


def open_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """Bind `host:port`, or end the process with a sentence; `shared` lets several processes bind it (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        sys.stderr.write(f"keepsake: port {port} on {host} cannot be used: {error.strerror}.\n")
        raise SystemExit(1) from None
    sock.setblocking(False)
    return sock


async def _drain(life: Life) -> None:
    """Refuse new requests and wait until those in flight are answered, or the grace is over."""
    life.stop()
    try:
        async with asyncio.timeout(DRAIN_S):
            await life.idle.wait()
    except TimeoutError:
        get_logger().warning("requests were cut at the end of the grace period", in_flight=life.in_flight)


async def serve(app: web.Application, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve `app` on `sock` until `stop` is set, then drain and close every resource it opened."""
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connections_of(runner), sock=sock, backlog=BACKLOG)
        get_logger().info("listening", port=sock.getsockname()[1])
        await stop.wait()
        await _drain(app[LIFE])
        server.close()
    finally:
        await runner.cleanup()


def connections_of(runner: web.AppRunner) -> Callable[[], Connection]:
    """Return the protocol factory of a runner that is set up."""
    manager: Any = runner.server
    make_request = manager.request_factory

    def request_with_body(message: Any, payload: Any, connection: Connection, *context: Any) -> web.BaseRequest:
        request: web.BaseRequest = make_request(message, payload, connection, *context)
        request[BODY] = connection.next_body()
        return request

    manager.request_factory = request_with_body
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {
        "loop": loop,
        "access_log": None,
        "keepalive_timeout": 60.0,
        "lingering_time": 0.0,  # `shared.app.factory` reads on after a refusal, bounded in bytes too
        "auto_decompress": False,  # an encoded body is refused, never inflated
        "max_headers": 100,
        "max_line_size": MAX_HEAD_BYTES,  # one limit for the head as a whole, and none of its own for a line
        "max_field_size": MAX_HEAD_BYTES,
        "origins": runner.app.get(ORIGINS, frozenset()),
        "crowd": runner.app.get(CROWD),
    }
    return lambda: Connection(manager, **options)


async def _main(name: str, build_app: Callable[[], web.Application], sock: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    app = build_app()
    try:
        await serve(app, sock, stop)
    except Exception:  # noqa: BLE001 - a sentence in the log and a status, whatever kept it from starting
        get_logger().exception("could not start", service=name)
        raise SystemExit(1) from None


def run(
    name: str, settings: ServerSettings, build_app: Callable[[], web.Application], *, fast_loop: bool = True
) -> None:
    """Run one service until SIGTERM or SIGINT; `fast_loop=False` keeps asyncio's own loop, which has sendfile."""
    require_c_parser()
    raise_descriptor_limit()
    configure_logging(name)

    def work() -> None:
        sock = open_socket(settings.host, settings.port, shared=settings.workers > 1)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast_loop else None) as runner:
            runner.run(_main(name, build_app, sock))

    if settings.workers > 1:
        run_workers(work, settings.workers)
    else:
        work()
