import asyncio
import gc
import hashlib
import os
from pathlib import Path

import pytest

from shared.uploads import FileField, Form
from tests.shared.forms import BOUNDARY, CONTENT_TYPE, file, form, form_server, head, left_in, part, read_answer, text

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


async def test_one_file_too_many_is_refused_with_the_maximum():
    async with form_server(FileField("files", 1000, max_files=2)) as server:
        answer = await server.send(form(*(file(b"x", "files") for _ in range(3))))
    assert (answer.status, answer.body["code"]) == (400, "too_many_files")
    assert "2" in answer.body["error"]


async def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(tmp_path):
    async with form_server(FileField("image", 2**20), spool=tmp_path) as server:
        assert (await server.send(form(file(bytes(2**20))))).status == 200
        answer = await server.send(form(file(bytes(2**20 + 1))))
    assert (answer.status, answer.body["code"]) == (413, "file_too_large")
    assert "1 MiB" in answer.body["error"]
    assert not left_in(tmp_path)


async def test_the_byte_over_the_limit_is_refused_when_it_arrives_not_when_the_form_ends(tmp_path):
    async with form_server(FileField("image", 300_000), spool=tmp_path) as server, server.connect() as (reader, writer):
        writer.write(head(f"Content-Type: {CONTENT_TYPE}", "Content-Length: 400000") + file(bytes(300_001))[:-2])
        answer = await read_answer(reader)
    assert answer.status == 413
    assert not left_in(tmp_path)


async def test_a_length_that_can_never_fit_is_refused_before_a_byte_is_sent():
    async with form_server(FileField("image", 5 * 2**20)) as server, server.connect() as (reader, writer):
        writer.write(head(f"Content-Type: {CONTENT_TYPE}", "Content-Length: 100000000"))
        answer = await read_answer(reader)
    assert answer.status == 413
    assert "5 MiB" in answer.body["error"]


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "x"]
)
async def test_another_body_type_counts_as_the_missing_file(content_type):
    async with form_server() as server:
        answer = await server.send(b'{"image": 1}', content_type)
    assert (answer.status, answer.body["error"], answer.body["code"]) == (400, "No image provided", "no_file")


async def test_the_sentence_of_the_missing_file_is_the_callers():
    async with form_server(FileField("image", 10, missing="Missing required fields", missing_code="fields")) as server:
        answer = await server.send(form(text("username", "ann")))
    assert (answer.status, answer.body["error"], answer.body["code"]) == (400, "Missing required fields", "fields")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(form(), id="empty form"),
        pytest.param(form(file(b"", filename="")), id="empty file input"),
        pytest.param(form(text("image", "cat.jpg")), id="text in the file's place"),
        pytest.param(form(text("image", "data:" + "x" * 90_000)), id="data address in the file's place"),
        pytest.param(form(file(b"x", name="photo")), id="other name"),
        pytest.param(form(part('filename="cat.jpg"', b"x")), id="no name"),
        pytest.param(b"p" + form(file(b"x")), id="in the preamble"),
    ],
)
async def test_a_form_without_the_file_is_the_missing_file(body):
    async with form_server() as server:
        answer = await server.send(body)
    assert (answer.status, answer.body["code"]) == (400, "no_file")


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


async def test_unknown_files_do_not_lift_the_bound_on_the_whole():
    async with form_server(FileField("image", 1000)) as server, server.connect() as (reader, writer):
        writer.write(head(f"Content-Type: {CONTENT_TYPE}", "Transfer-Encoding: chunked"))
        body = file(bytes(2_000_000), name="other")
        writer.write(b"%x\r\n" % len(body) + body + b"\r\n")
        answer = await read_answer(reader)
    assert answer.status == 413


async def test_a_nul_in_a_text_is_refused_with_the_fields_name():
    async with form_server() as server:
        answer = await server.send(form(text("caption", "a\0b"), file(b"x")))
    assert (answer.status, answer.body["code"], answer.body["fields"]) == (422, "invalid_value", ["caption"])


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('name="image"; filename="caf%C3%A9 %22a%22.jpg"', 'caf%C3%A9 "a".jpg'),
        ('name="image"; filename="grüße 🐈.png"', "grüße 🐈.png"),
        ('name="image"; filename="C:\\fakepath\\cat.jpg"', "cat.jpg"),
        ('name="image"; filename="../../etc/passwd"', "passwd"),
        ('name="image"; filename="a%0D%0Ab.jpg"', "ab.jpg"),
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


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7BIT"])
async def test_a_part_that_says_it_is_not_encoded_is_taken(encoding):
    async with form_server() as server:
        answer = await server.send(form(file(b"x", "image", "a.jpg", f"Content-Transfer-Encoding: {encoding}")))
    assert answer.status == 200


@pytest.mark.parametrize("header", ["Content-Transfer-Encoding: base64", "content-encoding: gzip"])
async def test_an_encoded_part_is_refused(header):
    async with form_server() as server:
        answer = await server.send(form(file(b"x", "image", "a.jpg", header)))
    assert (answer.status, answer.body["code"]) == (415, "content_encoding_not_supported")


async def test_an_encoded_body_is_refused():
    async with form_server() as server:
        answer = await server.send(form(file(b"x")), CONTENT_TYPE, "Content-Encoding: gzip")
    assert (answer.status, answer.body["code"]) == (415, "content_encoding_not_supported")


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


@pytest.mark.parametrize("boundary", ["----=_Part_1_2.3", "a/b:c=d", "a 'b' (c)", "x" * 70])
async def test_a_boundary_may_have_every_character_of_the_standard(boundary):
    async with form_server() as server:
        body = form(file(b"x")).replace(BOUNDARY.encode(), boundary.encode())
        assert (await server.send(body, f'multipart/form-data; boundary="{boundary}"')).status == 200


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "; boundary=",
        '; boundary=""',
        '; boundary="a',
        "; boundary=" + "x" * 71,
        "; boundary=a\tb",
        '; boundary="a "',
        "; boundary=a; boundary=b",
        '; boundary="a\\"b"',
        "; boundary=ä",
    ],
)
async def test_a_missing_or_odd_boundary_makes_the_form_unreadable(parameters):
    async with form_server() as server:
        answer = await server.send(form(file(b"x")), f"multipart/form-data{parameters}")
    assert (answer.status, answer.body["code"]) == (400, "malformed_form")


DASHES = f"--{BOUNDARY}".encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="no boundary"),
        pytest.param(file(b"x"), id="no last boundary"),
        pytest.param(form(file(b"x"))[:-4], id="cut in the last boundary"),
        pytest.param(form(file(b"x")).replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(form(file(b"x")).replace(b"\r\nContent-Type", b"\nContent-Type"), id="bare line feed in headers"),
        pytest.param(form(file(b"x")).replace(b"image", b"im\xffage"), id="header is not UTF-8"),
        pytest.param(form(file(b"x")).replace(b"cat", b"c\0at"), id="NUL in a header"),
        pytest.param(form(file(b"x")).replace(b"Content-Disposition", b"X-Other"), id="no disposition"),
        pytest.param(form(file(b"x")).replace(b"form-data;", b"attachment;"), id="other disposition"),
        pytest.param(form(file(b"x", "a", "b", 'Content-Disposition: form-data; name="image"')), id="two dispositions"),
        pytest.param(form(part('name="image"; filename="a"', b"x", "no colon")), id="header without colon"),
        pytest.param(form(part('name="a"', b"\xff\xfe"), file(b"x")), id="text is not UTF-8"),
        pytest.param(b"p" * 9000 + b"\r\n" + form(file(b"x")), id="long preamble"),
        pytest.param(form(file(b"x")) + b"e" * 300_000, id="long epilogue"),
        pytest.param(DASHES + b"x\r\n" + form(file(b"x")), id="bytes after the boundary"),
        pytest.param(form(file(b"x\r\n" + DASHES + b"y")), id="boundary inside the file"),
        pytest.param(form(file(b"xyz", "image", "a", "Content-Length: 2")), id="length of the part too small"),
    ],
)
async def test_broken_syntax_is_one_kind_of_refusal(tmp_path, body):
    async with form_server(spool=tmp_path) as server:
        answer = await server.send(body)
    assert (answer.status, answer.body["code"]) == (400, "malformed_form")
    assert not left_in(tmp_path)


async def test_a_short_preamble_and_epilogue_are_skipped():
    async with form_server() as server:
        answer = await server.send(b"This is a form.\r\n" + form(file(b"x")) + b"Good bye.\r\n")
    assert answer.body["files"][0]["size"] == 1


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        pytest.param(form(*(text(str(n), "") for n in range(20)), file(b"x")), "20", id="parts"),
        pytest.param(form(text("a", "x" * 65_537), file(b"x")), "64 KiB", id="text"),
        pytest.param(form(part('name="a"', b"", f"X-Long: {'x' * 9000}"), file(b"x")), "8 KiB", id="header line"),
        pytest.param(form(part('name="a"', b"", *["X-Many: x"] * 1000), file(b"x")), "8 KiB", id="header lines"),
    ],
)
async def test_each_bound_of_a_form_is_named_when_it_is_broken(body, limit):
    async with form_server() as server:
        answer = await server.send(body)
    assert answer.status == 413
    assert limit in answer.body["error"]


async def test_a_form_at_its_bounds_is_taken():
    long_header = f"X-Long: {'x' * 8000}"
    body = form(*(part(f'name="{n}"', b"x" * 65_536, long_header) for n in range(19)), file(b"x"))
    async with form_server() as server:
        assert (await server.send(body)).status == 200


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
