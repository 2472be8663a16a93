"""What nobody waits for: finishing deletions, ending what has had its time, and comparing rows with objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.media_store.adapters.cloudinary import Cloudinary, public_id_of
from services.media_store.adapters.sql.images import SqlImages
from services.media_store.model.images import (
    ORIGINALS,
    RENDITIONS_PREFIX,
    STORED_PREFIX,
    TEMP_PREFIX,
    ImageNotFound,
    Kind,
    StoredImage,
)
from services.media_store.service.images import ImageService
from shared.concurrency.periodic import work_periodically
from shared.errors import DependencyDown
from shared.objects import ObjectStore

EVERY_S = 60.0
BATCH = 500
UNFINISHED_AFTER = timedelta(minutes=1)
ROW = "row without an object"
OBJECT = "object without a row"
RENDITION = "rendition without an original"
AT_CLOUDINARY = "object at Cloudinary without a row"


@dataclass(slots=True)
class Swept:
    """How many spool files, interrupted deletions, expired images and expired temporary uploads were cleared away."""

    spool_files: int = 0
    deletions: int = 0
    stored: int = 0
    temporary: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What has no counterpart: `what` it is, and its key."""

    what: str
    key: str


@dataclass(slots=True)
class Maintenance:
    """Sweeps a little at a time, in any number of processes at once: whatever it does may be done twice."""

    images: SqlImages
    objects: ObjectStore
    service: ImageService
    clock: Callable[[], datetime]
    stored_ttl: timedelta | None
    temp_ttl: timedelta | None
    cloudinary: Cloudinary | None = None
    _temp_seen: str = field(default="", init=False)

    async def run(self) -> None:
        """Sweep now and then until cancelled; what fails is tried again the next time."""
        await work_periodically("stored_images", self.sweep, EVERY_S, grace_s=0)

    async def name_images(self) -> None:
        """Name all images that the release before has left without a name key."""
        while await self.images.name_images(BATCH) == BATCH:
            pass

    async def sweep(self, *, whole: bool = False) -> Swept:
        """Name what the release before has added meanwhile, and clear away what has had its time.

        That is at most a batch of each kind, of temporary uploads the batch after the last one; `whole` clears all.
        """
        now, swept = self.clock(), Swept()
        await self.name_images()
        swept.spool_files = await self.objects.clear_stale()
        while True:
            unfinished = await self.images.deleting(before=now - UNFINISHED_AFTER, limit=BATCH)
            expired = await self._expired(now)
            swept.deletions += await self._delete(unfinished)
            swept.stored += await self._delete(expired)
            temporary, wrapped = await self._sweep_temporary(now)
            swept.temporary += temporary
            if not whole or (wrapped and max(len(unfinished), len(expired)) < BATCH):
                return swept

    async def _expired(self, now: datetime) -> list[StoredImage]:
        if self.stored_ttl is None:
            return []
        return list(await self.images.older(Kind.STORED, before=now - self.stored_ttl, limit=BATCH))

    async def _delete(self, images: Sequence[StoredImage]) -> int:
        """Delete them; while Cloudinary is down, those of the own store, and then say so."""
        down: DependencyDown | None = None
        for image in images:
            if image.url is not None and down is not None:
                continue
            try:
                await self.service.delete(image)
            except ImageNotFound:  # another process was faster
                pass
            except DependencyDown as error:
                if image.url is None:
                    raise
                down = error
        if down is not None:
            raise down
        return len(images)

    async def _sweep_temporary(self, now: datetime) -> tuple[int, bool]:
        """Look at the next batch of temporary uploads; say how many were deleted, and whether that was the last batch."""
        if self.temp_ttl is None:
            return 0, True
        page = [facts async for facts in self.objects.list(TEMP_PREFIX, after=self._temp_seen, limit=BATCH)]
        self._temp_seen = page[-1].key if len(page) == BATCH else ""
        old = [facts.key for facts in page if facts.last_modified < now - self.temp_ttl]
        kept = await self.images.promoted_among(old) if old else set()
        for key in old:
            if key not in kept:
                await self.service.delete_bytes(key)
        return len(set(old) - kept), not self._temp_seen

    async def reconcile(self, *, grace: timedelta, apply: bool) -> AsyncIterator[Finding]:
        """Compare rows and objects, both read in the order of their keys; `apply` removes what has no counterpart.

        What is younger than `grace` is left alone: its upload may still be at work.
        """
        before = self.clock() - grace
        comparisons = [*(self._compare(prefix, before) for prefix in ORIGINALS), self._orphaned_renditions(before)]
        if self.cloudinary is not None:
            comparisons.append(self._compare_cloudinary(self.cloudinary, before))
        for findings in comparisons:
            async for finding in findings:
                if apply:
                    await self._remove(finding)
                yield finding

    async def _compare(self, prefix: str, before: datetime) -> AsyncIterator[Finding]:
        rows = self._rows(prefix)
        row = await anext(rows, None)
        async for facts in self.objects.list(prefix):
            while row is not None and row.key < facts.key:
                if await self._has_no_object(row, before):
                    yield Finding(ROW, row.key)
                row = await anext(rows, None)
            if row is not None and row.key == facts.key:
                row = await anext(rows, None)
            elif facts.last_modified < before and await self.images.find(facts.key, marked=True) is None:
                yield Finding(OBJECT, facts.key)
        while row is not None:
            if await self._has_no_object(row, before):
                yield Finding(ROW, row.key)
            row = await anext(rows, None)

    async def _rows(self, prefix: str, *, at_cloudinary: bool = False) -> AsyncIterator[StoredImage]:
        after = ""
        while page := await self.images.keys(prefix, after=after, limit=BATCH):
            for row in page:
                if (row.url is not None) is at_cloudinary:
                    yield row
            after = page[-1].key

    async def _has_no_object(self, row: StoredImage, before: datetime) -> bool:
        return row.uploaded_at < before and await self.objects.stat(row.key) is None

    async def _compare_cloudinary(self, cloudinary: Cloudinary, before: datetime) -> AsyncIterator[Finding]:
        """Compare by public id, which says nothing of the extension: an object's row is the one whose key begins with it."""
        there = set()
        async for public_id, uploaded_at in cloudinary.list(STORED_PREFIX):
            there.add(public_id)
            if uploaded_at < before and not await self.images.keys(f"{public_id}.", after="", limit=1):
                yield Finding(AT_CLOUDINARY, f"{public_id}.")
        async for row in self._rows(STORED_PREFIX, at_cloudinary=True):
            is_young = row.uploaded_at >= before
            if not is_young and public_id_of(row.key) not in there and not await cloudinary.stat(row.key):
                yield Finding(ROW, row.key)

    async def _orphaned_renditions(self, before: datetime) -> AsyncIterator[Finding]:
        async for facts in self.objects.list(RENDITIONS_PREFIX):
            original = facts.key.removeprefix(RENDITIONS_PREFIX).rpartition("/")[0]
            if facts.last_modified < before and not await self.service.is_shown(original):
                yield Finding(RENDITION, facts.key)

    async def _remove(self, finding: Finding) -> None:
        if finding.what == RENDITION:
            await self.objects.delete(finding.key)
        elif finding.what == OBJECT:
            await self.service.delete_bytes(finding.key)
        elif finding.what == AT_CLOUDINARY and self.cloudinary is not None:
            await self.cloudinary.delete(finding.key)
        elif row := await self.images.find(finding.key, marked=True):
            with suppress(ImageNotFound):
                await self.service.delete(row)
