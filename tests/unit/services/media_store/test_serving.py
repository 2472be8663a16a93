from __future__ import annotations

import asyncio
import io
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import yarl
from PIL import Image

from tests.support import pictures
from tests.unit.services.media_store.store import Answer, Store, bearer, open_store, settings_of

LARGE = pictures.saved(pictures.noise(480, 480), "PNG")  # 690 KB: more than goes out in one write
WEBP = {"Accept": "image/avif,image/webp,*/*;q=0.8"}


async def _large(store: Store) -> tuple[str, Answer]:
    url = (await store.store(LARGE))["url"]
    return url, await store.call("GET", url)


async def test_an_image_is_sent_with_all_that_makes_it_safe_and_cacheable(store: Store) -> None:
    image = await store.upload(pictures.jpeg())
    for path in (image["url"], f"/api/user_image/{image['id']}/serve/", f"/api/user_image/{image['id'].upper()}/serve"):
        answer = await store.call("GET", path, headers={"Origin": "http://localhost:3000"})
        assert (answer.status, len(answer.body)) == (200, image["size_bytes"])
        name = image["url"].rsplit("/", 1)[1]
        assert answer.headers["Content-Disposition"] == f'inline; filename="{name}"'
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert answer.headers["Last-Modified"].endswith("GMT")


async def test_head_describes_without_sending(store: Store) -> None:
    for image in (pictures.jpeg(), LARGE):
        url = (await store.store(image))["url"]
        got, described = await store.call("GET", url), await store.call("HEAD", url)
        assert (described.status, described.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Cache-Control"):
            assert described.headers[name] == got.headers[name]


async def test_an_answer_says_the_same_however_it_is_asked_for(store: Store) -> None:
    for image in (pictures.jpeg(), LARGE):
        url = (await store.store(image))["url"]
        plain = await store.call("GET", url, headers={"X-Request-Id": "mine"})
        assert plain.headers["X-Request-Id"] == "mine"
        for method, headers in (
            ("GET", {"Connection": "close"}),
            ("GET", {"Origin": "http://localhost:3000"}),
            ("GET", {"Origin": "https://elsewhere.example"}),
            ("HEAD", {}),
        ):
            other = await store.call(method, url, headers={"X-Request-Id": "mine", **headers})
            assert other.body == (b"" if method == "HEAD" else plain.body)
            differ = {name for name, value in other.headers.items() if plain.headers.get(name) != value}
            allowed = {"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Connection", "Date"}
            assert differ <= allowed, headers
            assert set(plain.headers) <= set(other.headers)


async def test_answers_to_requests_sent_at_once_come_whole_and_in_order(store: Store) -> None:
    keys = [(await store.store(image))["key"] for image in (pictures.jpeg(), LARGE)]
    bodies = [(await store.call("GET", f"/media/{key}")).body for key in keys]
    paths = ["/health", *(f"/media/{key}" for key in keys), "/media/pet-images/absent.jpg", f"/media/{keys[0]}"]
    reader, writer = await asyncio.open_connection("127.0.0.1", yarl.URL(store.url).port)
    writer.write("".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths).encode())
    answers = []
    for _ in paths:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answers.append((int(head[9:12]), await reader.readexactly(length)))
    writer.close()
    assert [status for status, _ in answers] == [200, 200, 200, 404, 200]
    assert [answers[place][1] for place in (1, 2, 4)] == [*bodies, bodies[0]]


async def test_an_image_whose_bytes_were_cut_is_refused_before_the_first_of_them(local: Store) -> None:
    for image in (pictures.jpeg(), LARGE):
        body = await local.store(image)
        os.truncate(local.settings.data_dir / "objects" / body["key"], body["size"] - 1)
        for headers in ({}, {"Connection": "close"}, {"Range": "bytes=-1"}):
            answer = await local.call("GET", body["url"], headers=headers)
            assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")


async def test_an_image_that_the_kernel_forgot_is_read_from_the_disk(local: Store) -> None:
    body = await local.store(LARGE)
    got = await local.call("GET", body["url"])
    with (local.settings.data_dir / "objects" / body["key"]).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert (await local.call("GET", body["url"])).body == got.body


async def test_who_has_it_gets_304(store: Store) -> None:
    url, got = await _large(store)
    etag, modified = got.headers["ETag"], got.headers["Last-Modified"]
    earlier = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"other", W/{etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": "garbage"}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": earlier}, 200),
        ({"If-Modified-Since": "garbage"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": modified}, 200),
        ({"If-None-Match": etag, "Range": "bytes=0-1"}, 304),
    ):
        answer = await store.call("GET", url, headers=headers)
        assert answer.status == status, headers
        if status == 304:
            assert answer.body == b""
            assert answer.headers["ETag"] == etag
            assert answer.headers["Cache-Control"] == got.headers["Cache-Control"]


async def test_who_wants_it_unchanged_gets_412_where_it_is_not(store: Store) -> None:
    url, got = await _large(store)
    etag, modified = got.headers["ETag"], got.headers["Last-Modified"]
    earlier = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    for headers, status in (
        ({"If-Match": etag}, 200),
        ({"If-Match": f'"other", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Match": "garbage"}, 412),
        ({"If-Match": '"other"', "If-None-Match": etag}, 412),
        ({"If-Match": etag, "If-None-Match": etag}, 304),
        ({"If-Match": etag, "If-Unmodified-Since": earlier}, 200),
        ({"If-Match": '"other"', "Range": "bytes=0-3"}, 412),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Unmodified-Since": earlier}, 412),
        ({"If-Unmodified-Since": "garbage"}, 200),
    ):
        for method in ("GET", "HEAD"):
            answer = await store.call(method, url, headers=headers)
            assert answer.status == (206 if "Range" in headers and status == 200 else status), headers


async def test_a_range_is_sent_alone(store: Store) -> None:
    url, got = await _large(store)
    size = len(got.body)
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-", 10, size - 1),
        ("bytes=100-199", 100, 199),
        ("bytes=300000-699999999", 300_000, size - 1),
        ("bytes=-7", size - 7, size - 1),
        ("bytes=-999999999", 0, size - 1),
        ("BYTES=1-2", 1, 2),
    ):
        answer = await store.call("GET", url, headers={"Range": asked})
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert answer.body == got.body[first : last + 1]


async def test_what_is_no_single_range_gets_the_whole(store: Store) -> None:
    url, got = await _large(store)
    etag, modified = got.headers["ETag"], got.headers["Last-Modified"]
    for headers in (
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=5-2"},
        {"Range": "bytes=-"},
        {"Range": "items=0-1"},
        {"Range": "bytes=0-1", "If-Range": '"other"'},
        {"Range": "bytes=0-1", "If-Range": f"W/{etag}"},
        {"Range": "bytes=0-1", "If-Range": "Mon, 01 Jan 2001 00:00:00 GMT"},
    ):
        answer = await store.call("GET", url, headers=headers)
        assert (answer.status, answer.body) == (200, got.body), headers
    for condition in (etag, modified):
        answer = await store.call("GET", url, headers={"Range": "bytes=0-1", "If-Range": condition})
        assert (answer.status, answer.body) == (206, got.body[:2])


async def test_a_range_behind_the_end_is_416(store: Store) -> None:
    url, got = await _large(store)
    for asked in (f"bytes={len(got.body)}-", "bytes=-0"):
        answer = await store.call("GET", url, headers={"Range": asked})
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(got.body)}"
        assert answer.json["code"] == "range_not_satisfiable"


async def test_what_is_not_public_or_not_there_is_not_found(local: Store) -> None:
    for key in ("uploads/pet_images/x.jpg", "checkouts/x.jpg", "pet-images/without-row.jpg"):
        await local.objects.put_bytes(key, pictures.jpeg(), "image/jpeg")
    for path in (
        "uploads/pet_images/x.jpg",
        "checkouts/x.jpg",
        "pet-images/without-row.jpg",
        "renditions/pet-images/x.jpg/a.w160.webp",
        "probes/x",
        "pet-images/absent.jpg",
        "pet-images",
        "pet-images/",
        "pet-images/%2e%2e/x.jpg",
        "pet-images//x.jpg",
        "pet-images/a%00b.jpg",
        "pet-images/%5cx.jpg",
        "pet-images/%ff.jpg",
        "temp/absent/x.jpg",
        "pet-images/" + "x" * 1000,
    ):
        async with local.http.get(yarl.URL(f"{local.url}/media/{path}", encoded=True)) as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "Image not found"), path


async def test_a_row_whose_bytes_are_gone_is_not_found(store: Store) -> None:
    for image in (pictures.jpeg(), LARGE):
        body = await store.store(image)
        await store.objects.delete(body["key"])
        for method in ("GET", "HEAD"):
            assert (await store.call(method, body["url"])).status == 404
        assert (await store.call("GET", body["url"] + "?w=320")).status == 404
    assert store.spooled() == []


async def test_who_began_to_read_reads_to_the_end_of_a_deleted_image(store: Store) -> None:
    body = await store.store(pictures.saved(pictures.noise(1700, 1700), "PNG"))
    url = body["url"].replace(store.settings.public_url, store.url)
    async with store.http.get(url) as answer:
        await answer.content.readexactly(1000)
        assert (await store.call("DELETE", body["url"], headers=bearer(admin=True))).status == 200
        assert 1000 + len(await answer.content.read()) == body["size"]
    assert (await store.call("GET", body["url"])).status == 404


async def test_a_rendition_is_upright_no_wider_and_never_enlarged(local: Store) -> None:
    url = (await local.store(pictures.with_metadata("JPEG", 6, pictures.photo(900, 1200))))["url"]
    for width in (160, 320, 640, 960, 1280, 1920):
        answer = await local.call("GET", f"{url}?w={width}", headers=WEBP)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")
        with Image.open(io.BytesIO(answer.body)) as made:
            assert made.size == (min(width, 1200), round(min(width, 1200) * 3 / 4))
            assert not made.getexif()
            assert pictures.SECRET.encode() not in answer.body


async def test_a_rendition_is_webp_for_those_who_name_it_and_else_jpeg(store: Store) -> None:
    url = (await store.store(pictures.jpeg(800, 600)))["url"] + "?w=320"
    for accept, kind in (
        ("image/webp", "webp"),
        ("image/avif,image/webp,image/apng,*/*;q=0.8", "webp"),
        ("image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "jpeg"),
        ("image/webp;q=0", "jpeg"),
        ("image/webp;q=0.2, image/jpeg", "jpeg"),
        ("*/*", "jpeg"),
    ):
        answer = await store.call("GET", url, headers={"Accept": accept})
        assert (answer.status, answer.headers["Content-Type"]) == (200, f"image/{kind}"), accept
        assert "Accept" in answer.headers["Vary"].split(", ")
        again = await store.call("GET", url, headers={"Accept": accept, "If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        part = await store.call("GET", url, headers={"Accept": accept, "Range": "bytes=0-9"})
        assert (part.status, part.body) == (206, answer.body[:10])
    assert len(await store.object_keys()) == 3


async def test_another_width_is_refused(local: Store) -> None:
    url = (await local.store(pictures.jpeg()))["url"]
    for width in ("100", "0", "-160", "x", "160.0", "99999999"):
        assert (await local.call("GET", f"{url}?w={width}")).status == 422
    assert (await local.call("GET", f"{url}?w=")).status == 200


async def test_a_rendition_is_made_once_however_many_ask(store: Store) -> None:
    url = (await store.store(pictures.jpeg(1600, 1200)))["url"] + "?w=640"
    answers = await asyncio.gather(*(store.call("GET", url, headers=WEBP) for _ in range(40)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len([key for key in await store.object_keys() if key.startswith("renditions/")]) == 1


async def test_too_many_renditions_at_once_are_put_off(local: Store) -> None:
    urls = [(await local.store(pictures.jpeg(1600, 1200)))["url"] for _ in range(4)]
    widths = (160, 320, 640, 960, 1280, 1920)
    asked = [f"{url}?w={width}" for url in urls for width in widths]
    answers = await asyncio.gather(*(local.call("GET", url) for url in asked))
    assert {answer.status for answer in answers} == {200, 503}
    late = [answer for answer in answers if answer.status == 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in late)
    assert local.spooled() == []


async def test_a_rendition_that_was_made_during_the_deletion_does_not_stay(store: Store) -> None:
    body = await store.store(pictures.jpeg(1600, 1200))
    asked = [asyncio.create_task(store.call("GET", f"{body['url']}?w={width}")) for width in (160, 320, 640, 960)]
    await asyncio.sleep(0.05)
    assert (await store.call("DELETE", body["url"], headers=bearer(admin=True))).status == 200
    assert {answer.status for answer in await asyncio.gather(*asked)} <= {200, 404}
    assert await store.everything() == ([], [], [])


async def test_an_image_with_a_time_to_live_says_so_and_ends(tmp_path) -> None:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    async with open_store(settings_of(tmp_path, store_image_ttl_s=100), clock=lambda: now) as store:
        url = (await store.store(pictures.jpeg()))["url"]
        now += timedelta(seconds=40)
        assert (await store.call("GET", url)).headers["Cache-Control"] == "public, max-age=60, immutable"
        now += timedelta(seconds=61)
        assert (await store.call("GET", url)).status == 404


async def test_whoever_reads_an_image_while_it_is_deleted_brings_nothing_of_it_back(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (await local.store(pictures.jpeg()))["url"]
    etag = (await local.call("GET", url)).headers["ETag"]
    images = local.service._images
    mark = images.begin_deletion

    async def read_and_mark(image_id: str, now: datetime) -> None:
        assert (await local.call("GET", url)).status == 200
        await mark(image_id, now)

    monkeypatch.setattr(images, "begin_deletion", read_and_mark)
    assert (await local.call("DELETE", url, headers=bearer(admin=True))).status == 200
    assert (await local.call("GET", url, headers={"If-None-Match": etag})).status == 404
