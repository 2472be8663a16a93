"""No spelling of a path reaches what the table does not name, and no header makes somebody else of a client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count

import jwt
import pytest

from tests.support.raw_http import RawAnswer, ask
from tests.support.stack import URL_SETTINGS, Stack, running_stack
from tests.system.attacks.recorder import Recorder, recording

numbers = count()

# Behind each lies something that only the inside may ask for: {x} says where the trick goes in.
HIDDEN = ("/internal/holds/0/x", "/metrics", "/api/admin/orders")
DOTS = (
    "/media/{up}internal/holds/0/x", "/media/pet-images/{up}{up}internal/x", "/api/user_images/{up}admin/orders",
    "/media/{up}metrics", "/api/images/orders/{up}{up}{up}internal/x", "/.well-known/{up}ready",
)  # fmt: skip
UPS = (
    "../", "..%2f", "..%2F", "%2e%2e/", "%2E%2E/", "%2e./", ".%2e/", "%2e%2e%2f", "..%5c", "..\\", "%2e%2e%5c",
    "..%252f", "%252e%252e/", "%252e%252e%252f", "..;/", "..%3b/", ";/../", "..%00/", "..%0d/", "..%c0%af", "%c0%ae%c0%ae/",
    "..%ef%bc%8f", "%uff0e%uff0e/", "..%u2215", ".../", "....//", "..%09/", "./../", "%2e/../", "..%23/", "..?/../",
)  # fmt: skip
SPELLINGS = (
    "/{path}", "//{path}", "/./{path}", "/%2f{path}", "/%2F/{path}", "/{path}%00", "/{path};x", "/{path}/..;/", "/;/{path}",
    "\\{path}", "/\\{path}", "/{path}%20", "/%20{path}", "/{path}.", "/{path}/.", "/{path}%2f", "/x/%2e%2e/{path}",
    "/{path}%23", "/{path}%3f", "/.{path}", "/{path}..", "/%09{path}", "/{path}%0a", "/{path}%0d%0aX:y", "/~/{path}",
    "/media{path}", "/api/..{path}", "/{path}//", "/{path}%", "/{path}%zz",
)  # fmt: skip


def targets() -> Iterator[str]:
    for pattern in DOTS:
        for up in UPS:
            yield pattern.replace("{up}", up)
    for path in HIDDEN:
        for spelling in SPELLINGS:
            yield spelling.replace("{path}", path.lstrip("/"))
        yield path.upper()
        yield "/" + "".join(f"%{byte:02x}" for byte in path.lstrip("/").encode())
        yield "/%" + f"{ord(path[1]):02X}" + path[2:]


TARGETS = sorted({target for target in targets() if target.isascii()} - {"/api/admin/orders"})


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with recording() as one:
        yield one


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[Stack]:
    settings = {**dict.fromkeys(URL_SETTINGS.values(), recorder.url), "METRICS_ALLOW": "203.0.113.0/24"}
    with running_stack(tmp_path_factory.mktemp("paths"), settings, "gateway") as stack:
        yield stack


def request_for(target: str, *headers: str, method: str = "GET") -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: shop", *headers, "Connection: close", "", "")
    return "\r\n".join(lines).encode("latin-1")


@pytest.mark.parametrize("target", TARGETS)
async def test_no_spelling_reaches_the_inside(guarded: Stack, recorder: Recorder, target: str) -> None:
    """A refusal, a 404, a name of an image that is asked for as such: never a path of the inside behind the gateway."""
    before = len(recorder.seen)
    answer = await ask(guarded.url("gateway"), request_for(target))
    assert answer.status in {200, 400, 401, 404, 405}
    for seen in recorder.seen[before:]:
        assert seen.target == "/health" or seen.path.startswith(("/media/", "/api/user_images/"))
        assert ".." not in seen.path
        assert "%2" not in seen.path.lower()
        assert "\\" not in seen.path
    if answer.status == 200:
        assert json.loads(answer.body)["target"] == target


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY", "get"]
)
@pytest.mark.parametrize("path", ["/internal/x", "/internal", "/internal/holds/0/x/bytes", "/nothing"])
async def test_no_method_reaches_the_inside(guarded: Stack, recorder: Recorder, method: str, path: str) -> None:
    answer = await ask(guarded.url("gateway"), request_for(path, "Content-Length: 0", method=method), method)
    assert answer.status in {400, 404, 405}
    assert [seen for seen in recorder.seen if seen.path.startswith(("/internal", "/nothing"))] == []


OVERRIDES = ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X-Original-URL", "X-Rewrite-URL")


@pytest.mark.parametrize("name", OVERRIDES)
async def test_a_header_changes_neither_method_nor_path(guarded: Stack, recorder: Recorder, name: str) -> None:
    number = next(numbers)
    for value in ("DELETE", "/internal/x"):
        await ask(guarded.url("gateway"), request_for(f"/media/override-{number}", f"{name}: {value}"))
    for seen in recorder.about(f"override-{number}"):
        assert (seen.method, seen.path) == ("GET", f"/media/override-{number}")
        assert seen.values(name) == []


IDENTITIES = (
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /x", "X-Forwarded-Server: evil", "X-Forwarded-User: root", "X-Forwarded: for=6.6.6.6",
    "Forwarded: for=6.6.6.6;host=evil.example", "X-Real-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6", "True-Client-IP: 6.6.6.6",
    "CF-Connecting-IP: 6.6.6.6", "Fastly-Client-IP: 6.6.6.6", "X-Cluster-Client-IP: 6.6.6.6", "X-User-Id: root",
    "X-User: root", "X-Username: root", "X-Authenticated-User: root", "X-Auth-Request-User: root", "X-Remote-User: root",
    "Remote-User: root", "Remote-Addr: 6.6.6.6", "X-Remote-Addr: 6.6.6.6", "X-Original-Forwarded-For: 6.6.6.6",
    "X-Keepsake-Gateway: x", "X-Keepsake-Claim: x", "X-Keepsake-User: root", "X-Keepsake-Anything: x", "x-kEEPSAKE-gateway: x",
    "X-Envoy-Original-Path: /internal/x", "X-JWT-Payload: x", "X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6",
    "X_Keepsake_Gateway: x", "X-Keepsake_Gateway: x", "Authorization_: Bearer x", "X_User_Id: root", "Content_Length: 9",
    "X-Roles: admin", "X-Host: evil.example", "Under_Score: 1",
)  # fmt: skip


@pytest.mark.parametrize("line", IDENTITIES)
async def test_no_header_makes_somebody_else_of_a_client(guarded: Stack, recorder: Recorder, line: str) -> None:
    number = next(numbers)
    name, _, value = line.partition(": ")
    for twice in ((line,), (line, line), ("X-First: 1", line, "X-Last: 1")):
        answer = await ask(guarded.url("gateway"), request_for(f"/media/who-{number}", *twice))
        assert answer.status == 200
    for seen in recorder.about(f"who-{number}"):
        assert value not in seen.values(name)
        assert seen.values("X-Forwarded-For") == ["127.0.0.1"]
        assert seen.values("X-Forwarded-Proto") == ["http"]
        assert seen.values("X-Forwarded-Host") == ["shop"]
        assert not any("6.6.6.6" in given for _, given in seen.headers)


HOP_BY_HOP = (
    "Keep-Alive: timeout=5", "Proxy-Connection: close", "Proxy-Authorization: Basic eA==", "TE: trailers, deflate",
    "Trailer: X-Late", "Upgrade: h2c",
)  # fmt: skip


@pytest.mark.parametrize("line", HOP_BY_HOP)
async def test_what_is_between_client_and_gateway_ends_there(guarded: Stack, recorder: Recorder, line: str) -> None:
    number = next(numbers)
    await ask(guarded.url("gateway"), request_for(f"/media/hop-{number}", line))
    (seen,) = recorder.about(f"hop-{number}")
    assert seen.values(line.partition(":")[0]) == []


NAMED = (
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Host", "Content-Length", "X-Keepsake-Gateway",
    "Authorization", "X-Plain", "x-forwarded-for, x-request-id", "close, X-Forwarded-For", "X-Plain,,", '"X-Plain"',
)  # fmt: skip


@pytest.mark.parametrize("named", NAMED)
async def test_connection_takes_away_nothing_that_the_gateway_says(
    guarded: Stack, recorder: Recorder, named: str
) -> None:
    """A client that names `X-Forwarded-For` in `Connection` would else be nobody to the services."""
    number = next(numbers)
    lines = (f"Connection: {named}", "X-Plain: here", "Authorization: Bearer x", "Content-Length: 0")
    path = f"/api/temp-image-upload?named-{number}"
    await ask(guarded.url("gateway"), request_for(path, *lines, method="POST"), "POST")
    (seen,) = recorder.about(f"named-{number}")
    assert seen.values("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.values("X-Forwarded-Host") == ["shop"]
    assert len(seen.values("X-Request-Id")) == 1
    assert len(seen.values("Host")) == 1
    (word,) = seen.values("X-Keepsake-Gateway")
    assert (
        jwt.decode(word, guarded.settings["INTERNAL_SECRET"], ["HS256"], audience="temp-image")["addr"] == "127.0.0.1"
    )


REQUEST_IDS = ("", "a b", "x" * 129, "a\tb", "ä", "<script>", "a,b", "../x", "a;b", "a:b", '"a"', "a\x85b")


@pytest.mark.parametrize("given", REQUEST_IDS)
async def test_a_request_id_that_is_none_is_replaced(guarded: Stack, recorder: Recorder, given: str) -> None:
    number = next(numbers)
    answer = await ask(guarded.url("gateway"), request_for(f"/media/id-{number}", f"X-Request-Id: {given}"))
    (seen,) = recorder.about(f"id-{number}")
    assert seen.values("X-Request-Id") == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] != [given]
    assert len(answer.headers["x-request-id"][0]) == 32


async def test_two_request_ids_are_one_behind_the_gateway(guarded: Stack, recorder: Recorder) -> None:
    lines = ("X-Request-Id: first", "X-Request-Id: second")
    answer = await ask(guarded.url("gateway"), request_for("/media/two-ids", *lines))
    (seen,) = recorder.about("two-ids")
    assert seen.values("X-Request-Id") == answer.headers["x-request-id"]


ESCAPES = ("%0d%0aX-Evil:%20yes", "%0aX-Evil:yes", "%E5%98%8D%E5%98%8AX-Evil:yes", "\xc4\x8d\xc4\x8aX-Evil:yes")


@pytest.mark.parametrize("escape", ESCAPES)
async def test_no_query_becomes_a_header(guarded: Stack, recorder: Recorder, escape: str) -> None:
    number = next(numbers)
    answer = await ask(guarded.url("gateway"), request_for(f"/media/split-{number}?x={escape}"))
    assert "x-evil" not in answer.headers
    for seen in recorder.about(f"split-{number}"):
        assert seen.values("X-Evil") == []


async def test_a_thousand_headers_are_refused(guarded: Stack, recorder: Recorder) -> None:
    answer = await ask(guarded.url("gateway"), request_for("/media/thousand", *(f"X-{n}: 1" for n in range(1000))))
    assert answer.status in {400, 431}
    assert recorder.about("thousand") == []


def test_the_recorder_was_there_all_the_time(recorder: Recorder) -> None:
    assert recorder.unreadable == []
    assert recorder.seen


async def inside(stack: Stack, target: str, *headers: str) -> RawAnswer:
    return await ask(stack.url("temp-image"), request_for(target, *headers))


INSIDE = (
    "/internal/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "/internal//holds/00000000000000000000000000000000/cs_test_a/bytes",
    "/./internal/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "/api/../internal/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "/%69nternal/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "/internal%2fholds%2f00000000000000000000000000000000%2fcs_test_a%2fbytes",
    "/internal/holds/00000000000000000000000000000000/cs_test_a/bytes/",
    "/internal/holds/00000000000000000000000000000000/cs_test_a/bytes;x",
    "/INTERNAL/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "http://127.0.0.1/internal/holds/00000000000000000000000000000000/cs_test_a/bytes",
    "//x/internal/holds/00000000000000000000000000000000/cs_test_a/bytes",
)
WORDS = (
    "",
    "X-Keepsake-Gateway: x",
    "X-Forwarded-For: 127.0.0.1",
    "X-Internal: 1",
    "Host: localhost",
    "X-Real-IP: ::1",
)


@pytest.mark.parametrize("target", INSIDE)
async def test_the_inside_asks_for_its_token_on_the_port_too(site: Stack, target: str) -> None:
    for word in WORDS:
        lines = (word,) if word and not word.startswith("Host") else ()
        assert (await inside(site, target, *lines)).status in {400, 401, 404}


async def test_the_gateways_word_cannot_be_made_up(site: Stack) -> None:
    """With it, an image would be handed out and never used up."""
    now = int(time.time())
    path = f"/api/temp-image-retrieve?imageId={'0' * 32}"
    for secret in (site.settings["JWT_SECRET_KEY"], "x" * 43):
        word = jwt.encode({"iss": "gateway", "aud": "temp-image", "iat": now, "exp": now + 60}, secret, "HS256")
        for door in ("temp-image", "gateway"):
            answer = await ask(site.url(door), request_for(path, f"X-Keepsake-Gateway: {word}"))
            assert answer.status == (401 if door == "temp-image" else 404)
            assert "x-keepsake-claim" not in answer.headers
