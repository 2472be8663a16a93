"""The proxy that aiohttp's documentation leads to: one ClientSession, bodies streamed both ways, nothing tuned.

`python aiohttp_proxy.py <port> <upstream>`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web

SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("SESSION", aiohttp.ClientSession)
OWN = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
UPSTREAM = sys.argv[2]


def _passed(headers: Mapping[str, str], *without: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in OWN.union(without)}


async def forward(request: web.Request) -> web.StreamResponse:
    headers = _passed(request.headers, "host")
    body = request.content if request.body_exists else None
    url = UPSTREAM + request.path_qs
    async with request.app[SESSION].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as answer:
        response = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(auto_decompress=False) as opened:
        app[SESSION] = opened
        yield


app = web.Application(client_max_size=0)
app.cleanup_ctx.append(session)
app.router.add_route("*", "/{path:.*}", forward)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
