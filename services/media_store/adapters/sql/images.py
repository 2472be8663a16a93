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
from services.media_store.model import (
    ImageNotFound,
    Kind,
    Name,
    StoredImage,
    require_owner,
    require_uploader,
)
from services.media_store.ports import AlreadyPromoted
from shared.auth.access_tokens import Principal
from shared.http.cursors import Position
from shared.persistence.engine import Database, is_unique_violation

LIVE = IMAGES.c.deleted_at.is_(None)
NAMES = tuple(field.name for field in fields(StoredImage))
COLUMNS = tuple(IMAGES.c[name] for name in NAMES)
_VALUES = attrgetter(*NAMES)


def _row(image: StoredImage) -> dict[str, Any]:
    return dict(zip(NAMES, _VALUES(image), strict=True))


def _image(row: sa.Row[Any]) -> StoredImage:
    values = row._asdict()
    return StoredImage(**{**values, "kind": Kind(values["kind"])})


class SqlImages:
    """Keeps the rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, image: StoredImage) -> None:
        """Insert it."""
        try:
            await self._database.insert(IMAGES, _row(image))
        except IntegrityError as error:
            if is_unique_violation(error, "media_images_source") or is_unique_violation(error, "source_key"):
                raise AlreadyPromoted from None
            raise

    async def add_for_user(self, image: StoredImage, uploader: Principal) -> None:
        """Insert it while the name's row is locked."""
        async with self._database.begin() as connection:
            name = await locked_name(connection, str(image.username))
            require_uploader(uploader, name.username, name.owner)
            await take_name(connection, name, uploader)
            if image.is_primary:
                await clear_primary(connection, [name.key])
            named = replace(image, username=name.username, name_key=name.key)
            await connection.execute(sa.insert(IMAGES), _row(named))

    async def get(self, image_id: str, *, marked: bool = False) -> StoredImage | None:
        """Look the id up."""
        return await self._first(IMAGES.c.id == image_id, marked=marked)

    async def find(self, key: str, *, marked: bool = False) -> StoredImage | None:
        """Look the key up."""
        return await self._first(IMAGES.c.key == key, marked=marked)

    async def promoted_from(self, source_key: str) -> StoredImage | None:
        """Look the source up."""
        return await self._first(IMAGES.c.source_key == source_key)

    async def forget_source(self, source_key: str) -> bool:
        """Clear the source."""
        forget = sa.update(IMAGES).where(IMAGES.c.source_key == source_key, LIVE).values(source_key=None)
        async with self._database.begin() as connection:
            return bool((await connection.execute(forget)).rowcount)

    async def promoted_among(self, source_keys: Collection[str]) -> set[str]:
        """Look the sources up, those of marked rows too: they go with their row."""
        return await self._among(IMAGES.c.source_key, source_keys)

    async def known_among(self, keys: Collection[str]) -> set[str]:
        """Look the keys up."""
        return await self._among(IMAGES.c.key, keys)

    async def name_of(self, username: str) -> Name | None:
        """Read the name's row."""
        async with self._database.read() as connection:
            return await find_name(connection, username)

    async def name_images(self, limit: int) -> int:
        """Name a batch in one transaction."""
        async with self._database.begin() as connection:
            return await name_images(connection, limit=limit)

    async def page(
        self, username: str, *, image_type: str | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Read on from the position: the same work wherever that is."""
        query = sa.select(*COLUMNS).where(IMAGES.c.name_key == key_of(username), LIVE)
        if image_type is not None:
            query = query.where(IMAGES.c.image_type == image_type)
        return await self._page(query, after, limit)

    async def all_page(
        self, *, username: str, kind: Kind | None, stored_since: datetime | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Read on from the position in everybody's images, from the index that fits."""
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
        """Look the names up first."""
        async with self._database.read() as connection:
            keys = await keys_of_person(connection, user_id, username)
        return await self._all(sa.select(*COLUMNS).where(IMAGES.c.name_key.in_(keys)).limit(limit))

    async def forget_names(self, user_id: str, username: str) -> None:
        """Delete the names' rows."""
        async with self._database.begin() as connection:
            await forget_names(connection, user_id, username)

    async def set_primary(self, image_id: str, caller: Principal) -> None:
        """Move the mark while the name's row is locked."""
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
        """Mark it, unless it is."""
        mark = sa.update(IMAGES).where(IMAGES.c.id == image_id, LIVE).values(deleted_at=now, is_primary=False)
        async with self._database.begin() as connection:
            await connection.execute(mark)

    async def finish_deletion(self, image_id: str) -> bool:
        """Delete the row."""
        async with self._database.begin() as connection:
            return bool((await connection.execute(sa.delete(IMAGES).where(IMAGES.c.id == image_id))).rowcount)

    async def deleting(self, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Read from the index of marked rows."""
        marked = IMAGES.c.deleted_at.is_not(None), IMAGES.c.deleted_at < before
        return await self._all(sa.select(*COLUMNS).where(*marked).order_by(IMAGES.c.deleted_at).limit(limit))

    async def older(self, kind: Kind, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Read from the index by age."""
        query = sa.select(*COLUMNS).where(IMAGES.c.kind == kind, IMAGES.c.uploaded_at < before, LIVE)
        return await self._all(query.order_by(IMAGES.c.uploaded_at).limit(limit))

    async def keys(self, prefix: str, *, after: str, limit: int) -> Sequence[StoredImage]:
        """Read from the index of keys."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        query = sa.select(*COLUMNS).where(IMAGES.c.key > max(prefix, after), IMAGES.c.key < end)
        return await self._all(query.order_by(IMAGES.c.key).limit(limit))

    async def check(self) -> None:
        """Ask the database."""
        await self._database.check()

    async def _first(self, condition: sa.ColumnElement[bool], *, marked: bool = False) -> StoredImage | None:
        query = sa.select(*COLUMNS).where(condition)
        found = await self._all(query if marked else query.where(LIVE))
        return found[0] if found else None

    async def _all(self, query: sa.Select[Any]) -> list[StoredImage]:
        async with self._database.read() as connection:
            return [_image(row) for row in (await connection.execute(query)).all()]

    async def _among(self, column: sa.Column[Any], keys: Collection[str]) -> set[str]:
        async with self._database.read() as connection:
            return set((await connection.execute(sa.select(column).where(column.in_(keys)))).scalars())
