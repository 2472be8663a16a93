"""docs/contract.md, "media-store": each row at both doors, on disk + SQLite and on S3 + PostgreSQL."""

from __future__ import annotations

import asyncio
import io
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
import pytest
from PIL import Image

from tests.support import pictures
from tests.support.postgres import fresh_database
from tests.support.s3 import SECRET_KEY, fresh_bucket
from tests.support.stack import Stack, running_stack

SHOP = "http://localhost:3000"
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def servers_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """media-store and what it needs, on S3 and PostgreSQL."""
    with (
        fresh_bucket(request.getfixturevalue("s3_server")) as bucket,
        fresh_database(request.getfixturevalue("postgres_server_url")) as database,
        running_stack(
            tmp_path_factory.mktemp("servers"),
            {**bucket.settings, "DATABASE_URL": database},
            "auth-verify", "media-store", "gateway",
        ) as whole,
    ):  # fmt: skip
        yield whole


@pytest.fixture(params=["embedded", "servers"], scope="module")
def kept(request: pytest.FixtureRequest) -> Stack:
    whole: Stack = request.getfixturevalue("stack" if request.param == "embedded" else "servers_stack")
    return whole


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes
    json: Any


@dataclass
class Api:
    """The contract's paths, at one door."""

    stack: Stack
    url: str
    http: aiohttp.ClientSession
    user: str

    def bearer(self, user: str = "", *, admin: bool = False) -> dict[str, str]:
        claims = {
            "sub": f"id-of-{user or self.user}",
            "username": user or self.user,
            "exp": int(time.time()) + 600,
            "iss": "keepsake",
            "aud": "keepsake",
            "roles": ["admin"] if admin else [],
        }
        return {"Authorization": f"Bearer {jwt.encode(claims, self.stack.settings['JWT_SECRET_KEY'], 'HS256')}"}

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        url = path if path.startswith("http") else self.url + path
        async with self.http.request(method, url, allow_redirects=False, **options) as answer:
            body = await answer.read()
            parsed = await answer.json() if "json" in answer.content_type and body else None
            return Answer(answer.status, answer.headers, body, parsed)

    async def upload(self, image: bytes | None = None, **fields: str) -> JSON:
        data = form(image or pictures.jpeg(), **{"username": self.user, "image_type": "gallery", **fields})
        answer = await self.call("POST", "/api/upload_user_image/", data=data, headers=self.bearer())
        assert answer.status == 200, answer.body
        body: JSON = answer.json
        return body

    async def organization(self) -> str:
        answer = await self.call(
            "POST", self.at_auth("/api/v1/organizations"), json={"name": "Org"}, headers=self.bearer()
        )
        assert answer.status == 201, answer.body
        return str(answer.json["id"])

    def at_auth(self, path: str) -> str:
        return self.stack.url("auth-verify") + path


@pytest.fixture(params=["gateway", "media-store"])
async def api(request: pytest.FixtureRequest, kept: Stack) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Api(kept, kept.url(request.param), http, f"user-{uuid4().hex[:8]}")


def form(
    image: bytes | None, filename: str = "cat.jpg", content_type: str = "image/jpeg", **fields: str
) -> aiohttp.FormData:
    data = aiohttp.FormData()
    if image is not None:
        data.add_field("image", io.BytesIO(image), filename=filename, content_type=content_type)
    for name, value in fields.items():
        data.add_field(name, value)
    return data


class TestStoreImage:
    async def test_keeps_an_image_that_anybody_can_fetch(self, api: Api) -> None:
        data = form(pictures.jpeg(), purpose="processed_comic", session_id="s-1", effect="comic")
        answer = await api.call("POST", "/store-image", data=data, headers={"Origin": SHOP})
        assert answer.status == 200
        assert {"url", "success", "key", "session_id", "width", "height", "size", "content_type"} <= set(answer.json)
        assert re.fullmatch(r"pet-images/s-1_processed_comic_\d{14}_[0-9a-f]{8}\.jpg", answer.json["key"])
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        got = await api.call("GET", answer.json["url"])
        assert (got.status, len(got.body), got.headers["Content-Type"]) == (200, answer.json["size"], "image/jpeg")
        assert got.headers["Cross-Origin-Resource-Policy"] == "cross-origin"

    async def test_refuses_as_the_row_says(self, api: Api) -> None:
        for data, status in (
            (form(None, purpose="original"), 400),
            (form(pictures.png(), purpose="thumbnail"), 400),
            (form(b""), 400),
            (form(pictures.html(), content_type="text/html"), 415),
            (form(pictures.heic(), "photo.heic", "image/heic"), 415),
            (form(pictures.truncated(pictures.jpeg(300, 200))), 422),
            (form(pictures.png_claiming(64_001, 1000)), 413),
            (form(bytes(10 * 2**20 + 1)), 413),
            (form(pictures.png(), session_id="s" * 129), 422),
        ):
            answer = await api.call("POST", "/store-image", data=data)
            assert answer.status == status, answer.body
            assert answer.json["error"] == answer.json["detail"]

    async def test_keeps_each_accepted_format_under_its_own_extension(self, api: Api) -> None:
        for image, extension in (
            (pictures.png(), "png"),
            (pictures.webp(), "webp"),
            (pictures.gif(), "gif"),
            (pictures.animated_gif(), "gif"),
            (pictures.with_metadata("JPEG"), "jpg"),
        ):
            answer = await api.call("POST", "/store-image/", data=form(image, "x.bin", "application/octet-stream"))
            assert answer.json["key"].endswith(f".{extension}")
            body = (await api.call("GET", answer.json["url"])).body
            assert pictures.SECRET.encode() not in body
            with Image.open(io.BytesIO(body)) as after, Image.open(io.BytesIO(image)) as before:
                assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()


class TestUserImages:
    async def test_are_uploaded_listed_chosen_and_deleted(self, api: Api) -> None:
        first = await api.upload(caption="<i>one</i>", is_primary="True")
        assert (first["success"], first["message"]) == (True, "Image uploaded successfully")
        second = (await api.upload(image_type="cover"))["image"]
        first = first["image"]
        listed = await api.call("GET", f"/api/user_images/{api.user}/")
        assert listed.json == {"success": True, "images": [second, first], "count": 2}
        chosen = await api.call("PUT", f"/api/user_image/{second['id']}/set_primary/", headers=api.bearer())
        assert chosen.json == {"success": True, "message": "Primary image updated successfully"}
        images = (await api.call("GET", f"/api/user_images/{api.user}")).json["images"]
        assert [image["is_primary"] for image in images] == [True, False]
        deleted = await api.call("POST", f"/api/user_image/{first['id']}/delete/", headers=api.bearer())
        assert deleted.json == {"success": True, "message": "Image deleted successfully"}
        again = await api.call("DELETE", f"/api/user_image/{first['id']}/delete/", headers=api.bearer())
        assert (again.status, again.json["error"]) == (404, "Image not found")
        assert (await api.call("GET", first["url"])).status == 404
        assert (await api.call("GET", f"/api/user_images/{api.user}/")).json["count"] == 1

    async def test_are_looked_through_and_taken_down_by_admins(self, api: Api) -> None:
        image, path = (await api.upload(caption="me"))["image"], "/api/admin/images/"
        query = {"username": api.user.upper(), "kind": "user", "limit": "1"}
        answer = await api.call("GET", path, params=query, headers=api.bearer("root", admin=True))
        assert answer.status == 200
        (shown,) = answer.json["images"]
        assert shown == {**image, "key": shown["key"], "kind": "user", "username": api.user}
        assert (await api.call("GET", path, headers=api.bearer())).status == 403
        assert (await api.call("GET", path)).status == 401
        taken = await api.call("DELETE", f"/media/{shown['key']}", headers=api.bearer("root", admin=True))
        assert taken.status == 200
        answer = await api.call("GET", path, params=query, headers=api.bearer("root", admin=True))
        assert answer.json["images"] == []

    async def test_belong_to_one_name_however_it_is_spelled(self, api: Api) -> None:
        name = f"José-{uuid4().hex[:8]}"
        spellings = [name, name.upper(), name.lower(), unicodedata.normalize("NFD", name)]
        account = {"email": f"{uuid4().hex}@example.org", "password": "correct horse bättery"}
        registered = await api.call("POST", api.at_auth("/api/auth/register"), json={"username": name, **account})
        assert (registered.status, registered.json["username"]) == (201, name)
        for spelling in spellings:
            password = unicodedata.normalize("NFD", account["password"])
            login = {"username": spelling, "password": password}
            token = (await api.call("POST", api.at_auth("/api/auth/login"), json=login)).json["access_token"]
            data = form(pictures.png(), username=spelling, image_type="profile", is_primary="true")
            headers = {"Authorization": f"Bearer {token}"}
            assert (await api.call("POST", "/api/upload_user_image/", data=data, headers=headers)).status == 200
        for spelling in spellings:
            images = (await api.call("GET", f"/api/user_images/{spelling}/")).json["images"]
            assert [image["is_primary"] for image in images] == [True, False, False, False]

    async def test_of_a_name_that_no_path_carries_are_refused(self, api: Api) -> None:
        for username in ("a..b", "{x}", "a/b", "a\\b", "a;b", "a%b", "a\u202eb"):
            data = form(pictures.png(), username=username, image_type="gallery")
            answer = await api.call("POST", "/api/upload_user_image/", data=data, headers=api.bearer(username))
            assert (answer.status, answer.json["code"]) == (400, "invalid_username"), username

    async def test_need_their_owners_token(self, api: Api) -> None:
        image = (await api.upload())["image"]
        data = {"username": api.user, "image_type": "gallery"}
        answer = await api.call("POST", "/api/upload_user_image/", data=form(pictures.png(), **data))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        for headers, status in ((api.bearer("somebody-else"), 403), (api.bearer("root", admin=True), 200)):
            answer = await api.call(
                "POST", "/api/upload_user_image/", data=form(pictures.png(), **data), headers=headers
            )
            assert answer.status == status
            answer = await api.call("POST", f"/api/user_image/{image['id']}/set_primary/", headers=headers)
            assert answer.status == status

    async def test_refuse_as_the_row_says(self, api: Api) -> None:
        for fields, status, error in (
            ({"image_type": ""}, 400, "Missing required fields"),
            ({"username": ""}, 400, "Missing required fields"),
            ({"image_type": "avatar"}, 400, None),
            ({"username": "a/b"}, 400, None),
            ({"caption": "x" * 1001}, 422, None),
        ):
            data = form(pictures.png(), **{"username": api.user, "image_type": "cover", **fields})
            answer = await api.call("POST", "/api/upload_user_image/", data=data, headers=api.bearer())
            assert answer.status == status, fields
            assert error in {None, answer.json["error"]}
        assert (await api.call("GET", f"/api/user_images/{api.user}/")).json == {
            "success": True,
            "images": [],
            "count": 0,
        }

    async def test_are_listed_page_by_page(self, api: Api) -> None:
        ids = [(await api.upload())["image"]["id"] for _ in range(3)]
        first = (await api.call("GET", f"/api/user_images/{api.user}/?limit=2")).json
        rest = (await api.call("GET", f"/api/user_images/{api.user}/?limit=2&cursor={first['next_cursor']}")).json
        assert [image["id"] for image in first["images"] + rest["images"]] == ids[::-1]
        assert "next_cursor" not in rest
        assert (await api.call("GET", f"/api/user_images/{api.user}/?limit=0")).status == 422

    async def test_one_is_primary_however_many_choose_at_once(self, api: Api) -> None:
        ids = [(await api.upload(is_primary="true"))["image"]["id"] for _ in range(3)]
        choose = [
            api.call("POST", f"/api/user_image/{ids[number % 3]}/set_primary/", headers=api.bearer())
            for number in range(30)
        ]
        assert {answer.status for answer in await asyncio.gather(*choose)} == {200}
        images = (await api.call("GET", f"/api/user_images/{api.user}/")).json["images"]
        assert sum(image["is_primary"] for image in images) == 1


class TestServing:
    async def test_speaks_of_caches_ranges_and_safety(self, api: Api) -> None:
        image = (await api.upload(pictures.saved(pictures.noise(400, 300), "PNG")))["image"]
        for path in (f"/api/user_image/{image['id']}/serve/", image["url"]):
            got = await api.call("GET", path)
            assert (got.status, len(got.body)) == (200, image["size_bytes"])
            assert got.headers["Content-Disposition"].startswith("inline; filename=")
            assert got.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert "sandbox" in got.headers["Content-Security-Policy"]
            assert got.headers["X-Content-Type-Options"] == "nosniff"
            head = await api.call("HEAD", path)
            assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(got.body)))
            assert (await api.call("GET", path, headers={"If-None-Match": got.headers["ETag"]})).status == 304
            assert (
                await api.call("GET", path, headers={"If-Modified-Since": got.headers["Last-Modified"]})
            ).status == 304
            part = await api.call("GET", path, headers={"Range": "bytes=-10"})
            assert (part.status, part.body) == (206, got.body[-10:])
            assert (await api.call("GET", path, headers={"Range": "bytes=99999999-"})).status == 416

    async def test_makes_renditions(self, api: Api) -> None:
        image = (await api.upload(pictures.jpeg(800, 600)))["image"]
        for accept, kind in (("image/webp,*/*", "WEBP"), ("image/jpeg", "JPEG")):
            got = await api.call("GET", f"{image['url']}?w=320", headers={"Accept": accept})
            assert got.status == 200
            with Image.open(io.BytesIO(got.body)) as made:
                assert (made.format, made.size) == (kind, (320, 240))
        assert (await api.call("GET", f"{image['url']}?w=321")).status == 422

    async def test_hides_what_is_not_public(self, api: Api) -> None:
        for key in ("uploads/x.jpg", "checkouts/x.jpg", "renditions/x/y.webp", "pet-images/absent.jpg", "x"):
            answer = await api.call("GET", f"/media/{key}")
            assert (answer.status, answer.json["error"]) == (404, "Image not found")

    async def test_lets_admins_delete(self, api: Api) -> None:
        url = (await api.call("POST", "/store-image", data=form(pictures.png()))).json["url"]
        for headers, status in (
            (None, 401),
            (api.bearer(), 403),
            (api.bearer(admin=True), 200),
            (api.bearer(admin=True), 404),
        ):
            assert (await api.call("DELETE", url, headers=headers)).status == status


class TestOrganizations:
    async def test_a_presigned_form_uploads_and_promotes(self, api: Api) -> None:
        organization = await api.organization()
        path = f"/api/v1/organizations/{organization}"
        wanted = {"content_type": "image/jpeg", "filename": "event-banner.jpg"}
        signed = (await api.call("POST", f"{path}/temp-image-upload", json=wanted, headers=api.bearer())).json
        assert {"url", "fields", "s3_key", "public_url", "method", "headers", "expires_at"} <= set(signed)
        assert re.fullmatch(rf"temp/{organization}/[0-9a-f-]{{36}}-event-banner\.jpg", signed["s3_key"])

        async def send(image: bytes, **changed: str) -> Answer:
            data = aiohttp.FormData()
            for name, value in {**signed["fields"], **changed}.items():
                data.add_field(name, value)
            data.add_field("file", io.BytesIO(image), filename="event-banner.jpg", content_type="image/jpeg")
            return await api.call("POST", signed["url"], data=data)

        for answer, status in (
            (await send(pictures.jpeg(), **{"Content-Type": "text/html"}), 403),
            (await send(pictures.jpeg(), key=f"events/{organization}/x.jpg"), 403),
            (await send(b""), 400),
            (await send(bytes(10 * 2**20 + 1)), 400),
        ):
            assert answer.status == status, answer.body
            assert b"<Code>" in answer.body
        assert (await api.call("GET", signed["public_url"])).status == 404
        assert (await send(pictures.with_metadata("JPEG"))).status == 204
        assert (await api.call("GET", signed["public_url"])).status == 200
        body = {"s3_key": signed["s3_key"], "purpose": "events"}
        promoted = [await api.call("POST", f"{path}/images/promote", json=body, headers=api.bearer()) for _ in range(2)]
        assert [answer.status for answer in promoted] == [200, 200]
        assert promoted[0].body == promoted[1].body
        assert promoted[0].json["key"].startswith(f"events/{organization}/")
        assert (await api.call("GET", promoted[0].json["url"])).status == 200
        moved = await api.call("GET", signed["public_url"])
        assert (moved.status, moved.headers["Location"]) == (307, f"/media/{promoted[0].json['key']}")
        body["purpose"] = "banners"
        assert (await api.call("POST", f"{path}/images/promote", json=body, headers=api.bearer())).status == 422

    async def test_refusals_follow_the_table(self, api: Api) -> None:
        organization = await api.organization()
        good = {"content_type": "image/png", "filename": "a.png"}
        for body, headers, status in (
            (good, None, 401),
            (good, api.bearer("stranger"), 403),
            ({**good, "content_type": "image/gif"}, api.bearer(), 400),
            ({**good, "filename": ""}, api.bearer(), 400),
            ({**good, "size": 10 * 2**20 + 1}, api.bearer(), 413),
        ):
            path = f"/api/v1/organizations/{organization}/temp-image-upload"
            assert (await api.call("POST", path, json=body, headers=headers)).status == status
        path = f"/api/v1/organizations/{uuid4()}/temp-image-upload"
        assert (await api.call("POST", path, json=good, headers=api.bearer())).status == 403

    async def test_a_put_is_signed_where_the_bucket_takes_one(self, api: Api) -> None:
        organization, image = await api.organization(), pictures.png()
        wanted = {"content_type": "image/png", "filename": "a.png", "method": "PUT", "size": len(image)}
        path = f"/api/v1/organizations/{organization}/temp-image-upload"
        signed = (await api.call("POST", path, json=wanted, headers=api.bearer())).json
        if api.stack.settings.get("STORAGE_BACKEND") != "s3":
            assert signed["method"] == "POST"
            return
        assert (signed["method"], signed["fields"]) == ("PUT", {})
        assert (await api.call("PUT", signed["url"], data=image + b"x", headers=signed["headers"])).status == 403
        assert (await api.call("PUT", signed["url"], data=image, headers=signed["headers"])).status == 200
        assert (await api.call("GET", signed["public_url"])).body == image


async def test_an_avif_becomes_a_jpeg_with_a_placeholder(api: Api) -> None:
    stored = await api.call("POST", "/store-image", data=form(pictures.avif(), "a.avif", "image/avif"))
    for answer in (stored.json, (await api.upload(pictures.avif()))["image"]):
        assert (answer["converted_from"], answer["width"], answer["height"]) == ("avif", 64, 48)
        assert answer["placeholder"]
        got = await api.call("GET", answer["url"])
        assert (got.status, got.headers["Content-Type"], got.body[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")


async def test_admins_can_ask_about_the_storage_and_try_it(api: Api) -> None:
    for headers, status in ((None, 401), (api.bearer(), 403), (api.bearer(admin=True), 200)):
        assert (await api.call("GET", "/api/debug/r2-status/", headers=headers)).status == status
        assert (await api.call("POST", "/api/test-r2-storage/", headers=headers)).status == status
    answer = await api.call("GET", "/api/debug/r2-status/", headers=api.bearer(admin=True))
    assert answer.json["backend"] == api.stack.settings.get("STORAGE_BACKEND", "local")
    assert SECRET_KEY.encode() not in answer.body
    answer = await api.call("POST", "/api/test-r2-storage/", headers=api.bearer(admin=True))
    assert answer.json["success"] is True
    assert [step["step"] for step in answer.json["steps"]] == ["write", "read", "compare", "delete"]
