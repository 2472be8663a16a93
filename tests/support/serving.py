"""`serve_app`: an app on a free port of 127.0.0.1, behind the same hardened connections as in production."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog
from aiohttp import web, web_app

from shared.app.server import BACKLOG, connections_of

# As in production: structlog's own default draws each traceback with its variables, which takes half a second.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])

ServeApp = Callable[[web.Application], Awaitable[str]]


@asynccontextmanager
async def serving(
    app: web.Application, sock: socket.socket | None = None, *, cancelling: bool = False
) -> AsyncIterator[str]:
    """Serve `app` on `sock`, or on a free port, and give its address without a trailing slash; end it at the exit.

    `cancelling` cancels a handler whose client leaves, which none of our processes does.
    """
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, shutdown_timeout=1.0, handler_cancellation=cancelling
    )
    await runner.setup()
    try:
        if sock is None:
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setblocking(False)
        server = await asyncio.get_running_loop().create_server(connections_of(runner), sock=sock, backlog=BACKLOG)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.close()
    finally:
        await runner.cleanup()
        await _connections_end()
        web_app._cached_build_middleware.cache_clear()  # else it keeps a thousand apps, and gigabytes


async def _connections_end() -> None:
    """Wait for what SQLAlchemy closes by itself: the connection of a call that was cancelled, in a task of its own."""
    closing = [task for task in asyncio.all_tasks() if "_terminate_graceful_close" in repr(task.get_coro())]
    if closing:
        await asyncio.wait(closing, timeout=5)


@pytest.fixture
async def serve_app() -> AsyncIterator[ServeApp]:
    """Give a function that serves an app until the test ends: `url = await serve_app(app)`."""
    async with AsyncExitStack() as stack:

        async def serve(app: web.Application) -> str:
            return await stack.enter_async_context(serving(app))

        yield serve
