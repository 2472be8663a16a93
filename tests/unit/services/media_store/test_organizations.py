from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from services.media_store.settings import MediaStoreSettings
from tests.support import pictures
from tests.unit.services.media_store.store import (
    ORGANIZATION,
    Answer,
    Store,
    bearer,
    open_store,
    settings_of,
)

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
OTHER = "9d3c1b62-0000-4f0e-8d36-0d6d3f0e7c11"
PATH = f"/api/v1/organizations/{ORGANIZATION}"


def code_of(answer: Answer) -> str | None:
    found = re.search(rb"<Code>(\w+)</Code>", answer.body)
    return found[1].decode() if found else None


async def test_a_member_gets_a_form_that_a_browser_can_send(store: Store) -> None:
    answer = await store.sign(filename="../ban ner/Ev énts!.JPG")
    assert answer.status == 200
    signed = answer.json
    assert {"url", "fields", "s3_key", "public_url", "method", "headers", "expires_at"} == set(signed)
    assert re.fullmatch(rf"temp/{ORGANIZATION}/{UUID}-Ev__nts_\.JPG", signed["s3_key"])
    assert signed["fields"]["key"] == signed["s3_key"]
    assert signed["fields"]["Content-Type"] == "image/jpeg"
    assert (signed["method"], signed["headers"]) == ("POST", {})
    assert signed["public_url"] == f"{store.settings.public_url}/media/{signed['s3_key']}"
    left = datetime.fromisoformat(signed["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=290) < left <= timedelta(seconds=300)
    sent = await store.send(signed, pictures.jpeg())
    assert (sent.status, sent.body) == (204, b"")
    assert sent.headers["ETag"]
    assert (await store.call("GET", signed["public_url"])).body == pictures.jpeg()


async def test_where_the_bucket_takes_no_forms_the_url_is_our_own(local: Store) -> None:
    signed = (await local.sign()).json
    assert signed["url"] == f"{local.settings.public_url}/media/"
    assert signed["url"] + signed["s3_key"] == signed["public_url"]


NO_STRINGS: tuple[Any, ...] = (None, 1, True, [], {}, ["image/png"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content_type": "image/gif"}, 400),
        ({"content_type": "text/html"}, 400),
        ({"content_type": ""}, 400),
        *(({field: value}, 400) for field in ("content_type", "filename") for value in NO_STRINGS),
        ({"filename": None, "size": "5"}, 400),
        ({"filename": ""}, 400),
        ({"filename": "folder/"}, 400),
        ({"filename": "x" * 256}, 400),
        ({"filename": "a\nb.jpg"}, 400),
        ({"size": 10 * 2**20 + 1}, 413),
        ({"size": 0}, 422),
        ({"size": "5"}, 422),
        ({"method": "PATCH"}, 422),
        ({"size": 10 * 2**20}, 200),
        ({"filename": "x" * 255}, 200),
        ({"method": "PUT", "size": 5}, 200),
    ],
)
async def test_what_may_be_signed(local: Store, body: dict[str, Any], status: int) -> None:
    assert (await local.sign(**body)).status == status


async def test_only_members_sign_and_promote(store: Store) -> None:
    for path, body in (
        ("/temp-image-upload", {"content_type": "image/jpeg", "filename": "a.jpg"}),
        ("/images/promote", {"s3_key": f"temp/{ORGANIZATION}/x", "purpose": "events"}),
    ):
        for organization in (ORGANIZATION, OTHER, "x" * 100, "a%2Fb", "é"):
            whole = f"/api/v1/organizations/{organization}{path}"
            assert (await store.call("POST", whole, json=body)).status == 401
            assert (await store.call("POST", whole, json=body, headers=bearer("stranger"))).status == 403
        assert (await store.call("POST", f"{PATH}{path}", json={}, headers=bearer())).status == 400
        assert (await store.call("POST", f"{PATH}{path}", data=b"x", headers=bearer())).status == 400


async def test_membership_is_remembered_and_its_absence_is_not(local: Store) -> None:
    for _ in range(3):
        assert (await local.sign()).status == 200
    assert local.auth_verify.asked == 1
    assert (await local.sign("bob")).status == 403
    local.auth_verify.members[ORGANIZATION, "bob"] = "owner"
    assert (await local.sign("bob")).status == 200


async def test_a_user_id_may_have_any_printable_character(local: Store) -> None:
    local.auth_verify.members[ORGANIZATION, "a/b?c#d%2F"] = "member"
    assert (await local.sign("a/b?c#d%2F")).status == 200


async def test_without_auth_verify_the_answer_is_a_clear_503(tmp_path) -> None:
    async with open_store(settings_of(tmp_path), auth_url="http://127.0.0.1:1") as store:
        answer = await store.sign()
        assert (answer.status, answer.json["code"]) == (503, "auth_verify_unavailable")
        assert answer.headers["Retry-After"]


@pytest.mark.parametrize("backend", ["local", "r2"])
class TestOurOwnForm:
    @pytest.fixture
    async def store(self, backend: str, request: pytest.FixtureRequest, tmp_path):
        settings = settings_of(tmp_path) if backend == "local" else request.getfixturevalue("r2_settings")
        async with open_store(settings) as running:
            yield running

    async def test_it_is_received_as_s3_does(self, store: Store) -> None:
        signed = (await store.sign()).json
        assert signed["url"] == f"{store.settings.public_url}/media/"
        sent = await store.send(signed, pictures.jpeg())
        assert (sent.status, sent.body, sent.headers["Location"]) == (204, b"", signed["public_url"])
        got = await store.call("GET", signed["public_url"])
        assert (got.status, got.body, got.headers["Content-Type"]) == (200, pictures.jpeg(), "image/jpeg")
        assert got.headers["ETag"] == sent.headers["ETag"]

    async def test_a_tampered_form_is_refused_in_s3s_words_and_leaves_nothing(self, store: Store) -> None:
        signed = (await store.sign()).json
        before = await store.everything()
        for changed, status, code in (
            ({"key": signed["s3_key"].replace("temp/", "events/")}, 403, "AccessDenied"),
            ({"key": None}, 400, "InvalidArgument"),
            ({"Content-Type": "text/html"}, 403, "AccessDenied"),
            ({"Content-Type": None}, 403, "AccessDenied"),
            ({"policy": signed["fields"]["policy"][:-4] + "AAAA"}, 403, "SignatureDoesNotMatch"),
            ({"x-amz-signature": "0" * 64}, 403, "SignatureDoesNotMatch"),
            ({"x-amz-credential": "AKIA/20260101/local/s3/aws4_request"}, 400, "InvalidArgument"),
            ({"acl": "public-read"}, 403, "AccessDenied"),
            ({"success_action_redirect": "https://evil.example/"}, 403, "AccessDenied"),
        ):
            answer = await store.send(signed, pictures.jpeg(), **changed)
            assert (answer.status, code_of(answer)) == (status, code), changed
            assert answer.headers["Content-Type"] == "application/xml"
        for image, code in ((b"", "EntityTooSmall"), (bytes(10 * 2**20 + 1), "EntityTooLarge")):
            answer = await store.send(signed, image)
            assert (answer.status, code_of(answer)) == (400, code)
        assert await store.everything() == before


async def test_an_expired_form_is_refused(tmp_path) -> None:
    async with open_store(settings_of(tmp_path), clock=lambda: datetime.now(UTC) - timedelta(seconds=301)) as store:
        answer = await store.send((await store.sign()).json, pictures.jpeg())
        assert (answer.status, code_of(answer)) == (403, "AccessDenied")


async def test_the_files_part_needs_no_file_name(local: Store) -> None:
    signed, photo = (await local.sign()).json, pictures.jpeg()
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in signed["fields"].items():
        data.add_field(name, value)
    data.add_field("file", photo.decode("latin-1"), content_type="text/plain; charset=latin-1")
    answer = await local.call("POST", "/media/", data=data)
    assert answer.status == 204, answer.body
    assert (await local.call("GET", signed["public_url"])).body == photo


async def test_fields_behind_the_file_do_not_count(local: Store) -> None:
    signed = (await local.sign()).json
    data = aiohttp.FormData()
    data.add_field("file", b"x", filename="x.jpg")
    for name, value in signed["fields"].items():
        data.add_field(name, value)
    answer = await local.call("POST", "/media/", data=data)
    assert (answer.status, code_of(answer)) == (400, "InvalidArgument")
    for body in (b"", b"not a form"):
        answer = await local.call(
            "POST", "/media/", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
        assert (answer.status, code_of(answer)) == (400, "MalformedPOSTRequest")


async def test_in_front_of_s3_our_own_form_is_not_taken(s3_store: Store) -> None:
    answer = await s3_store.call("POST", "/media/", data=b"")
    assert (answer.status, code_of(answer)) == (405, "MethodNotAllowed")
    assert "Allow" in answer.headers


async def test_the_bucket_takes_a_put_of_exactly_what_was_signed(s3_store: Store) -> None:
    image = pictures.jpeg()
    signed = (await s3_store.sign(method="PUT", size=len(image))).json
    assert (signed["method"], signed["fields"]) == ("PUT", {})
    for body, content_type, fine in (
        (image + b"x", "image/jpeg", False),
        (image, "text/html", False),
        (image, "image/jpeg", True),
    ):
        headers = {**signed["headers"], "Content-Type": content_type}
        async with s3_store.http.put(signed["url"], data=body, headers=headers) as answer:
            assert (answer.status == 200) is fine
    assert (await s3_store.call("GET", signed["public_url"])).body == image
    assert (await s3_store.sign(method="PUT")).status == 400


async def test_what_is_no_image_is_only_handed_out_as_a_download(store: Store) -> None:
    signed = await store.send_temporary(pictures.html())
    answer = await store.call("GET", signed["public_url"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "immutable" not in answer.headers["Cache-Control"]
    assert (await store.call("GET", signed["public_url"] + "?w=160")).status == 415
    signed = await store.send_temporary(pictures.gif(), content_type="image/png")
    assert (await store.call("GET", signed["public_url"])).headers["Content-Type"] == "image/gif"
    assert (await store.call("GET", signed["public_url"] + "?w=160")).headers["Content-Type"] == "image/jpeg"
    huge = await store.send_temporary(pictures.png_claiming(30000, 30000))
    assert (await store.call("GET", huge["public_url"] + "?w=160")).status == 413


async def test_a_promoted_upload_is_checked_stripped_and_found_at_both_addresses(store: Store) -> None:
    signed = await store.send_temporary(pictures.with_metadata("PNG"), filename="Summer Party.jpeg")
    answer = await store.promote(signed["s3_key"])
    assert answer.status == 200, answer.body
    body = answer.json
    assert set(body) == {"url", "key", "width", "height", "size", "content_type", "placeholder"}
    assert re.fullmatch(rf"events/{ORGANIZATION}/{UUID}-Summer_Party\.png", body["key"])
    got = await store.call("GET", body["url"])
    assert (got.status, len(got.body), got.headers["Content-Type"]) == (200, body["size"], "image/png")
    assert pictures.SECRET.encode() not in got.body
    old = await store.call("GET", signed["public_url"] + "?w=160")
    assert (old.status, old.headers["Location"]) == (307, f"/media/{body['key']}?w=160")
    assert old.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert (await store.call("HEAD", signed["public_url"])).headers["Location"] == f"/media/{body['key']}"


async def test_promoting_twice_or_at_once_is_the_same_answer(store: Store) -> None:
    signed = await store.send_temporary(pictures.jpeg())
    answers = await asyncio.gather(*(store.promote(signed["s3_key"]) for _ in range(6)))
    answers.append(await store.promote(signed["s3_key"]))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    objects, rows, spooled = await store.everything()
    assert sorted(objects) == sorted([answers[0].json["key"], signed["s3_key"]])
    assert (len(rows), spooled) == (1, [])


async def test_what_is_not_this_organizations_upload_is_not_found(store: Store) -> None:
    uuid = "0b0e7c52-9b6f-4f0e-8d36-0d6d3f0e7c11"
    for key in (
        f"temp/{OTHER}/{uuid}-cat.jpg",
        f"temp/{ORGANIZATION}/{uuid}-absent.jpg",
        f"temp/{ORGANIZATION}/cat.jpg",
        f"temp/{ORGANIZATION}/../{OTHER}/{uuid}-cat.jpg",
        f"events/{ORGANIZATION}/{uuid}-cat.jpg",
        "",
        "x" * 5000,
    ):
        answer = await store.promote(key)
        assert (answer.status, answer.json["error"]) == (404, "Image not found"), key
    assert (await store.promote("x", purpose="banners")).status == 422


async def test_what_may_not_be_promoted_leaves_nothing(store: Store) -> None:
    for image, status in (
        (pictures.html(), 415),
        (pictures.heic(), 415),
        (pictures.truncated(pictures.jpeg()), 422),
        (pictures.png_claiming(30000, 30000), 413),
    ):
        signed = await store.send_temporary(image)
        before = await store.everything()
        assert (await store.promote(signed["s3_key"])).status == status
        assert await store.everything() == before
        assert (await store.call("GET", signed["public_url"])).status == 200


async def test_a_promoted_image_is_deleted_with_its_upload(store: Store) -> None:
    signed = await store.send_temporary(pictures.jpeg())
    url = (await store.promote(signed["s3_key"])).json["url"]
    assert (await store.call("DELETE", url, headers=bearer(admin=True))).status == 200
    assert (await store.call("GET", signed["public_url"])).status == 404
    assert (await store.promote(signed["s3_key"])).status == 404
    assert await store.everything() == ([], [], [])


async def test_deleting_a_promoted_upload_leaves_what_it_became(store: Store) -> None:
    signed = await store.send_temporary(pictures.jpeg())
    promoted = (await store.promote(signed["s3_key"])).json
    for status in (200, 404):
        answer = await store.call("DELETE", signed["public_url"], headers=bearer(admin=True))
        assert answer.status == status
    assert (await store.call("GET", signed["public_url"])).status == 404
    assert (await store.call("GET", promoted["url"])).status == 200
    assert (await store.promote(signed["s3_key"])).status == 404
    objects, rows, _ = await store.everything()
    assert (objects, len(rows)) == ([promoted["key"]], 1)


async def test_public_addresses_are_the_cdns_where_there_is_one(r2_settings: MediaStoreSettings) -> None:
    async with open_store(r2_settings.model_copy(update={"r2_public_domain": "pub.example"})) as store:
        signed = await store.send_temporary(pictures.jpeg())
        assert signed["public_url"] == f"https://pub.example/{signed['s3_key']}"
        promoted = (await store.promote(signed["s3_key"])).json
        assert promoted["url"] == f"https://pub.example/{promoted['key']}"
        put = (await store.sign(method="PUT", size=9)).json
        assert put["method"] == "PUT"
        assert put["url"].startswith(f"{r2_settings.s3_endpoint_url}/{r2_settings.r2_bucket_name}/temp/")


async def test_an_admin_deletes_a_temporary_upload_with_its_renditions(store: Store) -> None:
    signed = await store.send_temporary(pictures.jpeg())
    await store.call("GET", signed["public_url"] + "?w=160")
    for status in (200, 404):
        answer = await store.call("DELETE", signed["public_url"], headers=bearer(admin=True))
        assert answer.status == status
    assert await store.everything() == ([], [], [])
