from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.media_store.adapters.sql.tables import IMAGES
from tests.support import pictures
from tests.unit.services.media_store.store import Store, bearer, form, open_store, settings_of

ABSENT = "00000000-0000-4000-8000-000000000000"


async def test_an_uploaded_image_is_described_and_listed(store: Store) -> None:
    caption = "  <b>me</b> & you " + "\r\n" * 982
    image = await store.upload(pictures.jpeg(64, 48), caption=caption, is_primary="TRUE")
    assert set(image) == {
        "id", "url", "image_type", "is_primary", "caption", "uploaded_at", "width", "height", "size_bytes", "mime_type",
        "placeholder",
    }  # fmt: skip
    assert (image["width"], image["height"], image["mime_type"]) == (64, 48, "image/jpeg")
    assert (image["is_primary"], image["caption"], image["image_type"]) == (True, caption, "gallery")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", image["uploaded_at"])
    moment = int(datetime.fromisoformat(image["uploaded_at"]).timestamp() * 1_000_000)
    found = re.fullmatch(r".*/media/users/ann/images/gallery_(\d{16})\.jpg", image["url"])
    assert found
    assert abs(int(found[1]) - moment) <= 1
    assert await store.listed() == {"success": True, "images": [image], "count": 1}


@pytest.mark.parametrize("missing", ["username", "image", "image_type"])
async def test_a_missing_field_is_named_as_the_source_does(local: Store, missing: str) -> None:
    fields = {"username": "ann", "image_type": "gallery"}
    fields.pop(missing, None)
    data = form(None if missing == "image" else pictures.png(), **fields)
    answer = await local.call("POST", "/api/upload_user_image", data=data, headers=bearer())
    assert (answer.status, answer.json["error"]) == (400, "Missing required fields")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"image_type": "avatar"}, 400),
        ({"username": ".ann"}, 400),
        ({"username": "a/b"}, 400),
        ({"username": "a%b"}, 400),
        ({"username": "a\x1fb"}, 400),
        ({"username": "a..b"}, 400),
        ({"username": "{x}"}, 400),
        ({"username": "a;b"}, 400),
        ({"username": "a\u202eb"}, 400),
        ({"username": "a\uff0fb"}, 400),  # a slash after NFKC
        ({"username": "\ufdfa" * 150}, 400),  # 2,700 characters after NFKC
        ({"username": "a" * 151}, 400),
        ({"caption": "x" * 1001}, 422),
        ({"caption": "\r\n" * 1001}, 422),
        ({"caption": "\x00"}, 422),
        ({"username": "bob"}, 403),
    ],
)
async def test_what_is_not_allowed_leaves_nothing(local: Store, fields: dict[str, str], status: int) -> None:
    data = form(pictures.png(), **{"username": "ann", "image_type": "gallery", **fields})
    answer = await local.call("POST", "/api/upload_user_image", data=data, headers=bearer())
    assert answer.status == status, answer.body
    assert await local.everything() == ([], [], [])


async def test_the_longest_and_strangest_names_have_keys_of_their_own(local: Store) -> None:
    names = ["é" * 150, "a.b", "ann@x+y", "a b", "~20"]
    urls = [(await local.upload(pictures.png(), name))["url"] for name in names]
    assert "/media/users/a.b/images/" in urls[1]
    assert "/media/users/ann@x%2By/images/" in urls[2]
    assert "/media/users/a~20b/images/" in urls[3]
    assert "/media/users/~7E20/images/" in urls[4]
    for name, url in zip(names, urls, strict=True):
        assert (await local.call("GET", url)).status == 200
        assert (await local.listed(name))["count"] == 1


async def test_a_name_belongs_to_who_first_used_it(store: Store) -> None:
    await store.upload(pictures.png())
    data = form(pictures.png(), username="ann", image_type="gallery")
    other = await store.call("POST", "/api/upload_user_image", data=data, headers=bearer("other", username="ann"))
    assert other.status == 403
    assert (await store.listed())["count"] == 1


async def test_an_admin_may_upload_for_anybody_without_taking_the_name(store: Store) -> None:
    data = form(pictures.png(), username="ann", image_type="profile")
    answer = await store.call("POST", "/api/upload_user_image", data=data, headers=bearer("root", admin=True))
    assert answer.status == 200
    await store.upload(pictures.png())
    assert (await store.listed())["count"] == 2
    assert (await store.call("DELETE", _delete(answer.json["image"]), headers=bearer())).status == 200


def _delete(image: dict[str, str]) -> str:
    return f"/api/user_image/{image['id']}/delete/"


async def test_two_who_use_a_new_name_at_once_do_not_both_get_it(store: Store) -> None:
    async def upload(user: str) -> int:
        data = form(pictures.png(), username="ann", image_type="gallery")
        headers = bearer(user, username="ann")
        return (await store.call("POST", "/api/upload_user_image", data=data, headers=headers)).status

    statuses = await asyncio.gather(*(upload(f"id-{number}") for number in range(6)))
    assert sorted(statuses) == [200, 403, 403, 403, 403, 403]
    objects, rows, spooled = await store.everything()
    assert (len(objects), len(rows), spooled) == (1, 2, [])


async def test_simultaneous_uploads_all_get_keys(store: Store) -> None:
    images = await asyncio.gather(*(store.upload(pictures.png()) for _ in range(10)))
    assert len({image["url"] for image in images}) == 10
    assert (await store.listed())["count"] == 10


async def test_a_taken_microsecond_takes_the_next(tmp_path) -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)
    async with open_store(settings_of(tmp_path), clock=lambda: moment) as store:
        urls = [(await store.upload(pictures.png(), image_type="cover"))["url"] for _ in range(3)]
    at = int(moment.timestamp() * 1_000_000)
    assert [url.rsplit("/", 1)[1] for url in urls] == [f"cover_{at + step}.png" for step in range(3)]


async def test_nobodys_name_has_no_images(store: Store) -> None:
    answer = await store.call("GET", "/api/user_images/nobody/")
    assert answer.json == {"success": True, "images": [], "count": 0}
    for name in (".nobody", "a%00b", "%ff", "a%3Bb", "a" * 151):
        assert (await store.call("GET", f"/api/user_images/{name}/")).status == 404, name


async def test_a_listing_is_newest_first_page_by_page_and_by_type(store: Store) -> None:
    ids = [
        (await store.upload(pictures.png(), image_type=kind))["id"]
        for kind in ("gallery", "cover", "gallery", "gallery", "profile")
    ]
    assert [image["id"] for image in (await store.listed())["images"]] == ids[::-1]
    seen, query = [], {"limit": "2"}
    while True:
        page = await store.listed(**query)
        assert page["count"] == len(page["images"]) <= 2
        seen += [image["id"] for image in page["images"]]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]
    galleries = await store.listed(image_type="gallery", limit="2")
    assert [image["id"] for image in galleries["images"]] == [ids[3], ids[2]]
    rest = await store.listed(image_type="gallery", cursor=galleries["next_cursor"])
    assert [image["id"] for image in rest["images"]] == [ids[0]]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": "0"}, 422),
        ({"limit": "101"}, 422),
        ({"limit": "x"}, 422),
        ({"image_type": "avatar"}, 422),
        ({"cursor": "garbage"}, 422),
        ({"cursor": "é"}, 422),
        ({"cursor": "\x00"}, 422),
    ],
)
async def test_an_unusable_query_is_refused(local: Store, query: dict[str, str], status: int) -> None:
    answer = await local.call("GET", "/api/user_images/ann/", params=query)
    assert answer.status == status, answer.body


async def test_there_is_at_most_one_primary_image_under_simultaneous_calls(store: Store) -> None:
    images = [await store.upload(pictures.png(), is_primary="true") for _ in range(4)]
    assert [image["is_primary"] for image in (await store.listed())["images"]] == [True, False, False, False]

    async def choose(number: int) -> int:
        path = f"/api/user_image/{images[number % 4]['id']}/set_primary/"
        return (await store.call("PUT" if number % 2 else "POST", path, headers=bearer())).status

    statuses = await asyncio.gather(*(choose(number) for number in range(60)))
    assert set(statuses) == {200}
    assert sum(image["is_primary"] for image in (await store.listed())["images"]) == 1


async def test_primary_uploads_at_once_leave_one_primary_image(store: Store) -> None:
    await asyncio.gather(*(store.upload(pictures.png(), is_primary="true") for _ in range(8)))
    assert [image["is_primary"] for image in (await store.listed())["images"]].count(True) == 1


async def test_only_the_owner_and_admins_change_an_image(store: Store) -> None:
    image = await store.upload(pictures.png())
    primary, delete = f"/api/user_image/{image['id']}/set_primary/", _delete(image)
    for path, method in ((primary, "POST"), (primary, "PUT"), (delete, "DELETE"), (delete, "POST")):
        assert (await store.call(method, path)).status == 401
        assert (await store.call(method, path, headers=bearer("bob"))).status == 403
        assert (await store.call(method, path, headers=bearer("bob", username="ann"))).status == 403
    answer = await store.call("POST", primary, headers=bearer("root", admin=True))
    assert (answer.status, answer.json) == (200, {"success": True, "message": "Primary image updated successfully"})
    answer = await store.call("POST", delete, headers=bearer("root", admin=True))
    assert (answer.status, answer.json) == (200, {"success": True, "message": "Image deleted successfully"})


@pytest.mark.parametrize("image_id", [ABSENT, "1", "x" * 300, "%00", ABSENT.replace("-", "")])
async def test_an_image_that_is_not_there_is_not_found(local: Store, image_id: str) -> None:
    for method, action in (("DELETE", "delete"), ("POST", "set_primary"), ("GET", "serve")):
        answer = await local.call(method, f"/api/user_image/{image_id}/{action}/", headers=bearer())
        assert (answer.status, answer.json["error"]) == (404, "Image not found")


async def test_bytes_row_and_renditions_go_together(store: Store) -> None:
    image = await store.upload(pictures.jpeg(), is_primary="true")
    other = await store.upload(pictures.jpeg())
    assert (await store.call("GET", f"/api/user_image/{image['id']}/serve/?w=160")).status == 200
    assert (await store.call("DELETE", _delete(image), headers=bearer())).status == 200
    assert (await store.call("DELETE", _delete(image), headers=bearer())).status == 404
    assert (await store.call("GET", f"/api/user_image/{image['id']}/serve/")).status == 404
    assert (await store.call("GET", image["url"])).status == 404
    assert (await store.listed())["images"] == [other]
    assert len(await store.object_keys()) == 1


async def test_of_those_who_delete_at_once_one_succeeds(store: Store) -> None:
    image = await store.upload(pictures.jpeg())
    answers = await asyncio.gather(*(store.call("DELETE", _delete(image), headers=bearer()) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [404] * 7
    assert await store.object_keys() == []


async def test_private_images_are_for_their_owner_and_admins(tmp_path) -> None:
    settings = settings_of(tmp_path, media_public_read=False, cdn_url="https://cdn.example")
    async with open_store(settings) as store:
        image = await store.upload(pictures.jpeg())
        assert image["url"].startswith(f"{settings.public_url}/media/users/")
        address = image["url"].partition("?")[0]
        paths = [
            "/api/user_images/ann/",
            f"/api/user_image/{image['id']}/serve/",
            address,
            address + "?w=160",
        ]
        for path in paths:
            assert (await store.call("GET", path)).status == 401, path
            assert (await store.call("GET", path, headers=bearer("bob"))).status == 403, path
            for headers in (bearer(), bearer("root", admin=True)):
                answer = await store.call("GET", path, headers=headers)
                assert answer.status == 200, path
                assert "no-store" in answer.headers["Cache-Control"]
                assert "public" not in answer.headers["Cache-Control"]
        stored = await store.store(pictures.jpeg())
        assert stored["url"] == f"https://cdn.example/{stored['key']}"
        assert (await store.call("GET", f"/media/{stored['key']}")).status == 200


async def test_the_url_of_a_private_image_opens_it_without_a_token(tmp_path) -> None:
    data = pictures.jpeg(800, 600)
    async with open_store(settings_of(tmp_path, media_public_read=False)) as store:
        image, other = await store.upload(data), await store.upload(data)
        shown = await store.call("GET", image["url"])
        assert (shown.status, shown.headers["Content-Type"]) == (200, "image/jpeg")
        assert shown.headers["Cache-Control"].startswith("private, max-age=")
        assert (await store.call("HEAD", image["url"])).status == 200
        for headers in (bearer("bob"), {"Authorization": "Bearer no-token"}):
            assert (await store.call("GET", image["url"], headers=headers)).status == 200
        assert (await store.call("GET", image["url"] + "&w=160")).headers["Cache-Control"].startswith("private")
        listed = (await store.call("GET", "/api/user_images/ann/", headers=bearer())).json["images"]
        assert [item["url"] for item in listed] == [other["url"], image["url"]]
        values = image["url"].partition("?")[2]
        for link in (other["url"].partition("?")[0] + "?" + values, image["url"][:-1], image["url"].partition("&")[0]):
            answer = await store.call("GET", link)
            assert (answer.status, answer.json["code"]) == (403, "link_invalid")
        assert (await store.call("DELETE", image["url"])).status == 401


async def test_public_images_have_no_signature(store: Store) -> None:
    image = await store.upload(pictures.jpeg())
    assert "?" not in image["url"]
    assert (await store.call("GET", image["url"] + "?expires=1&signature=00")).status == 200


async def test_a_late_page_costs_what_the_first_one_costs(local: Store) -> None:
    image = await local.upload(pictures.png())
    row = (await local.rows())[0]._asdict()
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(seconds=number) for number in range(2000)]
    rows = [
        {**row, "id": str(uuid4()), "key": f"users/ann/images/{n}.png", "uploaded_at": m} for n, m in enumerate(moments)
    ]
    await local.execute(sa.insert(IMAGES).values(rows[:1000]))
    await local.execute(sa.insert(IMAGES).values(rows[1000:]))
    page = await local.listed(limit="100")
    assert page["images"][0] == image
    listed = (await local.listed())["images"]
    assert [item["id"] for item in listed] == [image["id"], *(row["id"] for row in reversed(rows))]
    query = "EXPLAIN QUERY PLAN SELECT id FROM media_images WHERE name_key = 'ann' AND deleted_at IS NULL"
    order = " AND (uploaded_at, id) < ('2020', 'x') ORDER BY uploaded_at DESC, id DESC LIMIT 100"
    assert await local.plan(query + order) == (
        "SEARCH media_images USING INDEX media_images_of_name (name_key=? AND (uploaded_at,id)<(?,?))"
    )
