"""Which object store the settings ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from shared.objects.disk import DiskObjectStore
from shared.objects.protocol import ObjectStore
from shared.settings import StorageSettings


@asynccontextmanager
async def open_object_store(settings: StorageSettings) -> AsyncIterator[ObjectStore]:
    """Open the store of `STORAGE_BACKEND`; a bucket that is down does not stop the start.

    `DATA_DIR` has `objects/`, the files of the local store, and `spool/`, where uploads wait on every backend.
    """
    data = settings.data_dir.resolve()
    spool = data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    if settings.storage_backend == "local":
        root = data / "objects"
        root.mkdir(exist_ok=True)
        with closing(DiskObjectStore(root, spool)) as files:
            yield files
        return
    from shared.objects.s3 import open_s3_store  # noqa: PLC0415 - the SDK takes half a second and 40 MB: only where used

    async with open_s3_store(settings.bucket, spool) as store:
        yield store
