import asyncio
import gc
import os
from pathlib import Path

import pytest

from shared.uploads import FileField, Form
from tests.unit.shared.forms import CONTENT_TYPE, file, form, form_server, head, left_in, read_answer

PHOTO = os.urandom(60_000)


async def test_a_body_that_stands_still_is_a_timeout(tmp_path):
    async with form_server(spool=tmp_path, idle_s=0.05) as server, server.connect() as (reader, writer):
        writer.write(head(f"Content-Type: {CONTENT_TYPE}", "Content-Length: 5000") + file(b"x" * 1000))
        answer = await read_answer(reader)
    assert (answer.status, answer.body["code"]) == (408, "body_timeout")
    assert not left_in(tmp_path)


@pytest.mark.parametrize("sent", [0, 30, 5000, 600_000])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_hangs_up_leaves_nothing_behind(tmp_path, sent, reset):
    async with form_server(FileField("image", 2**20), spool=tmp_path) as server:
        async with server.connect() as (_, writer):
            writer.write(head(f"Content-Type: {CONTENT_TYPE}", "Content-Length: 900000") + file(bytes(800_000))[:sent])
            await writer.drain()
            await asyncio.sleep(0.05)
            if reset:
                writer.transport.abort()
        assert await server.outcomes.get() == "gone"
    assert not left_in(tmp_path)


async def test_a_cancelled_request_leaves_nothing_behind(tmp_path):
    reached = asyncio.Event()

    async def wait(_form: Form[Path]) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with form_server(spool=tmp_path, during=wait, cancelling=True) as server:
        async with server.connect() as (_, writer):
            body = form(file(PHOTO))
            writer.write(head(f"Content-Type: {CONTENT_TYPE}", f"Content-Length: {len(body)}") + body)
            await reached.wait()
            assert len(left_in(tmp_path)) == 1
        assert await server.outcomes.get() == "cancelled"
    assert not left_in(tmp_path)


async def test_a_file_that_the_caller_moved_away_stays(tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()

    def keep(form: Form[Path]) -> str:
        form.files[0].content.rename(tmp_path / "kept")
        return "kept"

    async with form_server(spool=spool, during=keep) as server:
        assert (await server.send(form(file(PHOTO)))).body == "kept"
    assert (tmp_path / "kept").read_bytes() == PHOTO
    assert not left_in(spool)
    gc.collect()  # a file left open would warn


async def test_a_file_that_the_caller_did_not_move_is_gone_after_the_request(tmp_path):
    def names(form: Form[Path]) -> list[str]:
        return [item.content.name for item in form.files]

    async with form_server(spool=tmp_path, during=names) as server:
        assert len((await server.send(form(file(PHOTO)))).body) == 1
    assert not left_in(tmp_path)
