"""Stored images: sessions' and users', from upload to deletion."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from cachetools import TTLCache

from services.media_store.adapters.cloudinary import Cloudinary
from services.media_store.adapters.sql.images import SqlImages
from services.media_store.model.images import (
    TEMP_PREFIX,
    ImageNotFound,
    Kind,
    StoredImage,
    renditions_of,
    stored_stem,
    user_key,
)
from services.media_store.model.names import first_spelling, require_owner, require_uploader
from services.media_store.service.ingest import Ingest, KeptImage
from shared.auth.access_tokens import Principal
from shared.errors import DependencyDown, StorageFull
from shared.http.cursors import Position
from shared.images.validation import ImageFormat
from shared.objects import ObjectStore
from shared.uploads import UploadedFile

KEYS_TRIED = 100
PAGE = 500
REMEMBERED = 8192  # two of each image
REMEMBERED_S = 30.0  # for as long another process's deletion may go unnoticed, where only a 304 is asked for


@dataclass(frozen=True, slots=True)
class UserImage:
    """What a user says of an image."""

    username: str
    image_type: str
    is_primary: bool
    caption: str


class ImageService:
    """Keeps images for good: bytes first, then the row, then the answer; away they go in the opposite order."""

    def __init__(
        self,
        images: SqlImages,
        objects: ObjectStore,
        ingest: Ingest,
        clock: Callable[[], datetime],
        *,
        stored_ttl: timedelta | None,
        cloudinary: Cloudinary | None = None,
        cloudinary_ingest: Ingest | None = None,
    ) -> None:
        """`stored_ttl` is how long sessions' images are kept; None: for good.

        New ones go through `cloudinary_ingest` where there is one; `cloudinary` is there for what went that way earlier too.
        """
        self._images = images
        self._objects = objects
        self._ingest = ingest
        self._clock = clock
        self._stored_ttl = stored_ttl
        self._cloudinary = cloudinary
        self._cloudinary_ingest = cloudinary_ingest
        # Rows shown a moment ago, by id and by key: what they say never changes, only whether they are still there.
        # None: deleted here, whatever somebody has just read.
        self._recent: TTLCache[str, StoredImage | None] = TTLCache(REMEMBERED, REMEMBERED_S)

    async def store(self, file: UploadedFile[bytes | Path], session_id: str, purpose: str) -> StoredImage:
        now, cloudinary = self._clock(), self._cloudinary if self._cloudinary_ingest else None

        stem = stored_stem(session_id, purpose, now)

        def keys(known: ImageFormat) -> Iterator[str]:
            return (f"{stem}_{secrets.token_hex(4)}.{known.extension}" for _ in range(KEYS_TRIED))

        async def add(kept: KeptImage) -> StoredImage:
            image = describe(kept, Kind.STORED, now)
            if cloudinary is not None:
                image = replace(image, url=cloudinary.take_address(kept.key))
            await self._images.add(image)
            return image

        ingest = self._cloudinary_ingest or self._ingest
        return await ingest.take(file.content, file.declared_type, keys, add)

    async def upload(self, file: UploadedFile[bytes | Path], about: UserImage, uploader: Principal) -> StoredImage:
        """Keep an image of a user. Raises Forbidden where the caller may not upload under this name."""
        name = await self._images.name_of(about.username)
        require_uploader(uploader, about.username, name.owner if name else None)
        about = replace(about, username=name.username if name else first_spelling(about.username, uploader))
        now = self._clock()

        async def add(kept: KeptImage) -> StoredImage:
            image = replace(
                describe(kept, Kind.USER, now),
                username=about.username,
                image_type=about.image_type,
                is_primary=about.is_primary,
                caption=about.caption,
            )
            await self._images.add_for_user(image, uploader)
            return image

        return await self._ingest.take(file.content, file.declared_type, partial(_user_keys, about, now), add)

    async def get(self, image_id: str) -> StoredImage:
        """Return a user's image. Raises ImageNotFound."""
        image = await self._remembered(image_id, self._images.get)
        if image is None or image.username is None:
            raise ImageNotFound
        return image

    async def find(self, key: str) -> StoredImage:
        """Return the image of a key. Raises ImageNotFound."""
        image = await self._remembered(key, self._images.find)
        if image is None or self.left_s(image) == 0:
            raise ImageNotFound
        return image

    async def _remembered(self, name: str, read: Callable[[str], Awaitable[StoredImage | None]]) -> StoredImage | None:
        """Return the row of an id or a key; what is remembered grows no younger."""
        with suppress(KeyError):
            return self._recent[name]
        image = await read(name)
        if image is None:
            return None
        self._recent.setdefault(image.id, image)
        return self._recent.setdefault(image.key, image)

    async def promoted_from(self, source_key: str) -> StoredImage | None:
        """Return the image that a temporary upload has become, if it has."""
        return await self._images.promoted_from(source_key)

    async def is_shown(self, key: str) -> bool:
        """Tell whether a key's image is neither deleted nor being deleted; what has no row is there while its bytes are."""
        if key.startswith(TEMP_PREFIX):
            return await self._objects.stat(key) is not None
        return await self._images.find(key) is not None

    async def owner_of(self, username: str) -> str | None:
        name = await self._images.name_of(username)
        return name.owner if name else None

    def left_s(self, image: StoredImage) -> int | None:
        """Return for how many more seconds the image is kept; None: for good."""
        if self._stored_ttl is None or image.kind is not Kind.STORED:
            return None
        return max(0, int((image.uploaded_at + self._stored_ttl - self._clock()).total_seconds()))

    async def page(
        self, username: str, *, image_type: str | None, after: Position | None, limit: int
    ) -> tuple[Sequence[StoredImage], Position | None]:
        """Return up to `limit` of a user's images, newest first, and where to go on if there are more."""
        found = await self._images.page(username, image_type=image_type, after=after, limit=limit + 1)
        return found[:limit], found[limit - 1].position if len(found) > limit else None

    async def all_page(
        self, *, username: str, kind: Kind | None, after: Position | None, limit: int
    ) -> tuple[Sequence[StoredImage], Position | None]:
        """Return up to `limit` images of everybody (of `username`, or of a kind, where given), as `page` does."""
        kept_since = None if self._stored_ttl is None else self._clock() - self._stored_ttl
        found = await self._images.all_page(
            username=username, kind=kind, stored_since=kept_since, after=after, limit=limit + 1
        )
        return found[:limit], found[limit - 1].position if len(found) > limit else None

    async def all_of(self, username: str, *, image_type: str | None, after: Position | None) -> Sequence[StoredImage]:
        """Return all of a user's images, newest first, read in pages so that others get their turn."""
        found: list[StoredImage] = []
        while True:
            page, following = await self.page(username, image_type=image_type, after=after, limit=PAGE)
            found += page
            if following is None:
                return found
            after = following

    async def set_primary(self, image_id: str, caller: Principal) -> None:
        """Make it its user's only primary image. Raises ImageNotFound or Forbidden."""
        await self._images.set_primary(image_id, caller)

    async def delete_of_user(self, image_id: str, caller: Principal) -> None:
        """Delete a user's image. Raises ImageNotFound or Forbidden."""
        image = await self._images.get(image_id, marked=True)
        if image is None or image.username is None:
            raise ImageNotFound
        require_owner(caller, image.name, await self.owner_of(image.name))
        await self.delete(image)

    async def delete_object(self, key: str) -> None:
        """Delete whatever is at a public key. Raises ImageNotFound.

        An image goes with the temporary upload that it was promoted from, which shows the same; an image that was promoted
        outlives its temporary upload.
        """
        image = await self._images.find(key, marked=True)
        if image is not None:
            await self.delete(image)
            return
        there = await self._objects.stat(key) is not None
        if there:
            await self.delete_bytes(key)
        if not await self._images.forget_source(key) and not there:
            raise ImageNotFound

    async def delete(self, image: StoredImage) -> None:
        """Delete an image whole: of several who try at once one succeeds. Raises ImageNotFound for the others.

        The row is marked first, so that a crash leaves nothing that is shown without its bytes; whoever tries again, or
        the sweep, takes up where it broke off.
        """
        with suppress(StorageFull):  # no room for the mark: the bytes make some
            await self._images.begin_deletion(image.id, self._clock())
        self._recent[image.id] = self._recent[image.key] = None
        if image.source_key is not None:
            await self.delete_bytes(image.source_key)
        if image.url is None:
            await self.delete_bytes(image.key)
        elif self._cloudinary is not None:
            await self._cloudinary.delete(image.key)
        else:  # CLOUDINARY_URL is not set any more
            raise DependencyDown("cloudinary")
        if not await self._images.finish_deletion(image.id):
            raise ImageNotFound

    async def delete_bytes(self, key: str) -> None:
        await self._objects.delete(key)
        await self._objects.delete_prefix(renditions_of(key))


def describe(kept: KeptImage, kind: Kind, now: datetime) -> StoredImage:
    prepared = kept.prepared
    return StoredImage(
        id=str(uuid4()),
        kind=kind,
        key=kept.key,
        sha256=prepared.sha256,
        size=prepared.size,
        content_type=prepared.facts.format.content_type,
        width=prepared.width,
        height=prepared.height,
        uploaded_at=now,
        rewritten=prepared.rewritten,
        converted_from=prepared.converted_from,
        placeholder=prepared.placeholder,
    )


def _user_keys(about: UserImage, now: datetime, known: ImageFormat) -> Iterator[str]:
    moments = (now + timedelta(microseconds=step) for step in range(KEYS_TRIED))
    return (user_key(about.username, about.image_type, moment, known.extension) for moment in moments)
