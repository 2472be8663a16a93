from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.objects import ObjectStore
from shared.objects.factory import open_object_store
from shared.settings import StorageSettings


@pytest.fixture
def settings_of(request: pytest.FixtureRequest, tmp_path: Path) -> StorageSettings:
    """The settings of the backend that `store` is parametrized with; only S3's start a server."""
    backend = getattr(request, "param", "local")
    if backend == "local":
        return StorageSettings(storage_backend="local", data_dir=tmp_path)
    s3 = request.getfixturevalue("s3")
    if backend == "s3":
        return StorageSettings(
            storage_backend="s3",
            data_dir=tmp_path,
            s3_bucket=s3.bucket,
            s3_endpoint_url=s3.endpoint_url,
            aws_region=s3.region,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
        )
    return StorageSettings(
        storage_backend="r2",
        data_dir=tmp_path,
        r2_bucket_name=s3.bucket,
        s3_endpoint_url=s3.endpoint_url,
        r2_access_key_id=s3.access_key,
        r2_secret_access_key=s3.secret_key,
    )


@pytest.fixture
async def store(settings_of: StorageSettings) -> AsyncIterator[ObjectStore]:
    async with open_object_store(settings_of) as opened:
        yield opened


@pytest.fixture
def spooled(settings_of: StorageSettings):
    """Write bytes to a new file in the spool folder, as an upload does."""

    def write(data: bytes) -> Path:
        spool = settings_of.data_dir / "spool"
        spool.mkdir(exist_ok=True)
        path = spool / f"spool-{uuid4().hex}"
        path.write_bytes(data)
        return path

    return write
