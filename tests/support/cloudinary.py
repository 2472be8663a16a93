"""A strict Cloudinary on a port of its own: it checks every call as the real one does, and remembers what it keeps.

What it takes and answers is written in https://cloudinary.com/documentation/image_upload_api_reference, and in the requests
that the official SDK makes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

CLOUD, KEY, SECRET = "demo", "123456789012345", "a-Secret_of-27-characters"
VALID_S = 3600
UNSIGNED = {"file", "api_key", "signature", "cloud_name", "resource_type"}
UPLOAD = {"public_id", "overwrite", "timestamp", "invalidate", "type", "tags", "context"}
DESTROY = {"public_id", "timestamp", "invalidate", "type"}
HASHES = {40: hashlib.sha1, 64: hashlib.sha256}


class Refused(Exception):
    """What the real one refuses, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Cloudinary:
    """An account. `trouble` is what happens instead of an answer; `after_work`: only once the call has been carried out."""

    url: str = ""
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    trouble: str = ""
    after_work: bool = False
    page: int = 500
    uploads: int = 0

    @property
    def account(self) -> str:
        """What `CLOUDINARY_URL` is set to."""
        return f"cloudinary://{KEY}:{SECRET}@{CLOUD}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one call."""
        path = request.match_info["path"]
        self.calls.append(f"{request.method} {path}")
        if self.trouble not in {"", "late"} and not self.after_work:
            return await self._trouble(request)
        api = self._upload_api if request.method == "POST" else self._admin_api
        try:
            made = await api(request, path)
        except Refused as refused:
            return web.json_response({"error": {"message": str(refused)}}, status=refused.status)
        return await self._trouble(request) if self.trouble else web.json_response(made)

    async def _trouble(self, request: web.Request) -> web.StreamResponse:
        if self.trouble == "silent":
            await asyncio.sleep(3600)
        if self.trouble == "cut":
            await request.content.readany()
            assert request.transport is not None
            request.transport.abort()
        if self.trouble == "nonsense":
            return web.Response(text="<html>")
        if self.trouble == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if self.trouble == "slow":  # the answer begins, and does not end
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(3600):
                await response.write(b" ")
                await asyncio.sleep(1)
            return response
        return web.json_response({"error": {"message": "No."}}, status=int(self.trouble))

    async def _upload_api(self, request: web.Request, path: str) -> dict[str, Any]:
        known = {"image/upload": (UPLOAD, self._upload), "image/destroy": (DESTROY, self._destroy)}
        if path not in known:
            raise Refused(404, f"unknown action {path}")
        names, action = known[path]
        form, fields = await request.post(), {}
        for name, value in form.items():
            if name in fields:
                raise Refused(400, f"{name} twice")
            fields[name] = value
        if unknown := fields.keys() - names - UNSIGNED:
            raise Refused(400, f"Unsupported parameter: {min(unknown)}")
        self._check_signature({name: str(value) for name, value in fields.items() if name != "file"})
        if self.trouble == "late":  # this one is carried out when nobody waits any more
            self.trouble = ""
            asyncio.get_running_loop().call_later(2, action, fields)
            await asyncio.sleep(3600)
        return action(fields)

    @staticmethod
    def _check_signature(fields: dict[str, str]) -> None:
        if fields.get("api_key") != KEY:
            raise Refused(401, "Unknown API key")
        stamp = fields.get("timestamp", "")
        if not stamp.isdigit():
            raise Refused(400, "Missing required parameter - timestamp")
        if not -60 < time.time() - int(stamp) < VALID_S:
            raise Refused(400, "Stale request - reported time is more than 1 hour ago")
        given, signed = fields.get("signature", ""), {n: v for n, v in fields.items() if n not in UNSIGNED}
        digest = HASHES.get(len(given))
        first = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
        second = "&".join(f"{name}={signed[name].replace('&', '%26')}" for name in sorted(signed))
        if digest is None or not any(
            hmac.compare_digest(digest(f"{said}{SECRET}".encode()).hexdigest(), given) for said in (first, second)
        ):
            raise Refused(401, f"Invalid Signature {given}. String to sign - '{second}'.")

    def _upload(self, fields: dict[str, Any]) -> dict[str, Any]:
        public_id, file = fields.get("public_id", ""), fields.get("file")
        if not public_id or public_id != public_id.strip("/ ") or set(public_id) & set("?&#\\%<>+"):
            raise Refused(400, "public_id is invalid")
        if not isinstance(file, web.FileField):
            raise Refused(400, "Missing required parameter - file")
        with file.file:
            data = file.file.read()
        try:
            with Image.open(io.BytesIO(data)) as image:
                kind, width, height = str(image.format).lower(), *image.size
        except OSError:
            raise Refused(400, "Invalid image file") from None
        if public_id in self.assets and fields.get("overwrite") in {"false", "0"}:
            return {**self.assets[public_id], "existing": True}
        version = int(time.time())
        self.uploads += 1
        extension = {"jpeg": "jpg"}.get(kind, kind)
        self.content[public_id] = data
        self.assets[public_id] = {
            "public_id": public_id,
            "version": version,
            "width": width,
            "height": height,
            "format": extension,
            "resource_type": "image",
            "type": "upload",
            "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "bytes": len(data),
            "etag": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "url": f"http://res.cloudinary.com/{CLOUD}/image/upload/v{version}/{public_id}.{extension}",
            "secure_url": f"https://res.cloudinary.com/{CLOUD}/image/upload/v{version}/{public_id}.{extension}",
        }
        return self.assets[public_id]

    def _destroy(self, fields: dict[str, Any]) -> dict[str, Any]:
        if not fields.get("public_id"):
            raise Refused(400, "Missing required parameter - public_id")
        self.content.pop(fields["public_id"], None)
        return {"result": "ok" if self.assets.pop(fields["public_id"], None) else "not found"}

    async def _admin_api(self, request: web.Request, path: str) -> dict[str, Any]:
        expected = "Basic " + b64encode(f"{KEY}:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            raise Refused(401, "Invalid credentials")
        query = dict(parse_qsl(request.rel_url.raw_query_string))
        if path == "ping":
            return {"status": "ok"}
        if path == "resources/image/upload":
            return self._list(query)
        public_id = path.removeprefix("resources/image/upload/")
        if public_id == path or public_id not in self.assets:
            raise Refused(404, f"Resource not found - {public_id}")
        return self.assets[public_id]

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        if unknown := query.keys() - {"prefix", "max_results", "next_cursor"}:
            raise Refused(400, f"Unsupported parameter: {min(unknown)}")
        limit = int(query.get("max_results", "10"))
        if not 1 <= limit <= 500:
            raise Refused(400, "max_results must be between 1 and 500")
        # By the time of upload, newest first, and not by name.
        found = [one for name, one in reversed(self.assets.items()) if name.startswith(query.get("prefix", ""))]
        begin, limit = int(query.get("next_cursor", "0")), min(limit, self.page)
        more = {"next_cursor": str(begin + limit)} if len(found) > begin + limit else {}
        return {"resources": found[begin : begin + limit], **more}


@asynccontextmanager
async def running_cloudinary() -> AsyncIterator[Cloudinary]:
    """Run an account of its own."""
    double = Cloudinary()
    app = web.Application(client_max_size=20 * 2**20)
    app.router.add_route("*", f"/v1_1/{CLOUD}/{{path:.+}}", double.answer)
    async with TestServer(app, skip_url_asserts=True) as server:
        double.url = f"http://127.0.0.1:{server.port}"
        yield double
