from __future__ import annotations

import shutil
from pathlib import Path

from services.media_store.settings import MediaStoreSettings
from tests.unit.services.media_store.store import Store, bearer, open_store, settings_of

ADMIN = bearer("root", admin=True)


async def test_only_admins_ask_about_the_storage(local: Store) -> None:
    for method, path in (("GET", "/api/debug/r2-status/"), ("POST", "/api/test-r2-storage/")):
        assert (await local.call(method, path)).status == 401
        assert (await local.call(method, path, headers=bearer())).status == 403


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
