"""Temporary uploads of organisations: signed for the browser, received where the bucket does not, and promoted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from pathlib import Path
from uuid import uuid4

from services.media_store.adapters.http import HttpMembers
from services.media_store.adapters.sql.images import SqlImages
from services.media_store.model.images import (
    ORGANIZATION_ID,
    PRESIGNED_MAX_BYTES,
    AlreadyPromoted,
    ImageNotFound,
    Kind,
    StoredImage,
    event_key,
    filename_in_temp_key,
    renditions_of,
    temp_key,
)
from services.media_store.service.images import describe
from services.media_store.service.ingest import Ingest, KeptImage
from shared.errors import Forbidden, TooLarge
from shared.http.body import size_text
from shared.images.validation import ImageFormat, corrected_filename
from shared.objects import ObjectStore
from shared.presign.signing import PresignedUpload, presign_post, presign_put
from shared.presign.verify import VerifiedPost
from shared.settings import Bucket

LIFETIME_S = 300
SigningBucket = Callable[[], Awaitable[Bucket]]


class OrganizationUploads:
    """Signs, receives and promotes the temporary uploads of organisations."""

    def __init__(
        self,
        images: SqlImages,
        members: HttpMembers,
        objects: ObjectStore,
        ingest: Ingest,
        clock: Callable[[], datetime],
        *,
        form_bucket: SigningBucket,
        put_bucket: SigningBucket | None,
        max_bytes: int,
    ) -> None:
        """Forms go to `form_bucket`; `put_bucket` takes a PUT, where there is one. `max_bytes` bounds what is promoted."""
        self._images = images
        self._members = members
        self._objects = objects
        self._ingest = ingest
        self._clock = clock
        self._form_bucket = form_bucket
        self._put_bucket = put_bucket
        self._max_bytes = max_bytes

    async def require_member(self, organization_id: str, user_id: str) -> None:
        """Raise Forbidden unless the user is a member of the organisation."""
        is_id = ORGANIZATION_ID.fullmatch(organization_id)
        if not is_id or not await self._members.is_member(organization_id, user_id):
            raise Forbidden("You are not a member of this organization.", "not_a_member")

    async def sign(
        self, organization_id: str, filename: str, content_type: str, *, put_bytes: int | None
    ) -> PresignedUpload:
        """Sign an upload: a form, or a PUT of exactly `put_bytes` where the bucket takes one."""
        key, now = temp_key(organization_id, str(uuid4()), filename), self._clock()
        if put_bytes is not None and self._put_bucket is not None:
            return presign_put(
                await self._put_bucket(), key, content_type, size=put_bytes, lifetime_s=LIFETIME_S, now=now
            )
        return presign_post(
            await self._form_bucket(),
            key,
            content_type,
            max_bytes=PRESIGNED_MAX_BYTES,
            lifetime_s=LIFETIME_S,
            now=now,
        )

    async def receive(self, form: VerifiedPost, path: Path) -> str:
        """Store the file that came with a verified form, as a bucket would; return its ETag."""
        await self._objects.put_file(form.key, path, content_type=form.content_type)
        await self._objects.delete_prefix(renditions_of(form.key))
        facts = await self._objects.stat(form.key)
        return facts.etag if facts else ""

    async def promote(self, organization_id: str, key: str) -> StoredImage:
        """Keep a temporary upload for good; done again, it answers the same.

        Raises ImageNotFound, what refuses an image, Unavailable, StorageFull or DependencyDown.
        """
        filename = filename_in_temp_key(key, organization_id)
        promoted = await self._images.promoted_from(key)
        if promoted is None:
            with suppress(AlreadyPromoted):  # by another call, while this one was at work
                return await self._promote(organization_id, key, filename)
            promoted = await self._images.promoted_from(key)
        if promoted is None:  # and deleted since
            raise ImageNotFound
        return promoted

    async def _promote(self, organization_id: str, key: str, filename: str) -> StoredImage:
        sink = self._ingest.open_sink()
        try:
            async with self._objects.open(key) as reader:
                if reader.facts.size > self._max_bytes:
                    limit = size_text(self._max_bytes)
                    raise TooLarge(f"The file is too large: at most {limit}.", "file_too_large")
                async for chunk in reader.chunks:
                    await sink.write(chunk)

            def keys(known: ImageFormat) -> Iterator[str]:
                name = corrected_filename(filename, known)
                return (event_key(organization_id, str(uuid4()), name) for _ in repeat(None, 10))

            async def add(kept: KeptImage) -> StoredImage:
                image = replace(describe(kept, Kind.EVENT, self._clock()), source_key=key)
                await self._images.add(image)
                return image

            return await self._ingest.take(await sink.finish(), None, keys, add)
        finally:
            await sink.discard()
