"""`python -m tools.upgrade_fixture`: make `tests/system/upgrade/fixture` anew, with the code of the release before.

It runs that release's processes from the repository's history, once on SQLite and disk, once on PostgreSQL, Redis and S3, lets
customers keep something of every kind there, stops them, and packs what they left.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from redis import Redis

from tests.support.postgres import DRIVER, fresh_database, postgres_program, running_postgres
from tests.support.redis import running_redis
from tests.support.release_before import FIXTURE, SETTINGS, StackBefore, unpack
from tests.support.s3 import RunningS3, S3Server, fresh_bucket, running_s3
from tests.support.stack import MODULES
from tests.system.upgrade.promises import create_admin, make_promises


def _keep(stack: StackBefore) -> str:
    """Be customers of that release; return what they were promised, and leave no process behind."""
    try:
        stack.start("auth-verify")
        create_admin(stack)
        stack.start(*(name for name in MODULES if name != "auth-verify"))
        return json.dumps(make_promises(stack.url("gateway"), stack.url("stripe-sandbox")), indent=1) + "\n"
    finally:
        stack.stop_all()


def _embedded(work: Path, code: Path) -> None:
    (work / "embedded").mkdir()
    stack = StackBefore(work / "embedded", code, SETTINGS)
    promised = _keep(stack)
    (FIXTURE / "embedded.json").write_text(promised)
    with tarfile.open(FIXTURE / "embedded.tar.xz", "w:xz") as archive:
        archive.add(work / "embedded" / "var", "data")


def _pack_bucket(running: RunningS3, bucket: S3Server, folder: Path) -> None:
    types = {}
    for page in running.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket):
        for found in page.get("Contents", ()):
            answer = running.client.get_object(Bucket=bucket.bucket, Key=found["Key"])
            (folder / found["Key"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / found["Key"]).write_bytes(answer["Body"].read())
            types[found["Key"]] = answer["ContentType"]
    (FIXTURE / "bucket.json").write_text(json.dumps(types, indent=1) + "\n")
    with tarfile.open(FIXTURE / "bucket.tar.xz", "w:xz") as archive:
        archive.add(folder, "objects")


def _pack_redis(url: str) -> None:
    with Redis.from_url(url) as redis:
        keys = {key.decode(): [redis.dump(key).hex(), max(redis.pttl(key), 0)] for key in sorted(redis.keys())}
    (FIXTURE / "redis.json").write_text(json.dumps(keys, indent=1) + "\n")


def _servers(work: Path, code: Path) -> None:
    for name in ("servers", "redis", "s3", "objects"):
        (work / name).mkdir()
    recorded = work / "statements"
    with (
        running_postgres() as postgres,
        fresh_database(postgres) as database,
        running_redis(work / "redis") as redis,
        running_s3(work / "s3") as running,
        fresh_bucket(running) as bucket,
    ):
        settings = {
            **SETTINGS,
            "DATABASE_URL": database,
            "REDIS_URL": redis,
            **bucket.settings,
            "JWT_ALGORITHM": "EdDSA",
        }
        (FIXTURE / "servers.json").write_text(_keep(StackBefore(work / "servers", code, settings, recorded)))
        _pack_redis(redis)
        _pack_bucket(running, bucket, work / "objects")
        url = database.replace(DRIVER, "postgresql://", 1)
        command: list[str | Path] = [postgres_program("pg_dump"), "--no-owner", "--no-privileges", url]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (FIXTURE / "dump.sql").write_text(dump)
    statements = dict(json.loads(line) for line in recorded.read_text().splitlines())
    (FIXTURE / "statements.json").write_text(json.dumps(statements, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Make both, and put them in the place of what is there."""
    with tempfile.TemporaryDirectory(prefix="keepsake-fixture-") as name:
        work = Path(name)
        work.chmod(0o755)
        code = unpack(work / "code")
        _embedded(work, code)
        _servers(work, code)


if __name__ == "__main__":
    main()
