import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import KeepsakeError
from shared.http.body import BODY, Body
from shared.uploads import FileField, MemorySink, UploadedFile, find_whole_file, read_form

IMAGE = FileField("image", max_bytes=1000)
TYPE = "multipart/form-data; boundary=XyZ"
DISPOSITION = b'Content-Disposition: form-data; name="image"; filename="a cat.jpg"\r\n'
TYPED = b"Content-Type: image/jpeg\r\n"
BROWSERS = b"--XyZ\r\n" + DISPOSITION + TYPED + b"\r\nphoto\r\n--XyZ--\r\n"


class Flow:
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...


def request_with(body: bytes, content_type: str, *, pieces: int = 1, is_complete: bool = True) -> web.Request:
    request = make_mocked_request("POST", "/", {"Content-Type": content_type})
    request[BODY] = fed = Body(Flow(), len(body) + (not is_complete))
    size = -(-len(body) // pieces) or 1
    for start in range(0, len(body), size):
        fed.feed(body[start : start + size])
    return request


def parsed(request: web.Request) -> list[UploadedFile[bytes]] | None:
    """Return the files that the parser finds, or None where it refuses."""

    async def read() -> list[UploadedFile[bytes]] | None:
        try:
            async with read_form(request, IMAGE, open_sink=MemorySink) as form:
                return [*form.files] if not form.fields else None
        except KeepsakeError:
            return None

    return asyncio.run(read())


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_browsers_form_with_one_file_is_read_at_once(pieces):
    request = request_with(BROWSERS, TYPE, pieces=pieces)
    assert find_whole_file(request, IMAGE) == UploadedFile("a cat.jpg", "image/jpeg", 5, "", b"photo")
    assert request[BODY].complete


def test_a_form_that_is_still_coming_is_left_to_the_parser():
    request = request_with(BROWSERS, TYPE, is_complete=False)
    assert find_whole_file(request, IMAGE) is None
    assert asyncio.run(request[BODY].read()) == BROWSERS


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BROWSERS.replace(b"photo", b"photo\r\n--XyZ\r\n"), TYPE),
        (BROWSERS.replace(b"photo", b"photo\r\n--XyZ--\r\n"), TYPE),
        (BROWSERS.replace(b'name="image"', b'name="other"'), TYPE),
        (BROWSERS.replace(b"a cat", b"..\\a cat"), TYPE),
        (BROWSERS.replace(b"a cat.jpg", b""), TYPE),
        (BROWSERS.replace(b"photo", b"p" * 1001), TYPE),
        (BROWSERS, "multipart/form-data; boundary=Xy"),
        (BROWSERS, "multipart/form-data; boundary=Other"),
        (BROWSERS, "multipart/form-data; boundary=XyZ; boundary=Other"),
        (BROWSERS[:-2], TYPE),
        (BROWSERS + b"epilogue", TYPE),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser_unread(body, content_type):
    request = request_with(body, content_type)
    assert find_whole_file(request, IMAGE) is None
    assert asyncio.run(request[BODY].read()) == body


PIECES = st.sampled_from(
    [b"--XyZ", b"\r\n", b"\r", b"--", b"-", b" ", DISPOSITION, TYPED, b"photo", b"\r\n--XyZ--\r\n", b"\r\n--XyZ\r\n", b'"',
     b'Content-Disposition: form-data; name="image"; filename="x; filename*=UTF-8\'\'y"\r\n', b"\x00\xff"]
)  # fmt: skip


@given(
    st.lists(PIECES, max_size=4).map(b"".join),
    st.lists(PIECES, max_size=5).map(b"".join),
    st.lists(PIECES, max_size=3).map(b"".join),
)
def test_what_is_found_at_once_is_what_the_parser_finds(head, content, tail):
    body = (b"--XyZ\r\n" + DISPOSITION + head + b"\r\n") + content + (b"\r\n--XyZ--\r\n" + tail)
    found = find_whole_file(request_with(body, TYPE), IMAGE)
    assert found is None or [found] == parsed(request_with(body, TYPE))
