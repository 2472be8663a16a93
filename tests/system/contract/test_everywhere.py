"""docs/contract.md, "Everywhere": what holds at the gateway and at each service alike."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import yarl

from tests.support.stack import Stack

SERVICES = ("auth-verify", "temp-image", "media-store", "checkout", "planter-orders")
PROCESSES = (*SERVICES, "gateway")
SHOP = "http://localhost:3000"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def assert_problem(answer: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = await answer.json()
    assert {"type", "title", "status", "detail", "error", "code", "request_id"} <= set(body)
    assert body["status"] == status
    assert body["error"] == body["detail"]
    assert re.fullmatch(r"[a-z0-9_]+", str(body["code"]))
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body


@pytest.mark.parametrize("process", PROCESSES)
class TestEveryProcess:
    async def test_says_what_it_is(self, stack: Stack, http: aiohttp.ClientSession, process: str) -> None:
        async with http.get(stack.url(process) + "/") as answer:
            body = await answer.json()
        assert {"service", "version", "description", "endpoints"} <= set(body)

    async def test_is_alive_and_tells_the_time(self, stack: Stack, http: aiohttp.ClientSession, process: str) -> None:
        async with http.get(stack.url(process) + "/health") as answer:
            body = await answer.json()
        assert answer.status == 200
        assert body["status"] == "healthy"
        assert RFC3339.fullmatch(body["timestamp"])
        assert abs((datetime.fromisoformat(body["timestamp"]) - datetime.now(UTC)).total_seconds()) < 60

    async def test_is_ready(self, stack: Stack, http: aiohttp.ClientSession, process: str) -> None:
        async with http.get(stack.url(process) + "/ready") as answer:
            assert answer.status == 200

    async def test_counts_in_prometheus_format(self, stack: Stack, http: aiohttp.ClientSession, process: str) -> None:
        async with http.get(stack.url(process) + "/metrics") as answer:
            assert answer.status == 200
            assert "keepsake_http_requests_total" in await answer.text()

    async def test_describes_itself_in_openapi_3_1(
        self, stack: Stack, http: aiohttp.ClientSession, process: str
    ) -> None:
        async with http.get(stack.url(process) + "/openapi.json") as answer:
            body = await answer.json()
        assert body["openapi"].startswith("3.1")
        assert body["paths"]

    async def test_an_unknown_path_is_a_problem_with_cors_headers(
        self, stack: Stack, http: aiohttp.ClientSession, process: str
    ) -> None:
        async with http.get(stack.url(process) + "/no/such/path", headers={"Origin": SHOP}) as answer:
            await assert_problem(answer, 404)
        assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]
        assert "Origin" in answer.headers["Vary"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    async def test_another_method_is_405_with_allow(
        self, stack: Stack, http: aiohttp.ClientSession, process: str
    ) -> None:
        async with http.delete(stack.url(process) + "/health", headers={"Origin": SHOP}) as answer:
            await assert_problem(answer, 405)
        assert "GET" in answer.headers["Allow"]
        assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]

    async def test_the_trailing_slash_changes_nothing(
        self, stack: Stack, http: aiohttp.ClientSession, process: str
    ) -> None:
        async with http.get(stack.url(process) + "/health/", allow_redirects=False) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 128])
    async def test_a_well_formed_request_id_is_kept(
        self, stack: Stack, http: aiohttp.ClientSession, process: str, given: str
    ) -> None:
        async with http.get(stack.url(process) + "/health", headers={"X-Request-Id": given}) as answer:
            assert answer.headers.getall("X-Request-Id") == [given]

    @pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>", "é"])
    async def test_another_request_id_is_replaced(
        self, stack: Stack, http: aiohttp.ClientSession, process: str, given: str
    ) -> None:
        async with http.get(stack.url(process) + "/health", headers={"X-Request-Id": given}) as answer:
            made = answer.headers["X-Request-Id"]
        assert made != given
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", made)

    async def test_a_stranger_origin_is_not_allowed(
        self, stack: Stack, http: aiohttp.ClientSession, process: str
    ) -> None:
        async with http.get(stack.url(process) + "/health", headers={"Origin": "https://evil.example"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Origin" in answer.headers["Vary"]


# One path of each service that a browser calls across origins, with its method.
BROWSER_CALLS = [
    ("temp-image", "POST", "/api/temp-image-upload"),
    ("temp-image", "GET", "/api/temp-image-retrieve"),
    ("media-store", "POST", "/store-image"),
    ("media-store", "DELETE", "/api/user_image/6f0e0c3c-3b1e-4d5a-8f3e-0a4a6c8f9b11/delete/"),
    ("checkout", "POST", "/api/checkout/embedded-session"),
    ("planter-orders", "POST", "/api/images/upload"),
    ("planter-orders", "PATCH", "/api/admin/orders/0123456789abcdef"),
    ("auth-verify", "POST", "/api/auth/login"),
]


@pytest.mark.parametrize(("service", "method", "path"), BROWSER_CALLS)
class TestCorsInTheBrowser:
    async def test_the_preflight_allows_what_the_contract_lists(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        wanted = (
            "authorization,content-type,idempotency-key,x-request-id,range,if-none-match,last-event-id,cache-control,"
            "if-range,if-match,if-modified-since,if-unmodified-since,traceparent,tracestate"
        )
        headers = {
            "Origin": SHOP,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": wanted,
        }
        async with http.options(door(service) + path, headers=headers) as answer:
            assert answer.status in {200, 204}
            assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]
            assert method in answer.headers["Access-Control-Allow-Methods"]
            allowed = {word.strip().lower() for word in answer.headers["Access-Control-Allow-Headers"].split(",")}
            assert set(wanted.split(",")) <= allowed

    async def test_a_preflight_for_other_headers_is_refused_by_their_names(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        headers = {
            "Origin": SHOP,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,x-shop-version, x-other,bad name,x-other",
        }
        async with http.options(door(service) + path, headers=headers) as answer:
            problem = await assert_problem(answer, 403)
            assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]
        assert problem["code"] == "header_not_allowed"
        assert problem["detail"].startswith("The request headers x-shop-version, x-other may not")

    async def test_the_answer_exposes_what_the_contract_lists(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        async with http.request(method, door(service) + path, headers={"Origin": SHOP}) as answer:
            assert answer.headers.getall("Access-Control-Allow-Origin") == [SHOP]
            exposed = {word.strip() for word in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert {"ETag", "Location", "X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"} <= exposed
        assert len(answer.headers.getall("X-Request-Id")) == 1

    async def test_a_stranger_gets_no_preflight(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": method}
        async with http.options(door(service) + path, headers=headers) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers

    async def test_a_plain_options_is_another_method(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        async with http.options(door(service) + path) as answer:
            await assert_problem(answer, 405)
        assert method in answer.headers["Allow"]


TOKEN_CALLS = [
    ("planter-orders", "GET", "/api/images/orders"),
    ("auth-verify", "GET", "/api/auth/me"),
    ("media-store", "POST", "/api/upload_user_image/"),
    ("checkout", "POST", "/api/checkout/refunds"),
    ("planter-orders", "GET", "/api/admin/orders"),
]


@pytest.mark.parametrize(("service", "method", "path"), TOKEN_CALLS)
class TestTokens:
    async def test_none_is_401_with_a_bare_challenge(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        async with http.request(method, door(service) + path) as answer:
            await assert_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("token", ["x", "a.b.c", "é", "." * 9000])
    async def test_a_bad_one_is_401_invalid_token(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str, token: str
    ) -> None:
        headers = {"Authorization": f"Bearer {token[:8000]}"}
        async with http.request(method, door(service) + path, headers=headers) as answer:
            await assert_problem(answer, 401)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    async def test_a_token_in_the_query_counts_for_nothing(
        self, door, http: aiohttp.ClientSession, service: str, method: str, path: str
    ) -> None:
        async with http.request(method, door(service) + path + "?access_token=x&token=x") as answer:
            await assert_problem(answer, 401)


@pytest.mark.parametrize(
    ("service", "path"), [("temp-image", "/api/temp-image-upload"), ("checkout", "/api/checkout/embedded-session")]
)
class TestBodies:
    async def test_an_encoded_one_is_415(self, door, http: aiohttp.ClientSession, service: str, path: str) -> None:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        async with http.post(door(service) + path, data=b"\x1f\x8b", headers=headers) as answer:
            await assert_problem(answer, 415)

    async def test_an_unknown_expectation_is_417(
        self, door, http: aiohttp.ClientSession, service: str, path: str
    ) -> None:
        async with http.post(door(service) + path, data=b"{}", headers={"Expect": "the-unexpected"}) as answer:
            await assert_problem(answer, 417)


class TestTheGateway:
    async def test_tells_the_state_of_each_service(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        async with http.get(stack.url("gateway") + "/health") as answer:
            body = await answer.json()
        assert body["services"] == {name: {"status": "healthy"} for name in SERVICES}

    @pytest.mark.parametrize(
        "path",
        [
            "/internal/holds/0123456789abcdef0123456789abcdef/x",
            "/internal/organizations/x/members/y",
            "/ready/x",
            "/temp-image/metrics",
        ],
    )
    async def test_reaches_nothing_internal(self, stack: Stack, http: aiohttp.ClientSession, path: str) -> None:
        async with http.get(stack.url("gateway") + path) as answer:
            await assert_problem(answer, 404)

    @pytest.mark.parametrize(
        "path",
        [
            "/media/../internal/x",
            "/media/./x",
            "//api/auth/me",
            "/media//x",
            "/media/a;b",
            "/media/%2e%2e/x",
            "/media/a%2fb",
            "/media/a%5cb",
            "/media/a%25b",
            "/media/a%00b",
            "/media/a%0ab",
            "/media/a%7fb",
            "/media/a%zz",
        ],
    )
    async def test_refuses_a_path_that_could_mean_two_things(
        self, stack: Stack, http: aiohttp.ClientSession, path: str
    ) -> None:
        async with http.get(yarl.URL(stack.url("gateway") + path, encoded=True)) as answer:
            await assert_problem(answer, 400)
