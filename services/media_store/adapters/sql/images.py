"""Stored images in SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.media_store.adapters.sql.names import (
    clear_primary,
    find_name,
    forget_names,
    key_of,
    keys_of_person,
    locked_name,
    name_images,
    take_name,
)
from services.media_store.adapters.sql.tables import IMAGES
from services.media_store.model.images import AlreadyPromoted, ImageNotFound, Kind, StoredImage
from services.media_store.model.names import Name, require_owner, require_uploader
from shared.auth.access_tokens import Principal
from shared.http.cursors import Position
from shared.persistence.engine import Repository, is_unique_violation

LIVE = IMAGES.c.deleted_at.is_(None)
NAMES = tuple(field.name for field in fields(StoredImage))
COLUMNS = tuple(IMAGES.c[name] for name in NAMES)
_VALUES = attrgetter(*NAMES)


def _row(image: StoredImage) -> dict[str, Any]:
    return dict(zip(NAMES, _VALUES(image), strict=True))


def _image(row: sa.Row[Any]) -> StoredImage:
    values = row._asdict()
    return StoredImage(**{**values, "kind": Kind(values["kind"])})


class SqlImages(Repository):
    """The rows. Every call is one transaction; DependencyDown("database") where there is none, StorageFull where no room.

    A row that is marked as being deleted is gone for everybody but those who ask for marked rows, list keys, or want the
    same key or source.
    """

    async def add(self, image: StoredImage) -> None:
        """Add a row. Raises AlreadyPromoted where its source has one."""
        try:
            await self._database.insert(IMAGES, _row(image))
        except IntegrityError as error:
            if is_unique_violation(error, "media_images_source") or is_unique_violation(error, "source_key"):
                raise AlreadyPromoted from None
            raise

    async def add_for_user(self, image: StoredImage, uploader: Principal) -> None:
        """Add a user's row; the first upload of the user named makes the name theirs. Raises Forbidden.

        With `is_primary` it takes the place of the user's primary image.
        """
        async with self._database.begin() as connection:
            name = await locked_name(connection, str(image.username))
            require_uploader(uploader, name.username, name.owner)
            await take_name(connection, name, uploader)
            if image.is_primary:
                await clear_primary(connection, [name.key])
            named = replace(image, username=name.username, name_key=name.key)
            await connection.execute(sa.insert(IMAGES), _row(named))

    async def get(self, image_id: str, *, marked: bool = False) -> StoredImage | None:
        """Return the row with this id; with `marked` also one that is being deleted."""
        return await self._first(IMAGES.c.id == image_id, marked=marked)

    async def find(self, key: str, *, marked: bool = False) -> StoredImage | None:
        """Return the row of this object; with `marked` also one that is being deleted."""
        return await self._first(IMAGES.c.key == key, marked=marked)

    async def promoted_from(self, source_key: str) -> StoredImage | None:
        """Return the row that was promoted from this temporary object."""
        return await self._first(IMAGES.c.source_key == source_key)

    async def forget_source(self, source_key: str) -> bool:
        """Forget that an image was promoted from this temporary object; True where one was."""
        forget = sa.update(IMAGES).where(IMAGES.c.source_key == source_key, LIVE).values(source_key=None)
        async with self._database.begin() as connection:
            return bool((await connection.execute(forget)).rowcount)

    async def promoted_among(self, source_keys: Collection[str]) -> set[str]:
        query = sa.select(IMAGES.c.source_key).where(IMAGES.c.source_key.in_(source_keys))
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def name_of(self, username: str) -> Name | None:
        """Return whose this name is, if anybody has used it."""
        async with self._database.read() as connection:
            return await find_name(connection, username)

    async def name_images(self, limit: int) -> int:
        """Give up to `limit` images of the release before their name key, the oldest first; return how many there were."""
        async with self._database.begin() as connection:
            return await name_images(connection, limit=limit)

    async def page(
        self, username: str, *, image_type: str | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Return a user's rows, newest first, from behind `after` on."""
        query = sa.select(*COLUMNS).where(IMAGES.c.name_key == key_of(username), LIVE)
        if image_type is not None:
            query = query.where(IMAGES.c.image_type == image_type)
        return await self._page(query, after, limit)

    async def all_page(
        self, *, username: str, kind: Kind | None, stored_since: datetime | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Return rows of everybody, newest first, from behind `after` on; sessions' images only since `stored_since`."""
        query = sa.select(*COLUMNS).where(LIVE)
        if username:
            query = query.where(IMAGES.c.name_key == key_of(username))
        if kind is not None:
            query = query.where(IMAGES.c.kind == kind)
        if stored_since is not None:
            query = query.where((IMAGES.c.kind != Kind.STORED) | (IMAGES.c.uploaded_at > stored_since))
        return await self._page(query, after, limit)

    async def _page(self, query: sa.Select[Any], after: Position | None, limit: int) -> Sequence[StoredImage]:
        if after is not None:
            here = sa.tuple_(IMAGES.c.uploaded_at, IMAGES.c.id)
            query = query.where(here < sa.tuple_(sa.literal(after.at, IMAGES.c.uploaded_at.type), after.id))
        return await self._all(query.order_by(IMAGES.c.uploaded_at.desc(), IMAGES.c.id.desc()).limit(limit))

    async def of_person(self, user_id: str, username: str, *, limit: int) -> Sequence[StoredImage]:
        """Return rows under the names that are this person's, or nobody's and spelled like `username`; marked ones too."""
        async with self._database.read() as connection:
            keys = await keys_of_person(connection, user_id, username)
        return await self._all(sa.select(*COLUMNS).where(IMAGES.c.name_key.in_(keys)).limit(limit))

    async def forget_names(self, user_id: str, username: str) -> None:
        async with self._database.begin() as connection:
            await forget_names(connection, user_id, username)

    async def set_primary(self, image_id: str, caller: Principal) -> None:
        """Make it its user's only primary image. Raises ImageNotFound or Forbidden."""
        this = (IMAGES.c.id == image_id, IMAGES.c.username.is_not(None), LIVE)
        async with self._database.begin() as connection:
            found = (await connection.execute(sa.select(*COLUMNS).where(*this))).first()
            if found is None:
                raise ImageNotFound
            name = await locked_name(connection, _image(found).name)
            require_owner(caller, name.username, name.owner)
            await clear_primary(connection, [name.key])
            primary = sa.update(IMAGES).where(*this).values(is_primary=True, name_key=name.key)
            if not (await connection.execute(primary)).rowcount:
                raise ImageNotFound

    async def begin_deletion(self, image_id: str, now: datetime) -> None:
        """Mark the row, durably, before anything of the image is taken away."""
        mark = sa.update(IMAGES).where(IMAGES.c.id == image_id, LIVE).values(deleted_at=now, is_primary=False)
        async with self._database.begin() as connection:
            await connection.execute(mark)

    async def finish_deletion(self, image_id: str) -> bool:
        """Remove the row; True for exactly one of those who try."""
        async with self._database.begin() as connection:
            return bool((await connection.execute(sa.delete(IMAGES).where(IMAGES.c.id == image_id))).rowcount)

    async def deleting(self, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Return rows that were marked before then: whoever was to finish has not."""
        marked = IMAGES.c.deleted_at.is_not(None), IMAGES.c.deleted_at < before
        return await self._all(sa.select(*COLUMNS).where(*marked).order_by(IMAGES.c.deleted_at).limit(limit))

    async def older(self, kind: Kind, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Return the oldest rows of a kind, uploaded before then."""
        query = sa.select(*COLUMNS).where(IMAGES.c.kind == kind, IMAGES.c.uploaded_at < before, LIVE)
        return await self._all(query.order_by(IMAGES.c.uploaded_at).limit(limit))

    async def keys(self, prefix: str, *, after: str, limit: int) -> Sequence[StoredImage]:
        """Return rows whose keys begin with `prefix` and are above `after`, by ascending key, byte by byte."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        query = sa.select(*COLUMNS).where(IMAGES.c.key > max(prefix, after), IMAGES.c.key < end)
        return await self._all(query.order_by(IMAGES.c.key).limit(limit))

    async def check(self) -> None:
        """Raise DependencyDown unless the database answers."""
        await self._database.check()

    async def _first(self, condition: sa.ColumnElement[bool], *, marked: bool = False) -> StoredImage | None:
        query = sa.select(*COLUMNS).where(condition)
        found = await self._all(query if marked else query.where(LIVE))
        return found[0] if found else None

    async def _all(self, query: sa.Select[Any]) -> list[StoredImage]:
        async with self._database.read() as connection:
            return [_image(row) for row in (await connection.execute(query)).all()]
