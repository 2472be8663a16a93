from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web

from shared.app.factory import base_app
from shared.app.middleware import CHECKS, LIFECYCLE
from shared.app.responses import json_answer
from shared.app.routes import Answer, Route, ServiceInfo
from shared.auth.access import Access
from shared.auth.access_tokens import (
    SERVICE_GUARD,
    VERIFIER,
    ServiceGuard,
    SharedSecret,
    TokenVerifier,
    sign_service_token,
)
from shared.auth.revocations import DiskRevocations
from shared.errors import Conflict, DependencyDown, FieldError, NotAllowedValue, StorageFull
from shared.http.validation import QueryModel, WireModel, parse_json
from shared.settings import ServerSettings, TokenSettings
from tests.support.serving import ServeApp

SHOP, STRANGER = "http://localhost:3000", "https://stranger.example"
SECRET, INTERNAL = "s" * 32, "i" * 32
SECRET_TEXT = "/var/lib/secret at db.internal"


class Thing(WireModel):
    name: str


class Filter(QueryModel):
    colour: str = ""


async def show(request: web.Request) -> web.Response:
    return json_answer(Thing(name=request.match_info["name"]))


async def make(request: web.Request) -> web.Response:
    return json_answer(await parse_json(request, Thing), status=201)


async def read(request: web.Request) -> web.Response:
    return web.Response(text=request.match_info["key"])


async def refuse(_request: web.Request) -> web.Response:
    raise NotAllowedValue("It is too long.", errors=(FieldError("name", "too long"),))


async def break_down(_request: web.Request) -> web.Response:
    raise RuntimeError(SECRET_TEXT)


async def lose_the_database(_request: web.Request) -> web.Response:
    raise DependencyDown("database") from OSError(SECRET_TEXT)


async def break_midway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    raise Conflict


async def refuse_early(_request: web.Request) -> web.Response:
    raise StorageFull


async def bless(_request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


ROUTES = (
    Route(
        method="GET",
        path="/things/{name}",
        handler=show,
        summary="Show",
        query=Filter,
        answers={200: Answer("A thing", Thing)},
    ),
    Route(method="DELETE", path="/things/{name}", handler=bless, summary="Delete"),
    Route(
        method="POST", path="/things", handler=make, summary="Make", body=Thing, answers={201: Answer("Made", Thing)}
    ),
    Route(method="GET", path="/keys/{key:.+}", handler=read, summary="Read"),
    Route(method="GET", path="/refused", handler=refuse, summary="Refused"),
    Route(method="GET", path="/broken", handler=break_down, summary="Broken"),
    Route(method="GET", path="/down", handler=lose_the_database, summary="Down"),
    Route(method="GET", path="/midway", handler=break_midway, summary="Breaks midway"),
    Route(method="POST", path="/full", handler=refuse_early, summary="Full"),
    Route(method="GET", path="/token", handler=bless, summary="Token", access=Access.TOKEN),
    Route(method="POST", path="/token", handler=bless, summary="Token", access=Access.TOKEN),
    Route(method="GET", path="/admin", handler=bless, summary="Admin", access=Access.ADMIN),
    Route(method="GET", path="/internal/thing", handler=bless, summary="Internal", access=Access.SERVICE),
)


@pytest.fixture
def app(tmp_path) -> web.Application:
    settings = TokenSettings(_env_file=None, jwt_secret_key=SECRET, internal_secret=INTERNAL)
    built = base_app(ServiceInfo("probe", "A probe", "The probe", "2.1.0"), settings, ROUTES)
    built[VERIFIER] = TokenVerifier(settings, SharedSecret(SECRET), DiskRevocations(tmp_path / "revoked"))
    built[SERVICE_GUARD] = ServiceGuard(INTERNAL, "probe")
    return built


@pytest.fixture
async def url(app: web.Application, serve_app: ServeApp) -> str:
    return await serve_app(app)


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


def token(**claims: Any) -> dict[str, str]:
    whole = {"sub": "u1", "exp": 4_000_000_000, **claims}
    return {"Authorization": f"Bearer {jwt.encode(whole, SECRET, 'HS256')}"}


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


class TestPaths:
    async def test_count_with_and_without_their_slash(self, http: aiohttp.ClientSession) -> None:
        for path in ("/things/a", "/things/a/", "/health/", "/openapi.json/"):
            async with http.get(path, allow_redirects=False) as answer:
                assert answer.status == 200, path
        async with http.post("/things/", json={"name": "a"}, allow_redirects=False) as answer:
            assert (answer.status, await answer.json()) == (201, {"name": "a"})

    async def test_that_end_in_a_key_keep_its_slashes(self, http: aiohttp.ClientSession) -> None:
        for key in ("a", "a/b", "a/b/"):
            async with http.get(f"/keys/{key}") as answer:
                assert await answer.text() == key

    async def test_that_are_unknown_are_404(self, http: aiohttp.ClientSession) -> None:
        for path in ("/nothing", "/things/a/b", "/keys/"):
            async with http.get(path) as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "not_found")

    async def test_answer_another_method_with_those_they_take(self, http: aiohttp.ClientSession) -> None:
        for method, path, allow in (
            ("POST", "/things/a", "DELETE, GET, HEAD"),
            ("PUT", "/things/", "POST"),
            ("OPTIONS", "/things/a/", "DELETE, GET, HEAD"),
            ("DELETE", "/health", "GET, HEAD"),
        ):
            async with http.request(method, path) as answer:
                assert (answer.status, (await answer.json())["code"]) == (405, "method_not_allowed")
                offered = {word.strip() for word in answer.headers["Allow"].split(",")}
                assert offered - {"OPTIONS"} == set(allow.split(", ")), (method, path)

    async def test_that_can_be_got_can_be_headed(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/things/a") as got, http.head("/things/a/") as headed:
            assert (headed.status, await headed.read()) == (200, b"")
            assert headed.headers["Content-Length"] == got.headers["Content-Length"]
        async with http.head("/things") as answer:
            assert answer.status == 405


class TestRequestIds:
    async def test_are_the_clients_where_well_formed(self, http: aiohttp.ClientSession) -> None:
        for given in ("a", "A.b_c-9", "x" * 128):
            for path in ("/health", "/refused", "/nothing", "/broken"):
                async with http.get(path, headers={"X-Request-Id": given}) as answer:
                    assert answer.headers.getall("X-Request-Id") == [given]
                    assert path == "/health" or (await answer.json())["request_id"] == given

    async def test_are_new_where_not(self, http: aiohttp.ClientSession) -> None:
        made = set()
        for given in ("", "x" * 129, "a b", "<a>", "é"):
            async with http.get("/health", headers={"X-Request-Id": given}) as answer:
                made.add(answer.headers["X-Request-Id"])
        assert len(made) == 5
        assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)


class TestProblems:
    async def test_have_all_members_and_the_fields(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/refused") as answer:
            assert answer.status == 422
            assert answer.content_type == "application/problem+json"
            assert answer.headers["Cache-Control"] == "no-store"
            assert await answer.json(content_type=None) == {
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "It is too long.",
                "error": "It is too long.",
                "code": "invalid_value",
                "request_id": answer.headers["X-Request-Id"],
                "errors": [{"field": "name", "message": "too long"}],
            }

    async def test_of_ours_say_nothing_of_the_cause(self, http: aiohttp.ClientSession) -> None:
        for path, status, code in (("/broken", 500, "internal_error"), ("/down", 503, "database_unavailable")):
            async with http.get(path) as answer:
                assert (answer.status, (await answer.json())["code"]) == (status, code)
                assert SECRET_TEXT not in await answer.text()
                assert "Traceback" not in await answer.text()
            assert status != 503 or int(answer.headers["Retry-After"]) >= 1

    async def test_of_ours_are_logged_with_their_cause_and_request_id(
        self, http: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with http.get("/broken", headers={"X-Request-Id": "find-me"}):
            pass
        said = capsys.readouterr()
        assert SECRET_TEXT in said.out + said.err

    async def test_after_the_answer_has_begun_cut_it(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/midway") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    async def test_reach_a_client_that_is_still_sending(self, http: aiohttp.ClientSession) -> None:
        async with http.post("/full", data=io.BytesIO(b"x" * 3_000_000)) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_full")
        async with http.post("/token", data=io.BytesIO(b"x" * 3_000_000)) as answer:
            assert answer.status == 401

    async def test_come_before_the_body_is_asked_for(self, url: str) -> None:
        head = (
            b"POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        answer = await raw(url, head)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"100 Continue" not in answer

    async def test_refuse_what_no_path_takes(self, http: aiohttp.ClientSession) -> None:
        for headers, status in (
            ({"Content-Encoding": "gzip"}, 415),
            ({"Content-Encoding": "identity"}, 201),
            ({"Expect": "200-ok"}, 417),
        ):
            body = json.dumps({"name": "a"}).encode()
            async with http.post(
                "/things", data=body, headers={"Content-Type": "application/json", **headers}
            ) as answer:
                assert answer.status == status


class TestCors:
    async def test_a_preflight_allows_the_shop_on_both_spellings(self, http: aiohttp.ClientSession) -> None:
        wanted = "authorization,content-type,idempotency-key,x-request-id,range,if-none-match,last-event-id"
        for path, method in (("/things/a", "DELETE"), ("/things/a/", "GET"), ("/things", "POST"), ("/keys/a/b", "GET")):
            headers = {
                "Origin": SHOP,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": wanted,
            }
            async with http.options(path, headers=headers) as answer:
                assert answer.status in {200, 204}
                assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]
                assert method in answer.headers["Access-Control-Allow-Methods"]
                allowed = answer.headers["Access-Control-Allow-Headers"].lower().replace(" ", "").split(",")
                assert set(wanted.split(",")) <= set(allowed)

    async def test_a_preflight_from_elsewhere_allows_nothing(self, http: aiohttp.ClientSession) -> None:
        headers = {"Origin": STRANGER, "Access-Control-Request-Method": "GET"}
        async with http.options("/things/a", headers=headers) as answer:
            assert answer.status == 403
            assert not [name for name in answer.headers if name.startswith("Access-Control-Allow")]

    async def test_every_answer_tells_the_shop_what_it_may_read(self, http: aiohttp.ClientSession) -> None:
        exposed = {"ETag", "Location", "X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"}
        for method, path in (
            ("GET", "/things/a"),
            ("GET", "/nothing"),
            ("PATCH", "/things/a"),
            ("GET", "/refused"),
            ("GET", "/broken"),
            ("GET", "/token"),
            ("OPTIONS", "/things/a"),
        ):
            async with http.request(method, path, headers={"Origin": SHOP}) as answer:
                assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP], (method, path)
                assert {word.strip() for word in answer.headers["Access-Control-Expose-Headers"].split(",")} == exposed
                assert answer.headers.getall("Vary") == ["Origin"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"

    async def test_nobody_else_is_told(self, http: aiohttp.ClientSession) -> None:
        for headers in ({"Origin": STRANGER}, {"Origin": "null"}, {}):
            async with http.get("/things/a", headers=headers) as answer:
                assert answer.status == 200
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert answer.headers["Vary"] == "Origin"

    async def test_a_plain_options_is_a_method_not_allowed(self, http: aiohttp.ClientSession) -> None:
        for headers in ({}, {"Origin": SHOP}, {"Origin": STRANGER}):
            async with http.options("/things/a", headers=headers) as answer:
                assert answer.status == 405
                assert "GET" in answer.headers["Allow"]

    async def test_an_asterisk_allows_every_origin(self, serve_app: ServeApp) -> None:
        settings = ServerSettings(_env_file=None, cors_origins="*")
        url = await serve_app(base_app(ServiceInfo("probe", "A probe"), settings, ROUTES))
        async with aiohttp.ClientSession(url) as http:
            headers = {"Origin": STRANGER, "Access-Control-Request-Method": "GET"}
            for answered in (http.get("/nothing", headers=headers), http.options("/things/a", headers=headers)):
                async with answered as answer:
                    assert answer.headers.getall("Access-Control-Allow-Origin") == [STRANGER]


class TestAccess:
    async def test_is_checked_before_the_handler(self, http: aiohttp.ClientSession) -> None:
        admin = {"iss": "keepsake", "aud": "keepsake", "roles": ["admin"]}
        service = {"Authorization": f"Bearer {sign_service_token(INTERNAL, caller='a', audience='probe')}"}
        for path, headers, status in (
            ("/token", {}, 401),
            ("/token", token(), 200),
            ("/token", token(exp=1), 401),
            ("/token", service, 401),
            ("/admin", {}, 401),
            ("/admin", token(), 403),
            ("/admin", token(roles=["admin"]), 403),
            ("/admin", token(**admin), 200),
            ("/internal/thing", {}, 401),
            ("/internal/thing", token(**admin), 401),
            ("/internal/thing", service, 200),
        ):
            async with http.get(path, headers=headers) as answer:
                assert answer.status == status, (path, headers)

    async def test_of_two_authorizations_neither_counts(self, url: str) -> None:
        lines = "".join(f"Authorization: {token()['Authorization']}\r\n" for _ in range(2))
        answer = await raw(url, f"GET /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n".encode())
        assert answer.split(b" ", 2)[1] in {b"400", b"401"}


class TestReadiness:
    async def test_is_asked_of_every_dependency(self, app: web.Application, http: aiohttp.ClientSession) -> None:
        async def fine() -> None: ...

        async def down() -> None:
            raise OSError(SECRET_TEXT)

        app[CHECKS]["database"] = fine
        async with http.get("/ready") as answer:
            assert answer.status == 200
        app[CHECKS]["redis"] = down
        async with http.get("/ready") as answer:
            body = await answer.json()
            assert (answer.status, body["code"]) == (503, "redis_unavailable")
            assert SECRET_TEXT not in str(body)
            assert int(answer.headers["Retry-After"]) >= 1

    async def test_does_not_wait_for_one_that_never_answers(
        self, app: web.Application, http: aiohttp.ClientSession
    ) -> None:
        async def silent() -> None:
            await asyncio.Event().wait()

        app[CHECKS]["storage"] = silent
        async with http.get("/ready") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_unavailable")

    async def test_ends_when_the_process_stops_while_it_still_is_alive(
        self, app: web.Application, http: aiohttp.ClientSession
    ) -> None:
        app[LIFECYCLE].stop()
        for path, status in (("/ready", 503), ("/health", 200), ("/things/a", 503)):
            async with http.get(path) as answer:
                assert answer.status == status
                assert status == 200 or (await answer.json())["code"] == "service_stopping"


class TestCommonPaths:
    async def test_say_what_this_is(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/") as answer:
            body = await answer.json()
        assert (body["service"], body["version"], body["description"]) == ("The probe", "2.1.0", "A probe")
        assert body["endpoints"]["GET /keys/{key}"] == "Read"
        assert not [path for path in body["endpoints"] if "/internal/" in path]

    async def test_count_requests_by_route_and_never_by_raw_path(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/things/a-private-name"), http.request("BREW", "/things/a"):
            pass
        async with http.get("/metrics") as answer:
            metrics = await answer.text()
        assert 'route="/things/{name}"' in metrics
        assert "a-private-name" not in metrics
        assert "BREW" not in metrics

    async def test_describe_the_public_routes_and_their_types(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/openapi.json") as answer:
            document = await answer.json()
        assert document["openapi"] == "3.1.0"
        assert set(document["paths"]["/things/{name}"]) == {"get", "delete"}
        assert "/keys/{key}" in document["paths"]
        assert "/internal/thing" not in document["paths"]
        assert {"Thing", "Problem"} <= set(document["components"]["schemas"])
        assert document["paths"]["/token"]["get"]["security"] == [{"bearer": []}]
        [parameter] = [one for one in document["paths"]["/things/{name}"]["get"]["parameters"] if one["in"] == "query"]
        assert parameter["name"] == "colour"

    async def test_a_table_may_answer_a_common_path_itself(self, serve_app: ServeApp) -> None:
        own = Route(method="GET", path="/health", handler=bless, summary="Own")
        url = await serve_app(base_app(ServiceInfo("probe", "A probe"), ServerSettings(_env_file=None), (own,)))
        async with aiohttp.ClientSession(url) as http, http.get("/health") as answer:
            assert await answer.json() == {"ok": True}
