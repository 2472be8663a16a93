import pytest

from shared.uploads import FileField
from tests.unit.shared.forms import (
    BOUNDARY,
    CONTENT_TYPE,
    file,
    form,
    form_server,
    head,
    left_in,
    part,
    read_answer,
    text,
)


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


async def test_an_encoded_body_is_refused():
    async with form_server() as server:
        answer = await server.send(form(file(b"x")), CONTENT_TYPE, "Content-Encoding: gzip")
    assert (answer.status, answer.body["code"]) == (415, "content_encoding_not_supported")


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
        pytest.param(form(file(b"x")).replace(b"; filename", b'; name="b"; filename'), id="two names"),
        pytest.param(form(file(b"x")).replace(b"Content-Disposition", b"X-Other"), id="no disposition"),
        pytest.param(form(file(b"x")).replace(b"form-data;", b"attachment;"), id="other disposition"),
        pytest.param(form(file(b"x", "a", "b", 'Content-Disposition: form-data; name="image"')), id="two dispositions"),
        pytest.param(form(part('name="image"; filename="a"', b"x", "no colon")), id="header without colon"),
        pytest.param(form(part('name="a"', b"\xff\xfe"), file(b"x")), id="text is not UTF-8"),
        pytest.param(b"p" * 9000 + b"\r\n" + form(file(b"x")), id="long preamble"),
        pytest.param(form(file(b"x")) + b"e" * 300_000, id="long epilogue"),
        pytest.param(DASHES + b"x\r\n" + form(file(b"x")), id="bytes after the boundary"),
        pytest.param(form(file(b"x\r\n" + DASHES + b"y")), id="boundary inside the file"),
        pytest.param(form(file(b"x")).replace(DASHES, DASHES + b" " * 300), id="many blanks behind the boundary"),
        pytest.param(form(file(b"x")).replace(DASHES, DASHES + b" x"), id="bytes behind a blank"),
    ],
)
async def test_broken_syntax_is_one_kind_of_refusal(tmp_path, body):
    async with form_server(spool=tmp_path) as server:
        answer = await server.send(body)
    assert (answer.status, answer.body["code"]) == (400, "malformed_form")
    assert not left_in(tmp_path)


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
