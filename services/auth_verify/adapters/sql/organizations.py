"""Organisations and their members in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth_verify.adapters.sql.tables import MEMBERS, ORGANIZATIONS
from services.auth_verify.model import Member, Members, Organization, Role
from shared.clock import utc_now
from shared.persistence.engine import Repository


def _row(organization_id: str, member: Member) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "user_id": member.user_id,
        "username": member.username,
        "role": member.role.value,
        "joined_at": utc_now(),
    }


async def _members(connection: AsyncConnection, organization_id: str) -> Members:
    query = (
        sa.select(MEMBERS)
        .where(MEMBERS.c.organization_id == organization_id)
        .order_by(MEMBERS.c.joined_at, MEMBERS.c.user_id)
    )
    rows = (await connection.execute(query)).all()
    return {row.user_id: Member(row.user_id, row.username, Role(row.role)) for row in rows}


class SqlOrganizations(Repository):
    """Keeps organisations; changes of one organisation's members happen one after another."""

    async def add(self, organization: Organization, owner: Member) -> None:
        row = {"id": organization.id, "name": organization.name, "created_at": organization.created_at}
        async with self._database.begin() as connection:
            await connection.execute(sa.insert(ORGANIZATIONS), row)
            await connection.execute(sa.insert(MEMBERS), _row(organization.id, owner))

    async def of_user(self, user_id: str) -> Sequence[tuple[Organization, Role]]:
        query = (
            sa.select(ORGANIZATIONS, MEMBERS.c.role)
            .join(MEMBERS)
            .where(MEMBERS.c.user_id == user_id)
            .order_by(ORGANIZATIONS.c.created_at, ORGANIZATIONS.c.id)
        )
        rows = await self._database.rows(query)
        return [(Organization(row.id, row.name, row.created_at), Role(row.role)) for row in rows]

    async def get(self, organization_id: str) -> tuple[Organization, Members] | None:
        """Return the organisation and its members, in the order they joined."""
        query = sa.select(ORGANIZATIONS).where(ORGANIZATIONS.c.id == organization_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            return Organization(row.id, row.name, row.created_at), await _members(connection, organization_id)

    async def change_members(self, organization_id: str, change: Callable[[Members], Members]) -> Members:
        """Replace the members by what `change` makes of them, while the organisation's row is locked; return the new ones.

        An organisation that does not exist has no members. Whatever `change` raises leaves all as it was.
        """
        lock = sa.select(ORGANIZATIONS.c.id).where(ORGANIZATIONS.c.id == organization_id).with_for_update()
        async with self._database.begin() as connection:
            await connection.execute(lock)
            before = await _members(connection, organization_id)
            after = change(before)
            for user_id in before.keys() - after.keys():
                await connection.execute(sa.delete(MEMBERS).where(*_is(organization_id, user_id)))
            for member in after.values():
                known = before.get(member.user_id)
                if known is None:
                    await connection.execute(sa.insert(MEMBERS), _row(organization_id, member))
                elif known != member:
                    await connection.execute(
                        sa.update(MEMBERS)
                        .where(*_is(organization_id, member.user_id))
                        .values(role=member.role.value, username=member.username)
                    )
        return after


def _is(organization_id: str, user_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return MEMBERS.c.organization_id == organization_id, MEMBERS.c.user_id == user_id
