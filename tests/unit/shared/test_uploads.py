import hashlib
import os

import pytest

from shared.uploads import FileField
from tests.unit.shared.forms import BOUNDARY, CONTENT_TYPE, file, form, form_server, left_in, part, text

PHOTO = os.urandom(60_000)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_fields_and_files_may_come_in_any_order(order):
    parts = [text("purpose", "original"), file(PHOTO), text("session_id", "zürich 🐕")]
    async with form_server(digest=True) as server:
        answer = await server.send(form(*(parts[index] for index in order)))
    assert answer.status == 200
    assert answer.body["fields"] == {"purpose": "original", "session_id": "zürich 🐕"}
    (photo,) = answer.body["files"]
    assert photo == {
        "filename": "cat.jpg",
        "declared_type": "image/jpeg",
        "size": len(PHOTO),
        "sha256": hashlib.sha256(PHOTO).hexdigest(),
        "content": PHOTO.hex(),
    }


@pytest.mark.parametrize("spooled", [False, True])
async def test_a_file_of_many_chunks_arrives_byte_for_byte(tmp_path, spooled):
    photo = os.urandom(3_000_000)
    async with form_server(FileField("image", 4_000_000), spool=tmp_path if spooled else None, digest=True) as server:
        answer = await server.send(form(file(photo)))
    assert answer.body["files"][0]["content"] == photo.hex()
    assert answer.body["files"][0]["sha256"] == hashlib.sha256(photo).hexdigest()
    assert not left_in(tmp_path)


async def test_no_digest_is_made_when_none_is_asked_for():
    async with form_server() as server:
        answer = await server.send(form(file(PHOTO)))
    assert answer.body["files"][0]["sha256"] == ""


async def test_several_files_keep_their_order(tmp_path):
    async with form_server(FileField("files", 1000, max_files=4), spool=tmp_path) as server:
        answer = await server.send(form(*(file(bytes([n]) * n, "files", f"{n}.png") for n in (3, 1, 2, 4))))
    assert [(item["filename"], item["size"]) for item in answer.body["files"]] == [
        ("3.png", 3),
        ("1.png", 1),
        ("2.png", 2),
        ("4.png", 4),
    ]
    assert not left_in(tmp_path)


async def test_a_named_file_without_bytes_is_given_with_size_zero(tmp_path):
    async with form_server(spool=tmp_path) as server:
        answer = await server.send(form(file(b"")))
    assert (answer.body["files"][0]["size"], answer.body["files"][0]["content"]) == (0, "")
    assert not left_in(tmp_path)


async def test_bytes_without_a_filename_in_the_file_input_are_a_file():
    async with form_server() as server:
        answer = await server.send(form(file(b"abc", filename="")))
    assert answer.body["files"][0]["size"] == 3


async def test_of_a_repeated_field_the_first_counts():
    async with form_server() as server:
        answer = await server.send(form(text("a", "one"), text("a", "two"), file(b"x")))
    assert answer.body["fields"] == {"a": "one"}


async def test_text_is_kept_as_typed():
    typed = "  <b>“Füße”</b>\r\n\tand\n 0 \ufeff "
    async with form_server() as server:
        answer = await server.send(form(text("caption", typed), text("empty", ""), file(b"x")))
    assert answer.body["fields"] == {"caption": typed, "empty": ""}


async def test_unknown_files_are_read_and_dropped(tmp_path):
    async with form_server(spool=tmp_path) as server:
        answer = await server.send(form(file(PHOTO, name="other"), file(b"x")))
    assert [item["size"] for item in answer.body["files"]] == [1]


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('name="image"; filename="caf%C3%A9 %22a%22.jpg"', 'caf%C3%A9 "a".jpg'),
        ('name="image"; filename="grüße 🐈.png"', "grüße 🐈.png"),
        ('name="image"; filename="C:\\fakepath\\cat.jpg"', "cat.jpg"),
        ('name="image"; filename="../../etc/passwd"', "passwd"),
        ('name="image"; filename="a\x00\x1b\x7f\x85b.jpg"', "ab.jpg"),
        ('name="image"; filename="a; name=b.jpg"', "a; name=b.jpg"),
        ('name="image"; filename="a\\"', ""),
        ('name="image"; filename*=UTF-8\'\'"na%C3%AFve x.jpg"', "naïve x.jpg"),
        ('name="image"; filename*="UTF-8\'\'na%C3%AFve%20x.jpg"', "naïve x.jpg"),
        ("name=\"image\"; filename*=Shift_JIS'ja'%8E%CA%90%5E.jpg", "写真.jpg"),
        ("name=\"image\"; filename*=windows-1252''%80.jpg", "€.jpg"),
        ('name="image"; filename="x.jpg"; filename*=no-such\'\'%80.jpg', "x.jpg"),
        ('name="image"; filename="x.jpg"; filename*=hex\'\'80', "x.jpg"),
        ("name=image; filename=my cat.jpg", "my cat.jpg"),
        ('name="image"; filename="a%0D%0Ab.jpg"', "ab.jpg"),
        ('name="image"; filename="c\x00a\x1bt.jpg"', "cat.jpg"),
        ('name="image"; filename="a \\"b\\".jpg"', 'a "b".jpg'),
        ("name=\"image\"; filename*=UTF-8''na%C3%AFve%20%00.jpg", "naïve .jpg"),
        ('name="image"; filename="x.jpg"; filename*=utf-8\'\'%E2%82%AC.jpg', "€.jpg"),
        ("name=\"image\"; filename*=iso-8859-1'en'%A3.jpg", "£.jpg"),
        ("name=image; filename=cat.jpg", "cat.jpg"),
        ('filename="cat.jpg"; name="image"', "cat.jpg"),
        (f'name="image"; filename="{"x" * 300}.jpg"', "x" * 251 + ".jpg"),
    ],
)
async def test_filenames_are_read_as_clients_write_them(disposition, filename):
    async with form_server() as server:
        answer = await server.send(form(part(disposition, b"x")))
    assert [item["filename"] for item in answer.body["files"]] == [filename]


async def test_an_undeclared_type_is_none():
    async with form_server() as server:
        answer = await server.send(form(part('name="image"; filename="a"', b"x")))
    assert answer.body["files"][0]["declared_type"] is None


@pytest.mark.parametrize(
    "header",
    [
        *(f"Content-Transfer-Encoding: {encoding}" for encoding in ("binary", "8bit", "7BIT", "base64")),
        *(f"Content-Length: {length}" for length in ("3", "2", "99", "-1", "many")),
        "Content-Encoding: gzip",
        "Content-Type: text/plain; charset=utf-7",
        "X-Folded: a\r\n b",
        "X-Control: \x01",
    ],
)
async def test_of_a_parts_headers_only_name_and_type_count(header):
    async with form_server() as server:
        answer = await server.send(form(part('name="image"; filename="a.jpg"', b"xyz", header)))
    assert (answer.status, answer.body["files"][0]["content"]) == (200, b"xyz".hex())


async def test_a_file_name_that_is_not_utf_8_is_read_as_far_as_it_can_be():
    async with form_server() as server:
        answer = await server.send(form(file(b"x")).replace(b"cat", b"\x8e\xca"))
    assert answer.body["files"][0]["filename"].endswith(".jpg")


@pytest.mark.parametrize("nameless", [False, True])
async def test_a_part_without_a_file_name_is_a_file_only_where_it_may_be(nameless):
    async with form_server(FileField("image", 10, nameless=nameless)) as server:
        answer = await server.send(form(text("image", "abc")))
    assert answer.status == (200 if nameless else 400)


async def test_blanks_behind_a_boundary_are_skipped():
    body = form(text("a", "b"), file(b"x")).replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \t \r\n")
    async with form_server() as server:
        answer = await server.send(body + b" \t\r\n")
    assert (answer.status, answer.body["fields"]) == (200, {"a": "b"})


@pytest.mark.parametrize(
    "content_type",
    [
        CONTENT_TYPE,
        f'Multipart/Form-Data; charset=utf-8; Boundary="{BOUNDARY}"',
        f"multipart/form-data;boundary={BOUNDARY} ; charset=utf-8",
    ],
)
async def test_the_boundary_may_be_quoted_and_stand_anywhere(content_type):
    async with form_server() as server:
        assert (await server.send(form(file(b"x")), content_type)).status == 200


@pytest.mark.parametrize(
    ("written", "boundary"),
    [
        *(
            (f'"{boundary}"', boundary)
            for boundary in ("----=_Part_1_2.3", "a/b:c=d", "a 'b' (c)", "x" * 70, "a;b", "[<@>]")
        ),
        *((boundary, boundary) for boundary in ("*****", "!#$%&'*+-.^_`|~", "x" * 70, "a/b:c=d")),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ('"a; boundary=b"; charset=utf-8', "a; boundary=b"),
    ],
)
async def test_a_boundary_may_be_any_token_or_quoted_string(written, boundary):
    async with form_server() as server:
        body = form(file(b"x")).replace(BOUNDARY.encode(), boundary.encode())
        assert (await server.send(body, f"multipart/form-data; boundary={written}")).status == 200


async def test_a_short_preamble_and_epilogue_are_skipped():
    async with form_server() as server:
        answer = await server.send(b"This is a form.\r\n" + form(file(b"x")) + b"Good bye.\r\n")
    assert answer.body["files"][0]["size"] == 1
