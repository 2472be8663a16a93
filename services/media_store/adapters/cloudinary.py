"""Cloudinary as a place for images, over its REST interface: https://cloudinary.com/documentation/image_upload_api_reference."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from services.media_store.model.cloudinary import Account
from shared.concurrency.background_tasks import BackgroundTasks
from shared.errors import DependencyDown
from shared.log import get_logger
from shared.objects import ObjectExists
from shared.tracing import traced

NAME = "cloudinary"
BUDGET_S = 8.0  # of the ten seconds in which `/store-image` answers
CHECK_S = 2.5
CONNECT_S = 2.0
LATE_S = (15.0, 60.0)  # after an upload that got no answer
PAGE = 500
MAX_ANSWER_BYTES = 8 * 2**20
PROBE = "keepsake-readiness"
ADDRESS = re.compile(r"https?://[!-~]+\Z")


class Cloudinary:
    """Images by key; an image's public id there is its key without the extension.

    Whatever is no answer in time, or a refusal, is DependencyDown("cloudinary"); then an upload has happened or not: who
    must leave nothing behind deletes the key.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, account: Account, spool: Path) -> None:
        self.spool = spool
        self._session = session
        self._account = account
        self._base = f"{base_url}/v1_1/{account.cloud}"
        self._addresses: dict[str, str] = {}
        self._late = BackgroundTasks()

    @traced("cloudinary", "put file")
    async def put_file(
        self,
        key: str,
        path: Path,
        *,
        content_type: str,
        sha256: str | None = None,  # noqa: ARG002 - the other stores compare it; Cloudinary takes none
        if_absent: bool = False,
    ) -> None:
        """Upload the file at `path`, which is gone afterwards; its address waits in `take_address`.

        Raises ObjectExists where the key is taken and `if_absent` is set.
        """
        public_id = public_id_of(key)
        form = aiohttp.FormData(self._signed({"public_id": public_id, "overwrite": str(not if_absent).lower()}))
        with await asyncio.to_thread(path.open, "rb") as file:
            form.add_field("file", file, filename=path.name, content_type=content_type)
            try:
                answer = await self._ask("POST", "image/upload", data=form)
            except BaseException:
                self._destroy_late(public_id)
                raise
        if if_absent and answer.get("existing"):
            raise ObjectExists
        address = answer.get("secure_url")
        if answer.get("public_id") != public_id or not isinstance(address, str) or not ADDRESS.match(address):
            get_logger().warning("cloudinary_answer_unreadable")
            raise DependencyDown(NAME)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        self._addresses[key] = address

    def placing(self, keys: Mapping[str, str]) -> None:
        """Leave it to `put_file`."""

    def take_address(self, key: str) -> str:
        """Return, once, the `secure_url` of an image that was just put."""
        return self._addresses.pop(key)

    @traced("cloudinary", "delete")
    async def delete(self, key: str) -> None:
        """Destroy the image and what caches keep of it; it is no error that there was none."""
        self._addresses.pop(key, None)
        await self._destroy(public_id_of(key))

    @traced("cloudinary", "stat")
    async def stat(self, key: str) -> bool:
        answer = await self._ask("GET", f"resources/image/upload/{quote(public_id_of(key), safe='/')}", missing=404)
        return bool(answer)

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        """Iterate over the public ids that begin with `prefix`, and when each was uploaded, page by page."""
        query = {"prefix": prefix, "max_results": str(PAGE)}
        while True:
            page = await self._ask("GET", "resources/image/upload", params=query)
            try:
                found = [(one["public_id"], datetime.fromisoformat(one["created_at"])) for one in page["resources"]]
            except (LookupError, TypeError, ValueError) as error:
                raise DependencyDown(NAME) from error
            for one in found:
                yield one
            if not page.get("next_cursor"):
                return
            query["next_cursor"] = page["next_cursor"]

    async def check(self) -> None:
        """Ask whether the account answers and takes our signature. Raises DependencyDown.

        By destroying what is not there: the Admin API's `ping` counts towards a quota of as little as 500 calls an hour,
        which the probes of an orchestrator alone would use up.
        """
        try:
            async with asyncio.timeout(CHECK_S):
                await self._destroy(PROBE)
        except TimeoutError as error:
            raise DependencyDown(NAME) from error

    def _destroy_late(self, public_id: str) -> None:
        """Destroy in the background what may arrive there after whoever uploaded it gave up and had it deleted."""

        async def destroy() -> None:
            for pause_s in LATE_S:
                await asyncio.sleep(pause_s)
                with suppress(DependencyDown):  # `reconcile` finds it
                    await self._destroy(public_id)

        self._late.start(destroy())

    async def close(self) -> None:
        """Leave what may still arrive to `reconcile`."""
        await self._late.cancel()

    async def _destroy(self, public_id: str) -> None:
        fields = self._signed({"public_id": public_id, "invalidate": "true"})
        answer = await self._ask("POST", "image/destroy", data=fields)
        if answer.get("result") not in {"ok", "not found"}:
            raise DependencyDown(NAME)

    def _signed(self, fields: dict[str, str]) -> dict[str, str]:
        """Add what proves that we may: the digest of the fields, sorted, each `&` in a value escaped, and the secret."""
        stamped = fields | {"timestamp": str(int(time.time()))}
        said = "&".join(sorted(f"{name}={value}".replace("&", "%26") for name, value in stamped.items()))
        digest = hashlib.new(self._account.algorithm, f"{said}{self._account.secret}".encode()).hexdigest()
        return stamped | {"api_key": self._account.key, "signature": digest}

    async def _ask(self, method: str, path: str, *, missing: int | None = None, **options: Any) -> Mapping[str, Any]:
        """Return the answer's JSON; an empty one for the status `missing`. Admin calls, GET alone, take a password."""
        if method == "GET":
            options["headers"] = {"Authorization": aiohttp.encode_basic_auth(self._account.key, self._account.secret)}
        try:
            async with (
                asyncio.timeout(BUDGET_S),
                self._session.request(method, f"{self._base}/{path}", allow_redirects=False, **options) as answer,
            ):
                if answer.status == missing:
                    return {}
                body = await _read(answer)
                if answer.status != 200:
                    get_logger().warning(
                        "cloudinary_refused", status=answer.status, said=body[:200].decode("utf-8", "replace")
                    )
                    raise DependencyDown(NAME)
                found = json.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DependencyDown(NAME) from error
        if not isinstance(found, dict):
            raise DependencyDown(NAME)
        return found


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise DependencyDown(NAME)
    return bytes(body)


def public_id_of(key: str) -> str:
    """Return the key without its extension."""
    return key.rpartition(".")[0]


@asynccontextmanager
async def open_cloudinary(base_url: str, account: Account, spool: Path) -> AsyncIterator[Cloudinary]:
    """Open a connection pool of its own; a Cloudinary that is down does not stop the start."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        opened = Cloudinary(session, base_url, account, spool)
        try:
            yield opened
        finally:
            await opened.close()
