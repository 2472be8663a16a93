from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.media_store.settings import MediaStoreSettings
from tests.support import pictures
from tests.unit.services.media_store.store import Store, bearer, open_store, settings_of

ADMIN = bearer("root", admin=True)
IMAGES = "/api/admin/images"


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


async def test_only_admins_ask_about_the_storage(local: Store) -> None:
    for method, path in (("GET", "/api/debug/r2-status/"), ("POST", "/api/test-r2-storage/")):
        assert (await local.call(method, path)).status == 401
        assert (await local.call(method, path, headers=bearer())).status == 403


class TestLookingThroughTheImages:
    async def test_shows_every_kind_newest_first(self, store: Store) -> None:
        stored = await store.store(pictures.png())
        user = await store.upload(pictures.png(), "Sam", caption="me")
        event = (await store.promote((await store.send_temporary(pictures.jpeg()))["s3_key"])).json
        answer = await store.call("GET", IMAGES, headers=ADMIN)
        assert (answer.status, answer.json["count"], answer.json["next_cursor"]) == (200, 3, None)
        shown = answer.json["images"]
        assert [(image["kind"], image["url"], image["username"]) for image in shown] == [
            ("event", event["url"], None),
            ("user", user["url"], "Sam"),
            ("stored", stored["url"], None),
        ]
        assert {name: shown[1][name] for name in user} == user
        assert [image["key"] for image in shown] == [event["key"], shown[1]["key"], stored["key"]]
        assert set(shown[0]) == set(shown[2]) == {*user, "key", "kind", "username"}

    async def test_by_user_in_any_spelling_by_kind_and_page_by_page(self, store: Store) -> None:
        ids = [(await store.upload(pictures.png(), "Sam"))["id"] for _ in range(3)]
        await store.upload(pictures.png(), "ann")
        await store.store(pictures.png())
        for query, count in (
            ({"username": "sAM"}, 3),
            ({"username": "nobody"}, 0),
            ({"username": "a..b/{x}"}, 0),
            ({"kind": "user"}, 4),
            ({"kind": "stored", "username": "sam"}, 0),
            ({"kind": "event"}, 0),
        ):
            answer = await store.call("GET", IMAGES, params=query, headers=ADMIN)
            assert (answer.status, answer.json["count"]) == (200, count), query
        seen, query = [], {"username": "sam", "limit": "2"}
        while True:
            page = (await store.call("GET", IMAGES, params=query, headers=ADMIN)).json
            seen += [image["id"] for image in page["images"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == ids[::-1]

    async def test_an_image_is_taken_down_and_one_that_had_its_time_is_not_there(self, tmp_path: Path) -> None:
        clock = Clock()
        async with open_store(settings_of(tmp_path, store_image_ttl_s=60), clock=clock.now) as store:
            stored = await store.store(pictures.png())
            user = await store.upload(pictures.png(), "sam")
            clock.moment += timedelta(seconds=61)
            images = (await store.call("GET", IMAGES, headers=ADMIN)).json["images"]
            assert [image["url"] for image in images] == [user["url"]]
            assert (await store.call("DELETE", f"/media/{images[0]['key']}", headers=ADMIN)).status == 200
            assert (await store.call("GET", IMAGES, headers=ADMIN)).json["images"] == []
            assert (await store.call("GET", stored["url"])).status == 404

    async def test_is_for_admins_and_their_queries(self, local: Store) -> None:
        assert (await local.call("GET", IMAGES)).status == 401
        assert (await local.call("GET", IMAGES, headers=bearer())).status == 403
        for query in ({"limit": "0"}, {"limit": "101"}, {"kind": "order"}, {"cursor": "x"}, {"username": "\x00"}):
            assert (await local.call("GET", IMAGES, params=query, headers=ADMIN)).status == 422, query

    async def test_costs_the_same_wherever_a_page_begins(self, local: Store) -> None:
        page = "deleted_at IS NULL AND (uploaded_at, id) < ('2020', 'x') ORDER BY uploaded_at DESC, id DESC LIMIT 50"
        for where, index in (("", "media_images_newest"), ("kind = 'user' AND ", "media_images_newest_of_kind")):
            plan = await local.plan(f"EXPLAIN QUERY PLAN SELECT id FROM media_images WHERE {where}{page}")  # noqa: S608
            assert f"USING INDEX {index} (" in plan
            assert "TEMP B-TREE" not in plan


async def test_the_status_names_the_store_and_no_secret(store: Store) -> None:
    answer = await store.call("GET", "/api/debug/r2-status/", headers=ADMIN)
    assert answer.status == 200
    assert answer.json["backend"] == store.settings.storage_backend
    assert answer.json["reachable"] is True
    if store.settings.storage_backend == "s3":
        assert answer.json["bucket"] == store.settings.s3_bucket
        assert answer.json["endpoint"].startswith(store.settings.s3_endpoint_url)
    for secret in (
        store.settings.aws_secret_access_key,
        store.settings.aws_access_key_id,
        str(store.settings.data_dir),
    ):
        assert not secret or secret.encode() not in answer.body


async def test_the_status_names_r2s_public_domain(r2_settings: MediaStoreSettings) -> None:
    settings = r2_settings.model_copy(update={"r2_public_domain": "pub.example"})
    async with open_store(settings) as store:
        answer = await store.call("GET", "/api/debug/r2-status", headers=ADMIN)
        assert (answer.json["backend"], answer.json["public_domain"]) == ("r2", "https://pub.example")


async def test_the_probe_reports_each_step_and_leaves_nothing(store: Store) -> None:
    answer = await store.call("POST", "/api/test-r2-storage/", headers=ADMIN)
    assert answer.json["success"] is True
    assert [step["step"] for step in answer.json["steps"]] == ["write", "read", "compare", "delete"]
    assert all(step["success"] and step["duration_ms"] >= 0 for step in answer.json["steps"])
    assert await store.everything() == ([], [], [])


async def test_a_store_that_does_not_answer_is_reported_and_not_an_error(tmp_path: Path) -> None:
    async with open_store(settings_of(tmp_path)) as store:
        shutil.rmtree(tmp_path / "spool")
        status = await store.call("GET", "/api/debug/r2-status/", headers=ADMIN)
        assert (status.status, status.json["reachable"]) == (200, False)
        probe = await store.call("POST", "/api/test-r2-storage/", headers=ADMIN)
        assert (probe.status, probe.json["success"]) == (200, False)
        assert [(step["step"], step["success"]) for step in probe.json["steps"]] == [("write", False), ("delete", True)]
        (tmp_path / "spool").mkdir()
