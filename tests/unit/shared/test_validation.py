from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import pytest
from pydantic import Field

from shared.app.factory import base_app
from shared.app.responses import json_answer
from shared.app.routes import Route, ServiceInfo
from shared.http.validation import (
    Matching,
    PlainText,
    QueryModel,
    WireModel,
    parse_form,
    parse_json,
    parse_json_or_form,
    parse_query,
)
from shared.settings import ServerSettings
from tests.support.serving import ServeApp

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Order(WireModel):
    sku: Annotated[PlainText, Field(max_length=10)]
    quantity: Annotated[int, Field(ge=1, le=10)] = 1
    size: Annotated[str, Field(max_length=3), Matching("[a-z]+", "must be lower-case letters")] = "m"


class Search(QueryModel):
    word: PlainText
    limit: Annotated[int, Field(ge=1, le=100)] = 20


async def as_json(request):
    return json_answer(await parse_json(request, Order, missing="sku required"))


async def as_form(request):
    return json_answer(await parse_form(request, Order))


async def as_either(request):
    return json_answer(await parse_json_or_form(request, Order))


async def as_query(request):
    return json_answer(parse_query(request, Search))


ROUTES = (
    Route(method="POST", path="/json", handler=as_json, summary="", body=Order),
    Route(method="POST", path="/form", handler=as_form, summary="", body=Order),
    Route(method="POST", path="/either", handler=as_either, summary="", body=Order),
    Route(method="GET", path="/query", handler=as_query, summary="", query=Search),
)


@pytest.fixture
async def http(serve_app: ServeApp) -> AsyncIterator[aiohttp.ClientSession]:
    url = await serve_app(base_app(ServiceInfo("probe", "A probe"), ServerSettings(_env_file=None), ROUTES))
    async with aiohttp.ClientSession(url) as session:
        yield session


async def post(
    http: aiohttp.ClientSession, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    async with http.post(path, data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


class TestJson:
    async def test_is_read_and_unknown_keys_are_ignored(self, http: aiohttp.ClientSession) -> None:
        for kind in ("application/json", "application/json; charset=utf-8", "application/vnd.x+json", "text/json"):
            body = b'{"sku":"a","quantity":2,"price":0}'
            assert await post(http, "/json", body, {"Content-Type": kind}) == (
                200,
                {"sku": "a", "quantity": 2, "size": "m"},
            )

    async def test_that_cannot_be_read_is_400(self, http: aiohttp.ClientSession) -> None:
        for body in (b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"sku":"\\ud800"}', b"[" * 5000, b'{"sku":"a"}}'):
            status, problem = await post(http, "/json", body, JSON)
            assert (status, problem["code"]) == (400, "invalid_json"), body

    async def test_that_lacks_a_field_is_400_in_the_rows_own_words(self, http: aiohttp.ClientSession) -> None:
        status, problem = await post(http, "/json", b"{}", JSON)
        assert (status, problem["error"], problem["code"]) == (400, "sku required", "missing_field")
        assert problem["errors"] == [{"field": "sku", "message": "is required"}]

    async def test_with_a_value_that_is_not_allowed_is_422_and_never_echoed(self, http: aiohttp.ClientSession) -> None:
        for body in (
            b'{"sku":"secret-secret"}',
            b'{"sku":"secr\\u0000et"}',
            b'{"sku":"a","quantity":11}',
            b'{"sku":"a","quantity":"2"}',
            b'{"sku":"a","quantity":1e999}',
            b'{"sku":["secret"]}',
            b'{"sku":null}',
        ):
            status, problem = await post(http, "/json", body, JSON)
            assert (status, problem["code"]) == (422, "invalid_value"), body
            assert problem["errors"]
            assert "secret" not in str(problem)

    async def test_must_match_whole_and_the_sentence_says_what(self, http: aiohttp.ClientSession) -> None:
        for size, message in (
            ("a1", "must be lower-case letters"),
            ("a\n", "must be lower-case letters"),
            ("", "must be lower-case letters"),
            ("abcd", "may have at most 3 characters"),
        ):
            status, problem = await post(http, "/json", json.dumps({"sku": "a", "size": size}).encode(), JSON)
            assert (status, problem["errors"]) == (422, [{"field": "size", "message": message}])
        assert Order.model_json_schema()["properties"]["size"]["pattern"] == "^(?:[a-z]+)$"

    async def test_of_another_type_counts_as_missing(self, http: aiohttp.ClientSession) -> None:
        for headers in (FORM, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data; boundary=x"}):
            status, problem = await post(http, "/json", b'{"sku":"a"}', headers)
            assert (status, problem["error"]) == (400, "sku required")

    async def test_over_its_limit_is_413(self, http: aiohttp.ClientSession) -> None:
        status, problem = await post(http, "/json", b'"' + b"x" * 2**16 + b'"', JSON)
        assert status == 413
        assert "64 KiB" in problem["error"]


class TestForms:
    async def test_are_read_and_the_first_of_a_repeated_field_counts(self, http: aiohttp.ClientSession) -> None:
        assert await post(http, "/form", b"sku=a%20b&sku=c&x=", FORM) == (
            200,
            {"sku": "a b", "quantity": 1, "size": "m"},
        )

    async def test_with_an_empty_field_lack_it(self, http: aiohttp.ClientSession) -> None:
        assert (await post(http, "/form", b"sku=", FORM))[0] == 400

    async def test_that_cannot_be_read_are_400(self, http: aiohttp.ClientSession) -> None:
        for body in (b"sku=%ff", b"\xff=a", b"sku=%ED%A0%80", b"&".join([b"a=b"] * 21)):
            assert (await post(http, "/form", body, FORM))[0] == 400

    async def test_of_another_type_count_as_missing(self, http: aiohttp.ClientSession) -> None:
        assert (await post(http, "/form", b'{"sku":"a"}', JSON))[0] == 400

    async def test_and_json_are_taken_where_both_are(self, http: aiohttp.ClientSession) -> None:
        expected = (200, {"sku": "a", "quantity": 1, "size": "m"})
        assert await post(http, "/either", b"sku=a", FORM) == expected
        assert await post(http, "/either", b'{"sku":"a"}', JSON) == expected
        assert (await post(http, "/either", b"sku=a", {"Content-Type": "text/plain"}))[0] == 400


class TestQueries:
    async def test_are_read_as_what_the_field_says(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/query?word=a&limit=5&x=1&x=2") as answer:
            assert await answer.json() == {"word": "a", "limit": 5}
        async with http.get("/query?word=a&limit=") as answer:
            assert await answer.json() == {"word": "a", "limit": 20}

    async def test_that_lack_or_misstate_a_field_are_refused(self, http: aiohttp.ClientSession) -> None:
        for query, status in {
            "": 400,
            "word=": 400,
            "word=a&limit=0": 422,
            "word=a&word=b": 422,
            "word=a&limit=x": 422,
            "word=%00": 422,
        }.items():
            async with http.get(f"/query?{query}") as answer:
                assert answer.status == status
