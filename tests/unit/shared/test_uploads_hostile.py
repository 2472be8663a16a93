import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import KeepsakeError
from shared.http.body import BODY, Body
from shared.uploads import FileField, MemorySink, SpoolSink, read_form
from tests.unit.shared.forms import BOUNDARY, CONTENT_TYPE, describe, file, form, left_in, part, text

FIELD = FileField("image", max_bytes=2000, max_files=3)
NEAR_BOUNDARY = f"\r\n--{BOUNDARY[:-1]}\r\r\n\r\n--{BOUNDARY[:-1]}x--\n--{BOUNDARY}".encode()
WHOLE = b"preamble\r\n" + form(
    text("purpose", "original"),
    file(NEAR_BOUNDARY),
    part('name="image"; filename="naïve %22.png"', bytes(range(256)), "X-Other: 1"),
    file(b"dropped", name="other"),
    file(b"", filename=""),
    text("note", "a\r\n\r\n--b 🐕"),
)
FRAGMENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [
            *(
                b"\r",
                b"\n",
                b"\r\n",
                b"\r\n\r\n",
                b"--",
                b"\0",
                b'"',
                b"\\",
                b";",
                b"=",
                b":",
                b"%22",
                b"\xff",
                b"image",
            ),
            *(f"--{BOUNDARY}".encode(), f"\r\n--{BOUNDARY}--\r\n".encode()),
            *(b"Content-Length: 3\r\n", b"Content-Transfer-Encoding: base64\r\n", b"filename*=utf-8''"),
            b"Content-Disposition: form-data; name=image; filename=x\r\n",
            *(b"x" * 3000, b"x" * 9000, b"X-Header: 1\r\n" * 800),
        ]
    ),
)
MUTATIONS = st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 60), FRAGMENTS), min_size=1, max_size=4)


async def send(chunks: list[bytes], content_type: str, folder: Path | None) -> dict[str, Any]:
    """Feed the chunks one by one, as a network would, to a form's reader."""
    body = Body(Mock(), sum(map(len, chunks)))

    async def feed() -> None:
        for chunk in chunks:
            body.feed(chunk)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    request: web.Request = make_mocked_request("POST", "/", headers={"Content-Type": content_type})
    request[BODY] = body
    feeding = asyncio.create_task(feed())
    try:
        async with read_form(
            request, FIELD, open_sink=lambda: MemorySink() if folder is None else SpoolSink(folder), digest=True
        ) as received:
            return describe(received)
    finally:
        feeding.cancel()


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places) if end > start]


def status_of(chunks: list[bytes], content_type: str, folder: Path | None = None) -> int:
    try:
        asyncio.run(send(chunks, content_type, folder))
    except KeepsakeError as refusal:
        return refusal.status
    return 200


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return asyncio.run(send([WHOLE], CONTENT_TYPE, None))


def test_the_whole_form_is_what_was_sent(expected):
    assert expected["fields"] == {"purpose": "original", "note": "a\r\n\r\n--b 🐕"}
    assert [item["content"] for item in expected["files"]] == [NEAR_BOUNDARY.hex(), bytes(range(256)).hex()]
    assert expected["files"][1]["filename"] == 'naïve ".png'


@settings(max_examples=150)
@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=40))
def test_any_split_of_the_stream_gives_the_same_form(expected, cuts):
    assert asyncio.run(send(split(WHOLE, cuts), CONTENT_TYPE, None)) == expected


def test_a_stream_of_single_bytes_gives_the_same_form(expected):
    assert asyncio.run(send([WHOLE[at : at + 1] for at in range(len(WHOLE))], CONTENT_TYPE, None)) == expected


@settings(max_examples=200)
@given(MUTATIONS, st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_any_damage_gives_a_form_or_a_refusal_and_leaves_nothing(mutations, cuts):
    body = WHOLE
    for place, removed, inserted in mutations:
        body = body[:place] + inserted + body[place + removed :]
    with tempfile.TemporaryDirectory() as folder:
        assert status_of(split(body, cuts), CONTENT_TYPE, Path(folder)) < 500
        assert not left_in(Path(folder))


@settings(max_examples=100)
@given(
    st.one_of(st.text(max_size=60), st.text('abc";=- \t\\,', max_size=40).map("multipart/form-data; boundary=".__add__))
)
def test_any_content_type_gives_a_form_or_a_refusal(content_type):
    content_type = content_type.translate(dict.fromkeys(range(32)))
    assert status_of([WHOLE], content_type) in {200, 400}
