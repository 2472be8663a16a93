from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from structlog.testing import capture_logs
from yarl import URL

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from shared.app.middleware import LIFECYCLE
from shared.auth.access_tokens import sign_service_token
from tests.support import pictures
from tests.support.serving import ServeApp
from tests.unit.services.temp_image.stores import eventually

SECRET = "between-services-" * 3
RETRIEVE = "/api/temp-image-retrieve"
IMAGE = pictures.jpeg()
LARGE = pictures.of_bytes(3_000_000)

Token = Callable[..., dict[str, str]]


@pytest.fixture(params=["disk", "redis"])
async def base_url(request: pytest.FixtureRequest, tmp_path: Path, serve_app: ServeApp) -> str:
    settings = TempImageSettings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=request.getfixturevalue("redis_url") if request.param == "redis" else "",
        jwt_secret_key="for-tests-only-" * 3,
        internal_secret=SECRET,
    )
    return await serve_app(build_app(settings))


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url) as session:
        yield session


def token(caller: str = "gateway", audience: str = "temp-image", secret: str = SECRET) -> str:
    return sign_service_token(secret, caller=caller, audience=audience)


def bearer(caller: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(caller)}"}


async def test_a_process_that_is_stopping_still_settles_the_claims_of_its_deliveries(
    tmp_path: Path, serve_app: ServeApp
) -> None:
    settings = TempImageSettings(
        _env_file=None, data_dir=tmp_path, jwt_secret_key="for-tests-only-" * 3, internal_secret=SECRET, redis_url=""
    )
    app = build_app(settings)
    async with aiohttp.ClientSession(await serve_app(app)) as http:
        image_id = await upload(http, IMAGE)
        async with http.get(RETRIEVE, params={"imageId": image_id}, headers={"X-Keepsake-Gateway": token()}) as answer:
            claim = answer.headers["X-Keepsake-Claim"]
            assert await answer.read() == IMAGE
        app[LIFECYCLE].stop()
        async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
            assert answer.status == 503
        async with http.post(f"/internal/claims/{image_id}/{claim}/confirm", headers=bearer("gateway")) as answer:
            assert answer.status == 204


async def upload(http: aiohttp.ClientSession, image: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("image", BytesIO(image), filename="cat.jpg")
    async with http.post("/api/temp-image-upload", data=form) as answer:
        return str((await answer.json())["imageId"])


async def retrieve(http: aiohttp.ClientSession, image_id: str) -> tuple[int, bytes]:
    async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
        return answer.status, await answer.read()


async def retrieve_for_gateway(http: aiohttp.ClientSession, image_id: str) -> tuple[str, bytes]:
    headers = {"X-Keepsake-Gateway": token()}
    async with http.get(RETRIEVE, params={"imageId": image_id}, headers=headers) as answer:
        assert answer.status == 200
        return answer.headers["X-Keepsake-Claim"], await answer.read()


async def ask_as_gateway(base_url: str, image_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for an image on a connection that takes little of it unasked."""
    url = URL(base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(
        f"GET {RETRIEVE}?imageId={image_id} HTTP/1.1\r\nHost: x\r\nX-Keepsake-Gateway: {token()}\r\n\r\n".encode()
    )
    return reader, writer


class TestTheGatewaysClaim:
    @pytest.fixture
    def settle(self, http: aiohttp.ClientSession) -> Callable[..., Any]:
        async def settle(image_id: str, claim: str, how: str) -> int:
            path = f"/internal/claims/{image_id}/{claim}/{how}"
            async with http.post(path, headers=bearer("gateway")) as answer:
                return answer.status

        return settle

    @pytest.mark.parametrize("image", [IMAGE, LARGE], ids=["small", "large"])
    async def test_stands_until_it_is_confirmed(
        self, http: aiohttp.ClientSession, settle: Callable[..., Any], image: bytes
    ) -> None:
        image_id = await upload(http, image)
        claim, sent = await retrieve_for_gateway(http, image_id)
        assert sent == image
        assert (await retrieve(http, image_id))[0] == 404
        assert await settle(image_id, claim, "renew") == 204
        assert await settle(image_id, claim, "confirm") == 204
        assert await settle(image_id, claim, "confirm") == 404
        assert (await retrieve(http, image_id))[0] == 404

    async def test_gives_the_image_back_when_it_is_released(
        self, http: aiohttp.ClientSession, settle: Callable[..., Any]
    ) -> None:
        image_id = await upload(http, IMAGE)
        claim, _ = await retrieve_for_gateway(http, image_id)
        assert await settle(image_id, claim, "release") == 204
        assert await retrieve(http, image_id) == (200, IMAGE)
        assert await settle(image_id, claim, "release") == 404

    @pytest.mark.parametrize("how", ["confirm", "release", "renew"])
    async def test_another_claim_settles_nothing(
        self, http: aiohttp.ClientSession, settle: Callable[..., Any], how: str
    ) -> None:
        image_id = await upload(http, IMAGE)
        claim, _ = await retrieve_for_gateway(http, image_id)
        for wrong in (uuid4().hex, "x", claim.upper() + "0"):
            assert await settle(image_id, wrong, how) == 404
            assert await settle(wrong, claim, how) == 404
        assert await settle(image_id, claim, "renew") == 204

    async def test_that_the_gateway_releases_before_it_goes_away_is_no_fault(
        self, base_url: str, http: aiohttp.ClientSession, settle: Callable[..., Any]
    ) -> None:
        image_id = await upload(http, LARGE)
        reader, writer = await ask_as_gateway(base_url, image_id)
        claim = (await reader.readuntil(b"\r\n\r\n")).partition(b"X-Keepsake-Claim: ")[2].partition(b"\r\n")[0]
        with capture_logs() as lines:
            assert await settle(image_id, claim.decode(), "release") == 204
            writer.transport.abort()
            await eventually(lambda: "claim_ended_before" in {line["event"] for line in lines})
        assert {line["log_level"] for line in lines} == {"info"}

    async def test_is_released_when_the_gateway_goes_away_while_it_is_sent(
        self, base_url: str, http: aiohttp.ClientSession
    ) -> None:
        image_id = await upload(http, LARGE)
        reader, writer = await ask_as_gateway(base_url, image_id)
        await reader.readexactly(1000)
        writer.transport.abort()
        for _ in range(400):
            status, sent = await retrieve(http, image_id)
            if status == 200:
                break
            await asyncio.sleep(0.05)
        assert sent == LARGE

    @pytest.mark.parametrize(
        "forged", [token(caller="checkout"), token(audience="checkout"), token(secret="a" * 40), "none", ""]
    )
    async def test_is_not_given_to_anybody_else(self, http: aiohttp.ClientSession, forged: str) -> None:
        image_id = await upload(http, IMAGE)
        headers = {"X-Keepsake-Gateway": forged}
        async with http.get(RETRIEVE, params={"imageId": image_id}, headers=headers) as answer:
            assert answer.status == 401
        async with http.get(RETRIEVE, params={"imageId": image_id}) as answer:
            assert "X-Keepsake-Claim" not in answer.headers
            assert answer.status == 200


class Checkout:
    """The calls that checkout makes."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def hold(self, image_id: str, holder: str = "cs_test_1", hours: float = 2, **body: Any) -> tuple[int, Any]:
        until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        path = f"/internal/holds/{image_id}/{holder}"
        async with self._http.put(path, json=body or {"until": until}, headers=bearer("checkout")) as answer:
            return answer.status, await answer.json()

    async def release_hold(self, image_id: str, holder: str = "cs_test_1") -> int:
        async with self._http.delete(f"/internal/holds/{image_id}/{holder}", headers=bearer("checkout")) as answer:
            return answer.status

    async def read(self, image_id: str, holder: str = "cs_test_1") -> tuple[int, str, bytes]:
        path = f"/internal/holds/{image_id}/{holder}/bytes"
        async with self._http.get(path, headers=bearer("checkout")) as answer:
            return answer.status, answer.content_type, await answer.read()


class TestHolding:
    @pytest.fixture
    def checkout(self, http: aiohttp.ClientSession) -> Checkout:
        return Checkout(http)

    @pytest.mark.parametrize("image", [IMAGE, LARGE], ids=["small", "large"])
    async def test_the_bytes_outlive_the_retrieve_until_they_are_let_go(
        self, http: aiohttp.ClientSession, checkout: Checkout, image: bytes
    ) -> None:
        image_id = await upload(http, image)
        assert await checkout.hold(image_id) == (200, {"content_type": "image/jpeg", "size": len(image)})
        assert await checkout.read(image_id) == (200, "image/jpeg", image)
        assert await retrieve(http, image_id) == (200, image)
        assert (await retrieve(http, image_id))[0] == 404
        assert await checkout.read(image_id) == (200, "image/jpeg", image)
        assert (await checkout.hold(image_id, hours=3))[0] == 200
        assert (await checkout.hold(image_id, holder="cs_test_2"))[0] == 404
        assert await checkout.release_hold(image_id) == 204
        assert (await checkout.read(image_id))[0] == 404
        assert (await checkout.hold(image_id))[0] == 404

    async def test_letting_go_of_nothing_is_done_at_once(self, http: aiohttp.ClientSession, checkout: Checkout) -> None:
        assert await checkout.release_hold(await upload(http, IMAGE)) == 204
        assert await checkout.release_hold(uuid4().hex) == 204

    @pytest.mark.parametrize("image_id", ["0" * 32, "A" * 32, "x", "..%2f" * 4])
    async def test_what_is_not_there_cannot_be_held(self, checkout: Checkout, image_id: str) -> None:
        assert (await checkout.hold(image_id))[0] == 404
        assert (await checkout.read(image_id))[0] == 404

    @pytest.mark.parametrize("holder", ["a.b", "..", "a%2fb", "x" * 201])
    async def test_a_holder_has_a_plain_name(
        self, http: aiohttp.ClientSession, checkout: Checkout, holder: str
    ) -> None:
        image_id = await upload(http, IMAGE)
        assert (await checkout.hold(image_id, holder))[0] == 404

    @pytest.mark.parametrize(
        ("until", "status"),
        [
            ("2001-01-01T00:00:00Z", 422),
            ("2101-01-01T00:00:00", 422),
            ("soon", 422),
            (None, 422),
            ("9999-12-31T23:59:59Z", 200),
        ],
    )
    async def test_a_hold_ends_at_a_moment_to_come(
        self, http: aiohttp.ClientSession, checkout: Checkout, until: str | None, status: int
    ) -> None:
        assert (await checkout.hold(await upload(http, IMAGE), until=until))[0] == status

    async def test_a_hold_names_its_end(self, http: aiohttp.ClientSession, checkout: Checkout) -> None:
        assert (await checkout.hold(await upload(http, IMAGE), other=1))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/internal/claims/{id}/{id}/confirm"),
        ("POST", "/internal/claims/{id}/{id}/release"),
        ("POST", "/internal/claims/{id}/{id}/renew"),
        ("PUT", "/internal/holds/{id}/cs_1"),
        ("DELETE", "/internal/holds/{id}/cs_1"),
        ("GET", "/internal/holds/{id}/cs_1/bytes"),
    ],
)
async def test_strangers_are_refused(http: aiohttp.ClientSession, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": f"Bearer {token(secret='a' * 40)}"}):
        async with http.request(method, path.format(id=uuid4().hex), headers=headers) as answer:
            assert answer.status == 401
