from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config

from shared.errors import DependencyDown, KeepsakeError, StorageFull
from shared.objects import ObjectStore
from shared.objects.s3 import S3ObjectStore, open_s3_store
from shared.settings import Bucket
from tests.support.processes import free_port
from tests.support.s3 import S3Server

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@asynccontextmanager
async def _store_at(answer: Answer, spool: Path) -> AsyncIterator[S3ObjectStore]:
    """A bucket whose server answers as `answer` does, one connection at a time."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with open_s3_store(_bucket(port), spool) as store:
            yield store
    finally:
        server.close()
        await asyncio.sleep(0)  # whoever was accepted just now
        while tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # A connection of the client's that still had bytes to send notices that it was reset.
        await asyncio.sleep(0.05)


def _bucket(port: int) -> Bucket:
    return Bucket("bucket", "us-east-1", f"http://127.0.0.1:{port}", "key", "secret")


def _answering(status: str, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        content = b"" if head.startswith(b"HEAD") else body
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + content
        )
        await writer.drain()

    return answer


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def _discarding(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await asyncio.Event().wait()


def _breaking_after(sent: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "e"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n'
        )
        writer.write(sent)
        await writer.drain()

    return answer


async def _call_all(store: ObjectStore, path: Path) -> list[object]:
    async def read() -> None:
        async with store.open("k.png") as reader:
            await reader.read()

    async def every() -> None:
        async for _ in store.list():
            pass

    return await asyncio.gather(
        store.put_file("k.png", path, content_type="image/png"),
        store.put_bytes("k.png", b"x", "image/png"),
        store.copy("k.png", "l.png"),
        store.stat("k.png"),
        store.delete("k.png"),
        store.delete_prefix("k/"),
        store.check(),
        read(),
        every(),
        return_exceptions=True,
    )


def _assert_all_down(results: list[object], path: Path) -> None:
    for result in results:
        assert isinstance(result, DependencyDown), result
        assert result.code == "storage_unavailable"
    assert path.exists()


async def test_nobody_listens(spool: Path) -> None:
    path = spool / "spool-1"
    path.write_bytes(b"x")
    async with open_s3_store(_bucket(free_port()), spool) as store:
        _assert_all_down(await _call_all(store, path), path)


@pytest.mark.parametrize(
    "answer",
    [
        _silent,
        _answering("500 Internal Server Error", "InternalError"),
        _answering("503 Slow Down", "SlowDown"),
        _answering("403 Forbidden", "InvalidAccessKeyId"),
        _answering("302 Found", "Elsewhere"),
    ],
    ids=["silent", "500", "503", "403", "302"],
)
async def test_a_bucket_that_fails_is_down(spool: Path, answer: Answer) -> None:
    path = spool / "spool-1"
    path.write_bytes(bytes(1_000_000))
    async with _store_at(answer, spool) as store:
        _assert_all_down(await _call_all(store, path), path)


async def test_a_server_that_takes_no_body_is_given_up(spool: Path) -> None:
    path = spool / "spool-1"
    path.write_bytes(bytes(20_000_000))
    async with _store_at(_discarding, spool) as store:
        with pytest.raises(DependencyDown):
            await store.put_file("k.png", path, content_type="image/png")
    assert path.exists()


async def test_a_server_that_is_slow_but_takes_bytes_is_not_given_up(spool: Path) -> None:
    path = spool / "spool-1"
    path.write_bytes(bytes(12_000_000))

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        for _ in range(24):
            await asyncio.sleep(0.15)
            await reader.readexactly(500_000)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "e"\r\n\r\n')
        await writer.drain()

    async with _store_at(slow, spool) as store:
        await store.put_file("k.png", path, content_type="image/png")
    assert not path.exists()


@pytest.mark.parametrize("sent", [b"", bytes(999)])
async def test_an_object_that_breaks_off_is_no_object(spool: Path, sent: bytes) -> None:
    async with _store_at(_breaking_after(sent), spool) as store:
        with pytest.raises(DependencyDown):
            async with store.open("k.png") as reader:
                await reader.read()


async def test_a_full_bucket_is_full(spool: Path) -> None:
    async with _store_at(_answering("507 Insufficient Storage", "XMinioStorageFull"), spool) as store:
        with pytest.raises(StorageFull):
            await store.put_bytes("k.png", b"x", "image/png")


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3.bucket, s3.region, s3.endpoint_url, s3.access_key, s3.secret_key)


@pytest.mark.parametrize("wrong", [{"access_key": "AKIAWRONG"}, {"name": "no-such-bucket"}])
async def test_wrong_keys_or_bucket_are_no_missing_object(bucket: Bucket, spool: Path, wrong: dict[str, str]) -> None:
    path = spool / "spool-1"
    path.write_bytes(b"x")
    async with open_s3_store(replace(bucket, **wrong), spool) as store:
        for result in await _call_all(store, path):
            # HEAD has no body that would say why; whether the bucket is there, `check` says.
            assert isinstance(result, DependencyDown) or (result is None and "name" in wrong), result
        with pytest.raises(DependencyDown):
            await store.check()


async def test_bytes_that_changed_on_their_way_are_refused(bucket: Bucket, spool: Path) -> None:
    path = spool / "spool-1"
    path.write_bytes(b"changed")
    async with open_s3_store(bucket, spool) as store:
        with pytest.raises(KeepsakeError):
            await store.put_file("k.png", path, content_type="image/png", sha256="00" * 32)
        assert await store.stat("k.png") is None


async def test_an_object_keeps_nothing_but_its_type(bucket: Bucket, spool: Path) -> None:
    path = spool / "spool-1"
    path.write_bytes(b"x")
    async with open_s3_store(bucket, spool) as store:
        await store.put_file("k.png", path, content_type="image/png")
    client = botocore.session.Session().create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    head = client.head_object(Bucket=bucket.name, Key="k.png")
    client.close()
    assert head["ContentType"] == "image/png"
    assert "ContentDisposition" not in head
    assert head["Metadata"] == {}


async def test_the_keys_in_use_are_given_for_presigning(bucket: Bucket, spool: Path) -> None:
    async with open_s3_store(bucket, spool) as store:
        assert await store.signing_bucket() == bucket
