"""Serving an app over TCP: hardened connections, several processes on one port, and an orderly stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import uvloop
from aiohttp import http, web

from shared.app.middleware import LIFECYCLE, ORIGINS, Lifecycle
from shared.app.prefork import run_workers
from shared.app.traced_requests import request_tracing
from shared.errors import KeepsakeError, UnusableDatabase
from shared.freed_memory import keep_freed_memory
from shared.http.clients import CONNECTION_LIMITER, raise_descriptor_limit
from shared.http.connection import MAX_HEAD_BYTES, Connection, request_with_body
from shared.log import configure_logging, get_logger
from shared.settings import ServerSettings, refuse_start

DRAIN_S = 15.0
BACKLOG = 1024
NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
MODULE_OF_C_PARSER = re.compile(r"_http_parser$")

SettingsT = TypeVar("SettingsT", bound=ServerSettings)


def require_c_parser() -> None:
    """End the process where aiohttp fell back to its Python parser, which is slower and laxer."""
    if not MODULE_OF_C_PARSER.search(http.HttpRequestParser.__module__):
        sys.stderr.write("keepsake: aiohttp's C parser is missing: reinstall aiohttp from a binary wheel.\n")
        raise SystemExit(2)


def open_sockets(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Bind `host:port`, or end the process with a sentence; `shared` lets several processes bind it (SO_REUSEPORT).

    `localhost` is both loopbacks: a browser or Node may take either. A system without IPv6 has one.
    """
    try:
        return bind(host, port, shared=shared)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            refuse_start([f"HOST: {error.filename} is no address of this machine: {error.strerror}."])
        sys.stderr.write(f"keepsake: port {port} on {error.filename} cannot be used: {error.strerror}.\n")
        raise SystemExit(1) from None


def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Bind as `open_sockets` does; raises OSError with the address as its file name."""
    opened: list[socket.socket] = []
    for address in ("127.0.0.1", "::1") if host == "localhost" else (host,):
        try:
            opened.append(_bound(address, port, shared=shared))
        except OSError as error:
            if opened and error.errno in NO_IPV6:
                continue
            for sock in opened:
                sock.close()
            error.filename = address
            raise
    return opened


def _bound(address: str, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


async def _drain(life: Lifecycle) -> None:
    """Refuse new requests and wait until those in flight are answered, or the grace is over."""
    life.stop()
    try:
        async with asyncio.timeout(DRAIN_S):
            await life.idle.wait()
    except TimeoutError:
        get_logger().warning("requests_cut_at_stop", in_flight=life.in_flight)


async def serve(app: web.Application, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Serve `app` on the sockets until `stop` is set, then drain and close every resource it opened."""
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        loop = asyncio.get_running_loop()
        connections = connections_of(runner)
        gc.collect()
        gc.freeze()  # what is there now stays: to look through it again and again took 7 % of a small answer's time
        servers = [await loop.create_server(connections, sock=sock, backlog=BACKLOG) for sock in sockets]
        get_logger().info("listening", port=sockets[0].getsockname()[1])
        await stop.wait()
        await _drain(app[LIFECYCLE])
        for server in servers:
            server.close()
    finally:
        await runner.cleanup()


def connections_of(runner: web.AppRunner) -> Callable[[], Connection]:
    manager: Any = runner.server
    manager.request_factory = partial(request_with_body, manager.request_factory)
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {
        "loop": loop,
        "access_log": None,
        "keepalive_timeout": 60.0,
        "lingering_time": 0.0,  # the middleware reads on after a refusal, bounded in bytes too
        "auto_decompress": False,  # an encoded body is refused, never inflated
        "max_headers": 100,
        "max_line_size": MAX_HEAD_BYTES,  # one limit for the head as a whole, and none of its own for a line
        "max_field_size": MAX_HEAD_BYTES,
        "origins": runner.app.get(ORIGINS, frozenset()),
        "limiter": runner.app.get(CONNECTION_LIMITER),
    }
    return partial(Connection, manager, **options)


async def _main(name: str, build_app: Callable[[], web.Application], sockets: Sequence[socket.socket]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    app = build_app()
    try:
        await serve(app, sockets, stop)
    except UnusableDatabase as error:
        refuse_start([error.detail])
    except KeepsakeError as error:  # a disk that is full, a dependency that is down
        get_logger().error("start_failed", detail=error.detail, cause=str(error.__cause__ or ""))
        raise SystemExit(1) from None
    except Exception:  # noqa: BLE001 - a sentence in the log and a status, whatever kept it from starting
        get_logger().exception("start_failed", service=name)
        raise SystemExit(1) from None


def run(name: str, settings: SettingsT, build_app: Callable[[SettingsT], web.Application]) -> None:
    """Run one service until SIGTERM or SIGINT."""
    require_c_parser()
    raise_descriptor_limit()
    keep_freed_memory(kept_bytes=8 * 2**20, mapped_from_bytes=4 * 2**20)
    configure_logging(name)

    def work() -> None:
        sockets = open_sockets(settings.host, settings.port, shared=settings.workers > 1)
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        with request_tracing(name, settings) as around, runner:

            def build() -> web.Application:
                app = build_app(settings)
                app.middlewares[:0] = around
                return app

            runner.run(_main(name, build, sockets))

    if settings.workers > 1:
        run_workers(work, settings.workers)
    else:
        work()
