"""Whose the names are, and the images of each; with what the release before wrote, which knew each spelling apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.media_store.adapters.sql.tables import IMAGES, NAMES, OLD_NAMES
from services.media_store.model.names import Name, first_spelling, key_of_old_name
from shared.auth.access_tokens import Principal
from shared.names import name_key


def key_of(username: str) -> sa.ColumnElement[str]:
    """Return, for a query, the key of a name: its exact spelling's where that is a name of its own, else the name key."""
    key = name_key(username)
    if key == username:
        return sa.literal(key)
    exact = sa.select(NAMES.c.name_key).where(NAMES.c.name_key == username).scalar_subquery()
    return sa.func.coalesce(exact, key)


async def find_name(connection: AsyncConnection, username: str, *, lock: bool = False) -> Name | None:
    """Return whose the name is, if anybody has used it; with `lock` nobody else changes it until the transaction ends."""
    query = sa.select(NAMES).where(NAMES.c.name_key == key_of(username))
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return Name(row.name_key, row.username, row.owner) if row else None


async def locked_name(connection: AsyncConnection, username: str) -> Name:
    """Lock a name until the transaction ends, its row made if need be."""
    known = await find_name(connection, username, lock=True)
    if known is None:
        row = {"name_key": name_key(username), "username": username, "owner": None}
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        await connection.execute(insert(NAMES).values(row).on_conflict_do_nothing())
        known = await find_name(connection, username, lock=True)
    if known is None:
        raise LookupError
    return known


async def take_name(connection: AsyncConnection, name: Name, uploader: Principal) -> None:
    """Give a free name to the uploader, who is called so."""
    if name.owner is None and first_spelling(name.username, uploader) == uploader.username:
        owned = sa.update(NAMES).where(NAMES.c.name_key == name.key)
        await connection.execute(owned.values(owner=uploader.user_id))


async def keys_of_person(connection: AsyncConnection, user_id: str, username: str) -> Sequence[str]:
    """Return the keys of the names that are the person's, and of `username` where it is nobody else's."""
    owned = (await connection.scalars(sa.select(NAMES.c.name_key).where(NAMES.c.owner == user_id))).all()
    name = await find_name(connection, username) if username else None
    if not username or (name is not None and name.owner is not None):
        return owned
    return [*owned, name.key if name else name_key(username)]


async def forget_names(connection: AsyncConnection, user_id: str, username: str) -> None:
    """Delete the rows of a person's names, also those of the release before."""
    keys = await keys_of_person(connection, user_id, username)
    await connection.execute(sa.delete(NAMES).where(NAMES.c.name_key.in_(keys)))
    await connection.execute(sa.delete(OLD_NAMES).where(OLD_NAMES.c.owner == user_id))


async def clear_primary(connection: AsyncConnection, keys: Sequence[str]) -> None:
    """Leave these names without a primary image."""
    cleared = sa.update(IMAGES).where(IMAGES.c.name_key.in_(keys), IMAGES.c.is_primary).values(is_primary=False)
    await connection.execute(cleared)


async def name_images(connection: AsyncConnection, *, limit: int) -> int:
    """Give up to `limit` images that have none their name key, the oldest first; return how many were given one.

    Of several primary images that meet under one name the newest stays primary.
    """
    unnamed = IMAGES.c.username.is_not(None), IMAGES.c.name_key.is_(None)
    if (await connection.execute(sa.select(IMAGES.c.id).where(*unnamed).limit(1))).first() is None:
        return 0
    if connection.dialect.name == "postgresql":  # one at a time, and no name is taken meanwhile
        await connection.execute(sa.text("LOCK TABLE media_names IN SHARE ROW EXCLUSIVE MODE"))
    columns = IMAGES.c.id, IMAGES.c.username, IMAGES.c.is_primary
    oldest = sa.select(*columns).where(*unnamed).order_by(IMAGES.c.uploaded_at, IMAGES.c.id).limit(limit)
    rows = (await connection.execute(oldest)).all()
    if not rows:
        return 0
    keys = await _keys_of_old_names(connection, list(dict.fromkeys(row.username for row in rows)))
    primary = {keys[row.username]: row.id for row in rows if row.is_primary}
    await clear_primary(connection, list(primary))
    this = sa.update(IMAGES).where(IMAGES.c.id == sa.bindparam("this_image"))
    new = [{"this_image": row.id, "its_key": keys[row.username]} for row in rows]
    # Unmarked first: the index holds one primary image of a name at every moment.
    await connection.execute(this.values(name_key=sa.bindparam("its_key"), is_primary=False), new)
    if primary:
        await connection.execute(this.values(is_primary=True), [{"this_image": image} for image in primary.values()])
    return len(rows)


async def _keys_of_old_names(connection: AsyncConnection, usernames: Sequence[str]) -> dict[str, str]:
    """Return the keys of these spellings; the names that are not known yet are added."""
    query = sa.select(OLD_NAMES).where(OLD_NAMES.c.username.in_(usernames))
    old: dict[str, str | None] = {row.username: row.owner for row in (await connection.execute(query)).all()}
    asked = {*usernames, *map(name_key, usernames)}
    query = sa.select(NAMES).where(NAMES.c.name_key.in_(asked))
    owners: dict[str, str | None] = {row.name_key: row.owner for row in (await connection.execute(query)).all()}
    keys: dict[str, str] = {}
    new: dict[str, dict[str, Any]] = {}
    for username in usernames:
        owner = old.get(username)
        key = username if username in owners else key_of_old_name(username, owner, owners)
        keys[username] = key
        if key not in owners:
            new[key] = {"name_key": key, "username": username, "owner": owner}
        owners[key] = owners.get(key) or owner
    if new:
        await connection.execute(sa.insert(NAMES), list(new.values()))
    return keys
