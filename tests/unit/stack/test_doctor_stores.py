"""The doctor's checks of what Keepsake keeps its data in: Redis, the tables, the bucket, Cloudinary."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiobotocore.session import get_session
from redis import Redis

from services.media_store.settings import MediaStoreSettings
from shared.persistence.engine import open_database
from shared.persistence.migrations import SERVICES, migrate
from shared.settings import StorageSettings
from stack.doctor import bucket, stores
from stack.doctor.findings import run_checks
from tests.support import secret_values
from tests.support.cloudinary import SECRET, running_cloudinary
from tests.support.processes import free_port
from tests.support.s3 import S3Server
from tests.unit.stack.doctor import found


async def test_a_redis_that_evicts_is_wrong(redis_url: str) -> None:
    check = partial(stores.check_redis, redis_url)
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory-policy", "noeviction")
        assert await found(check) == [("right", "redis"), ("right", "redis eviction")]
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert await found(check) == [("right", "redis"), ("wrong", "redis eviction")]
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
        assert redis.keys("keepsake-doctor:*") == []


async def test_a_redis_that_is_not_there_is_wrong() -> None:
    assert await found(partial(stores.check_redis, f"redis://127.0.0.1:{free_port()}/0")) == [("wrong", "redis")]


async def test_a_redis_whose_memory_is_full_is_wrong_and_says_so(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory", "1")
        try:
            (finding,) = await run_checks({"it": partial(stores.check_redis, redis_url)})
        finally:
            redis.config_set("maxmemory", "0")
    assert (finding.state, "memory is full" in finding.says) == ("wrong", True), finding


@pytest.mark.parametrize("rights", [["+@read"], ["+@read", "+info", "+del"], ["-@all"]])
async def test_a_redis_that_takes_no_keys_from_us_is_wrong(redis_url: str, rights: list[str]) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", ">guests-password", "~*", *rights)
        try:
            for password in ("guests-password", "another"):
                url = redis_url.replace("//", f"//guest:{password}@")
                (finding,) = await run_checks({"it": partial(stores.check_redis, url)})
                says = "may not do all" if password == "guests-password" else "refuses the user or password"
                assert (finding.state, says in finding.says) == ("wrong", True), finding
        finally:
            redis.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_tables_that_are_not_this_codes_are_wrong(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    check = partial(stores.check_tables, "auth-verify", url, tmp_path)

    async def states() -> list[str]:
        return [finding.says for finding in await run_checks({"it": check})]

    if kind == "sqlite":
        assert "no database yet" in (await states())[0]
        assert list(tmp_path.iterdir()) == []
    else:
        assert "not migrated" in (await states())[0]
    async with open_database(url, tmp_path, "auth-verify") as database:
        await migrate(database, SERVICES / "auth_verify" / "migrations", "auth-verify", tmp_path)
        assert await found(check) == [("right", "tables of auth-verify")]
        for revision, says in (("0001", "not migrated"), ("9999", "newer release")):
            async with database.begin() as connection:
                await connection.execute(
                    sa.text('UPDATE "alembic_version_auth-verify" SET version_num = :revision'), {"revision": revision}
                )
            assert says in (await states())[0]


async def test_a_database_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none"
    (finding,) = await run_checks({"it": partial(stores.check_tables, "auth-verify", url, tmp_path)})
    assert (finding.state, "cannot be reached" in finding.says) == ("wrong", True), finding


async def test_a_database_that_refuses_us_is_wrong(postgres_url: str, tmp_path: Path) -> None:
    url = sa.make_url(postgres_url).set(username="stranger", password="wrong").render_as_string(hide_password=False)
    (finding,) = await run_checks({"it": partial(stores.check_tables, "auth-verify", url, tmp_path)})
    assert (finding.state, 'refuses what we ask: role "stranger"' in finding.says) == ("wrong", True), finding


def bucket_settings(s3: S3Server, data_dir: Path, **changed: str) -> StorageSettings:
    said: dict[str, Any] = {
        "storage_backend": "s3",
        "s3_bucket": s3.bucket,
        "s3_endpoint_url": s3.endpoint_url,
        "aws_region": s3.region,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        **changed,
    }
    return StorageSettings(_env_file=None, data_dir=data_dir, **said)


async def test_a_store_that_takes_objects_is_right_and_one_that_does_not_is_wrong(s3: S3Server, tmp_path: Path) -> None:
    local = StorageSettings(_env_file=None, data_dir=tmp_path)
    for settings in (local, bucket_settings(s3, tmp_path)):
        assert await found(partial(bucket.check_storage, settings)) == [("right", "storage")]
    for changed in (
        {"s3_bucket": "no-such-bucket"},
        {"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"},
        {"aws_access_key_id": "AKIASTRANGER00000000"},
    ):
        check = partial(bucket.check_storage, bucket_settings(s3, tmp_path, **changed))
        findings = await run_checks({"it": check})
        assert findings[0].state == "wrong"
        assert ("nothing answers" in findings[0].says) == ("s3_endpoint_url" in changed)


async def test_a_bucket_that_lets_no_browser_upload_is_wrong(s3: S3Server, tmp_path: Path) -> None:
    shop, other = "https://shop.example", "https://other.example"
    check = partial(bucket.check_browsers, bucket_settings(s3, tmp_path), (shop, other))
    assert [state for state, _ in await found(check)] == ["right", "wrong", "wrong"]
    rule = {"AllowedOrigins": [shop], "AllowedMethods": ["POST", "PUT", "GET", "HEAD"], "AllowedHeaders": ["*"]}
    for methods, state in ((["POST", "PUT"], "right"), (["POST"], "wrong")):
        await set_cors(s3, {**rule, "AllowedMethods": methods})
        assert await found(check) == [
            ("right", "clock"),
            (state, f"uploads from {shop}"),
            ("wrong", f"uploads from {other}"),
        ]


async def test_r2_takes_uploads_by_put_alone(s3: S3Server, tmp_path: Path) -> None:
    said = {
        "storage_backend": "r2",
        "r2_bucket_name": s3.bucket,
        "r2_access_key_id": s3.access_key,
        "r2_secret_access_key": s3.secret_key,
    }
    shop = "https://shop.example"
    check = partial(bucket.check_browsers, bucket_settings(s3, tmp_path, **said), (shop,))
    assert ("wrong", f"uploads from {shop}") in await found(check)
    await set_cors(s3, {"AllowedOrigins": [shop], "AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]})
    assert ("right", f"uploads from {shop}") in await found(check)


@pytest.mark.parametrize("seconds", [-600, 600])
async def test_a_clock_that_is_not_the_buckets_is_wrong(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    now = time.time
    monkeypatch.setattr("stack.doctor.machine.time.time", lambda: now() + seconds)
    assert ("wrong", "clock") in await found(partial(bucket.check_browsers, bucket_settings(s3, tmp_path), ()))


async def test_a_bucket_that_is_not_there_is_wrong_and_says_so(s3: S3Server, tmp_path: Path) -> None:
    settings = bucket_settings(s3, tmp_path, s3_endpoint_url=f"http://127.0.0.1:{free_port()}")
    (finding,) = await run_checks({"uploads": partial(bucket.check_browsers, settings, ("https://shop.example",))})
    assert (finding.state, finding.what) == ("wrong", "uploads")
    assert "cannot be reached" in finding.says


async def test_cloudinary_takes_our_signature_or_not(tmp_path: Path) -> None:
    async with running_cloudinary() as account:
        for url, state in ((account.account, "right"), (account.account.replace(SECRET, "another"), "wrong")):
            settings = MediaStoreSettings(
                _env_file=None,
                data_dir=tmp_path,
                jwt_secret_key=secret_values.USERS,
                internal_secret=secret_values.INTERNAL,
                store_image_to="cloudinary",
                cloudinary_url=url,
                cloudinary_api_base=account.url,
            )
            check = partial(bucket.check_cloudinary, settings)
            assert [finding.state for finding in await run_checks({"cloudinary": check})] == [state]


async def set_cors(s3: S3Server, rule: dict[str, list[str]]) -> None:
    keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    async with get_session().create_client("s3", region_name=s3.region, endpoint_url=s3.endpoint_url, **keys) as client:
        await client.put_bucket_cors(Bucket=s3.bucket, CORSConfiguration={"CORSRules": [rule]})
