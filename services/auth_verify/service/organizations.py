"""Organisations and who belongs to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from services.auth_verify.adapters.sql.organizations import SqlOrganizations
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.model import (
    Member,
    Members,
    Organization,
    Role,
    no_such_organization,
    no_such_user,
    parse_id,
    require_manager,
    require_member,
    with_member,
    with_role,
    without_member,
)
from shared.clock import utc_now
from shared.errors import NotAllowedValue
from shared.names import CANNOT_BE_CARRIED, is_carriable, name_key


@dataclass(slots=True)
class OrganizationService:
    """What members may see and do; to everybody else an organisation does not exist."""

    organizations: SqlOrganizations
    users: SqlUsers
    now: Callable[[], datetime] = utc_now

    async def create(self, name: str, caller_id: str, caller_name: str) -> Organization:
        """Keep a new organisation that the caller owns; raises NotAllowedValue where the caller's id fits no path."""
        if not is_carriable(caller_id):
            raise NotAllowedValue(
                "Your user id could not be named as a member's: it " + CANNOT_BE_CARRIED + ".", "user_id_not_allowed"
            )
        organization = Organization(str(uuid4()), name, self.now())
        await self.organizations.add(organization, Member(caller_id, caller_name, Role.OWNER))
        return organization

    async def get(self, organization_id: str, caller_id: str) -> tuple[Organization, Members]:
        """Return what a member may see; raises NotFound."""
        found = await self.organizations.get(parse_id(organization_id))
        if found is None:
            raise no_such_organization()
        require_member(found[1], caller_id)
        return found

    async def role_of(self, organization_id: str, user_id: str) -> Role:
        """Return a member's role; raises NotFound."""
        _, members = await self.get(organization_id, user_id)
        return members[user_id].role

    async def add_member(
        self, organization_id: str, caller_id: str, *, user_id: str | None, username: str | None, role: Role
    ) -> Member:
        """Add somebody by id or, among those registered here, by name; raises NotFound, Forbidden or Conflict."""
        _, members = await self.get(organization_id, caller_id)
        # Before anybody is looked up: who may not add learns nothing about users here.
        require_manager(members, caller_id, role)
        member = await self._candidate(user_id, username or "", role)
        changed = await self.organizations.change_members(
            parse_id(organization_id), lambda present: with_member(present, caller_id, member)
        )
        return changed[member.user_id]

    async def change_role(self, organization_id: str, caller_id: str, user_id: str, role: Role) -> Member:
        """Give a member another role; raises NotFound, Forbidden or Conflict (`last_owner`)."""
        changed = await self.organizations.change_members(
            parse_id(organization_id), lambda members: with_role(members, caller_id, user_id, role)
        )
        return changed[user_id]

    async def remove_member(self, organization_id: str, caller_id: str, user_id: str) -> None:
        """Take a member out, or leave; raises NotFound, Forbidden or Conflict (`last_owner`)."""
        await self.organizations.change_members(
            parse_id(organization_id), lambda members: without_member(members, caller_id, user_id)
        )

    async def _candidate(self, user_id: str | None, username: str, role: Role) -> Member:
        key = name_key(username)
        user = await (self.users.get(user_id) if user_id is not None else self.users.find(key))
        if user is not None and (user_id is not None or name_key(user.username) == key):
            return Member(user.id, user.username, role)
        if user_id is None:
            raise no_such_user()
        return Member(user_id, user_id, role)  # another issuer's: its name is not known here
