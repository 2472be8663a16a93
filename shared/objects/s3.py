"""Objects in a bucket: S3, or R2 through its S3 interface."""

from __future__ import annotations

import asyncio
import base64
import io
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import ClientError as HttpClientError
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import DependencyDown, StorageFull
from shared.objects.object_keys import ObjectNotFound, content_type_of, is_key, require_key, require_prefix
from shared.objects.protocol import ObjectExists, ObjectFacts, ObjectReader
from shared.settings import Bucket
from shared.tracing import traced
from shared.uploads.sinks import clear_stale_spool

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.5
# Over both, for what they do not count: looking up the name, and a server that takes no more of the body.
STALL_TIMEOUT_S = 2.8
CHUNK_BYTES = 256 * 1024
CONNECTIONS = 512  # a slow browser holds one for as long as it reads
NOT_FOUND = {"NoSuchKey", "NotFound", "404"}
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
FULL = {"XMinioStorageFull", "QuotaExceeded"}


@asynccontextmanager
async def _answering() -> AsyncIterator[Callable[[], object]]:
    """Translate what keeps the bucket from answering; the function given starts the time anew, from any thread."""
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(STALL_TIMEOUT_S)
    waiting = True

    def extend() -> None:
        if waiting:
            limit.reschedule(loop.time() + STALL_TIMEOUT_S)

    try:
        async with limit:
            yield lambda: loop.call_soon_threadsafe(extend)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in NOT_FOUND:
            raise ObjectNotFound from error
        if code in TAKEN:
            raise ObjectExists from error
        raise (StorageFull() if code in FULL else DependencyDown("storage")) from error
    except (BotoCoreError, HttpClientError, OSError, TimeoutError) as error:
        raise DependencyDown("storage") from error
    finally:
        waiting = False


class _WatchedFile(io.BufferedReader):
    """A file that says when it is read: aiohttp does that in a thread, as fast as the peer takes the bytes."""

    def __init__(self, path: Path, moved: Callable[[], object]) -> None:
        super().__init__(io.FileIO(path))
        self._moved = moved

    def read(self, size: int | None = -1, /) -> bytes:
        self._moved()
        return super().read(size)


def _facts(key: str, answer: dict[str, Any], size: int) -> ObjectFacts:
    return ObjectFacts(
        key,
        size,
        answer.get("ContentType") or content_type_of(key),
        answer["ETag"].strip('"'),
        answer["LastModified"].astimezone(UTC).replace(microsecond=0),
    )


class S3ObjectStore:
    """A ObjectStore in a bucket."""

    def __init__(self, client: Any, session: AioSession, bucket: Bucket, spool: Path) -> None:
        self._client = client
        self._session = session
        self._bucket = bucket
        self._at = {"Bucket": bucket.name}
        self.spool = spool

    @traced("s3", "put file")
    async def put_file(
        self, key: str, path: Path, *, content_type: str, sha256: str | None = None, if_absent: bool = False
    ) -> None:
        more: dict[str, str] = {"IfNoneMatch": "*"} if if_absent else {}
        # R2 does not know this header of S3's.
        if sha256 is not None and self._bucket.region != "auto":
            more["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        async with _answering() as moved:
            with _WatchedFile(path, moved) as body:
                await self._client.put_object(
                    **self._at, Key=require_key(key), Body=body, ContentType=content_type, **more
                )
        await asyncio.to_thread(path.unlink, missing_ok=True)

    def placing(self, keys: Mapping[str, str]) -> None:
        """Leave it to `put_file`."""

    @traced("s3", "put bytes")
    async def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        async with _answering():
            await self._client.put_object(**self._at, Key=require_key(key), Body=data, ContentType=content_type)

    @traced("s3", "copy")
    async def copy(self, source: str, target: str) -> None:
        """Have the bucket copy the object, its content type with it."""
        origin = {**self._at, "Key": require_key(source)}
        async with _answering():
            await self._client.copy_object(**self._at, Key=require_key(target), CopySource=origin)

    @traced("s3", "stat")
    async def stat(self, key: str) -> ObjectFacts | None:
        require_key(key)
        try:
            async with _answering():
                answer = await self._client.head_object(**self._at, Key=key)
        except ObjectNotFound:
            return None
        return _facts(key, answer, answer["ContentLength"])

    @asynccontextmanager
    async def open(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[ObjectReader]:
        """Begin to read the object, or the part asked for, in one request."""
        require_key(key)
        answer = None if length == 0 else await self._get(key, start, length)
        if answer is None:
            facts = await self.stat(key)
            if facts is None:
                raise ObjectNotFound
            async with aclosing(_chunks(None)) as chunks:
                yield ObjectReader(facts, chunks)
            return
        body, (_, _, total) = answer["Body"], answer.get("ContentRange", "").partition("/")
        try:
            async with aclosing(_chunks(body)) as chunks:
                yield ObjectReader(_facts(key, answer, int(total or answer["ContentLength"])), chunks)
        finally:
            # Ends the connection, unless the last byte was read: then it is already back in the pool.
            body.close()

    def local_path(self, key: str) -> None:
        """Return None: nothing here is a file."""
        require_key(key)

    def open_local(self, key: str) -> None:
        """Return None, as `local_path` does."""
        require_key(key)

    @traced("s3", "delete")
    async def delete(self, key: str) -> None:
        """Delete the object; a bucket answers the same where there was none."""
        require_key(key)
        with suppress(ObjectNotFound):
            async with _answering():
                await self._client.delete_object(**self._at, Key=key)

    @traced("s3", "delete prefix")
    async def delete_prefix(self, prefix: str) -> None:
        async for facts in self.list(require_prefix(prefix)):
            await self.delete(facts.key)

    async def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> AsyncIterator[ObjectFacts]:
        """Ask page by page; keys that we would not use belong to somebody else and are left out."""
        if prefix:
            require_prefix(prefix)
        left = math.inf if limit is None else limit
        while left > 0:
            async with _answering():
                page = await self._client.list_objects_v2(**self._at, Prefix=prefix, StartAfter=after)
            for found in page.get("Contents", ()):
                after = found["Key"]
                if is_key(after) and left > 0:
                    left -= 1
                    yield _facts(after, found, found["Size"])
            if not page.get("IsTruncated"):
                return

    async def check(self) -> None:
        """Ask for one key of the bucket; HeadBucket is left to botocore's search for a region."""
        try:
            async with _answering():
                await self._client.list_objects_v2(**self._at, MaxKeys=1)
        except ObjectNotFound as error:
            raise DependencyDown("storage") from error

    async def clear_stale(self, older_than_s: float = 60) -> int:
        """Clear the spool: a bucket keeps nothing of a broken upload."""
        return await asyncio.to_thread(clear_stale_spool, self.spool, older_than_s)

    async def signing_bucket(self) -> Bucket:
        """Return the bucket with the keys in use now, for presigned uploads: the settings' own, or what the SDK found."""
        found = await self._session.get_credentials()
        if found is None:
            raise DependencyDown("storage")
        async with _answering():
            keys = await found.get_frozen_credentials()
        return replace(
            self._bucket, access_key=keys.access_key, secret_key=keys.secret_key, session_token=keys.token or ""
        )

    @traced("s3", "get")
    async def _get(self, key: str, start: int, length: int | None) -> dict[str, Any] | None:
        """Send the request; None where the range begins after the last byte."""
        last = "" if length is None else start + length - 1
        part = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        async with _answering():
            try:
                answer: dict[str, Any] = await self._client.get_object(**self._at, Key=key, **part)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "InvalidRange":
                    return None
                raise
        return answer


async def _chunks(body: Any) -> AsyncGenerator[bytes, None]:
    while body is not None:
        async with _answering():
            chunk: bytes = await body.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


@asynccontextmanager
async def open_s3_store(bucket: Bucket, spool: Path) -> AsyncIterator[S3ObjectStore]:
    """Open a client for the bucket; nothing is asked yet."""
    session = AioSession()
    if bucket.access_key:
        session.set_credentials(bucket.access_key, bucket.secret_key, bucket.session_token or None)
    client = session.create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint_url or None,
        config=AioConfig(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            max_pool_connections=CONNECTIONS,
            # aiohttp repeats a request once where a pooled connection turns out to be dead; no other is repeated here.
            retries={"total_max_attempts": 1},
            # Otherwise uploads carry a trailing CRC32, which R2 refuses.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # The signature leaves the body out: reading it twice would hold up the event loop.
            s3={"payload_signing_enabled": False, "addressing_style": "path" if bucket.endpoint_url else "auto"},
        ),
    )
    async with client as opened:
        opened.meta.events.register("before-call.s3.HeadBucket", _not_redirected)
        yield S3ObjectStore(opened, session, bucket, spool)


def _not_redirected(context: dict[str, dict[str, bool]], **_: object) -> None:
    """Take a redirected HeadBucket as it is: botocore would look for the bucket's region with another one, without end."""
    context["s3_redirect"]["redirected"] = True
