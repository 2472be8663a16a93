"""Forms as browsers write them, and a server that answers with what `read_form` made of one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from shared.errors import KeepsakeError
from shared.http.body import ClientGone
from shared.uploads import FileField, FileSink, Form, MemorySink, SpoolSink, read_form
from tests.support.serving import serving

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
IMAGE = FileField("image", max_bytes=100_000)


def part(disposition: str, content: bytes = b"", *headers: str) -> bytes:
    """Return one part; `disposition` is what follows `form-data; `."""
    lines = (f"Content-Disposition: form-data; {disposition}", *headers)
    return f"--{BOUNDARY}\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def text(name: str, value: str) -> bytes:
    return part(f'name="{name}"', value.encode())


def file(content: bytes, name: str = "image", filename: str = "cat.jpg", *headers: str) -> bytes:
    return part(f'name="{name}"; filename="{filename}"', content, "Content-Type: image/jpeg", *headers)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass
class Answer:
    status: int
    body: Any


@dataclass
class FormServer:
    """A listening server; `outcomes` has the name of what each request ended with."""

    port: int
    outcomes: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def send(self, body: bytes, content_type: str | None = CONTENT_TYPE, *headers: str) -> Answer:
        """Post `body` and return the answer."""
        typed = () if content_type is None else (f"Content-Type: {content_type}",)
        async with self.connect() as (reader, writer):
            writer.write(head(f"Content-Length: {len(body)}", *typed, *headers) + body)
            return await read_answer(reader)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()


def head(*headers: str) -> bytes:
    return "\r\n".join(("POST / HTTP/1.1", "Host: shop", *headers, "", "")).encode()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    raw = await reader.readuntil(b"\r\n\r\n")
    length = int(raw.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return Answer(int(raw.split()[1]), json.loads(await reader.readexactly(length)))


def describe(form: Form[Any]) -> dict[str, Any]:
    """Return all of a form, contents as hex."""
    files = [
        {
            "filename": item.filename,
            "declared_type": item.declared_type,
            "size": item.size,
            "sha256": item.sha256,
            "content": (item.content.read_bytes() if isinstance(item.content, Path) else item.content).hex(),
        }
        for item in form.files
    ]
    return {"fields": dict(form.fields), "files": files}


@asynccontextmanager
async def form_server(
    file_field: FileField = IMAGE,
    *,
    spool: Path | None = None,
    digest: bool = False,
    idle_s: float = 30.0,
    cancelling: bool = False,
    during: Callable[[Form[Any]], Any] = describe,
) -> AsyncIterator[FormServer]:
    """Serve one path that reads a form and answers with `during(form)` as JSON, or with the error's status and code."""

    def open_sink() -> FileSink[Any]:
        return MemorySink() if spool is None else SpoolSink(spool)

    async def handle(request: web.Request) -> web.StreamResponse:
        outcome = "failed"
        try:
            async with read_form(request, file_field, open_sink=open_sink, digest=digest, idle_s=idle_s) as form:
                result = during(form)
                if asyncio.iscoroutine(result):
                    result = await result
            outcome = "read"
            return web.json_response(result)
        except KeepsakeError as error:
            outcome = error.code
            body = {"error": error.detail, "code": error.code, "fields": [item.field for item in error.errors]}
            return web.json_response(body, status=error.status)
        except ClientGone:
            outcome = "gone"
            return web.Response()
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            server.outcomes.put_nowait(outcome)

    app = web.Application()
    app.router.add_post("/", handle)
    async with serving(app, cancelling=cancelling) as url:
        server = FormServer(int(url.rpartition(":")[2]))
        yield server


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
