"""Organisations and their members."""

from __future__ import annotations

from aiohttp import web

from services.auth_verify.handlers.app_keys import ORGANIZATIONS
from services.auth_verify.model import Member, Organization, Role
from services.auth_verify.schemas import (
    MemberAnswer,
    MembersAnswer,
    MembershipAnswer,
    NewMember,
    NewOrganization,
    OrganizationAnswer,
    OrganizationsAnswer,
    RoleChange,
)
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.errors import BadRequest
from shared.http.validation import parse_json

COLLECTION = "/api/v1/organizations"
ONE = COLLECTION + "/{org_id}"
MEMBERS = ONE + "/members"
MEMBER = MEMBERS + "/{user_id}"


def _organization(organization: Organization, role: Role) -> OrganizationAnswer:
    return OrganizationAnswer(
        id=organization.id, name=organization.name, created_at=organization.created_at, role=role.value
    )


def _member(member: Member) -> MemberAnswer:
    return MemberAnswer(user_id=member.user_id, username=member.username, role=member.role.value)


async def create(request: web.Request) -> web.Response:
    caller = principal_of(request)
    body = await parse_json(request, NewOrganization)
    organization = await request.app[ORGANIZATIONS].create(body.name, caller.user_id, caller.username)
    return json_answer(_organization(organization, Role.OWNER), status=201)


async def list_own(request: web.Request) -> web.Response:
    own = await request.app[ORGANIZATIONS].organizations.of_user(principal_of(request).user_id)
    body = OrganizationsAnswer(organizations=[_organization(organization, role) for organization, role in own])
    return json_answer(body, headers=NO_STORE)


async def show(request: web.Request) -> web.Response:
    caller_id = principal_of(request).user_id
    organization, members = await request.app[ORGANIZATIONS].get(request.match_info["org_id"], caller_id)
    return json_answer(_organization(organization, members[caller_id].role), headers=NO_STORE)


async def list_members(request: web.Request) -> web.Response:
    caller_id = principal_of(request).user_id
    _, members = await request.app[ORGANIZATIONS].get(request.match_info["org_id"], caller_id)
    return json_answer(MembersAnswer(members=[_member(member) for member in members.values()]), headers=NO_STORE)


async def add_member(request: web.Request) -> web.Response:
    body = await parse_json(request, NewMember)
    if body.user_id is None and body.username is None:
        raise BadRequest.of("user_id", "Missing required fields: user_id or username.", "missing_field")
    member = await request.app[ORGANIZATIONS].add_member(
        request.match_info["org_id"],
        principal_of(request).user_id,
        user_id=body.user_id,
        username=body.username,
        role=Role(body.role),
    )
    return json_answer(_member(member), status=201)


async def change_role(request: web.Request) -> web.Response:
    body = await parse_json(request, RoleChange)
    path = request.match_info
    caller_id = principal_of(request).user_id
    member = await request.app[ORGANIZATIONS].change_role(path["org_id"], caller_id, path["user_id"], Role(body.role))
    return json_answer(_member(member))


async def remove_member(request: web.Request) -> web.Response:
    path = request.match_info
    caller_id = principal_of(request).user_id
    await request.app[ORGANIZATIONS].remove_member(path["org_id"], caller_id, path["user_id"])
    return web.Response(status=204)


async def tell_role(request: web.Request) -> web.Response:
    """`GET /internal/organizations/{org_id}/members/{user_id}`: the role, or 404."""
    path = request.match_info
    role = await request.app[ORGANIZATIONS].role_of(path["org_id"], path["user_id"])
    return json_answer(MembershipAnswer(role=role.value), headers=NO_STORE)


ROUTES = (
    Route(
        method="POST",
        path=COLLECTION,
        handler=create,
        summary="Found an organization",
        access=Access.TOKEN,
        body=NewOrganization,
        answers={201: Answer("The new organization, owned by the caller", OrganizationAnswer)},
        refusals=(503,),
    ),
    Route(
        method="GET",
        path=COLLECTION,
        handler=list_own,
        summary="The caller's organizations",
        access=Access.TOKEN,
        answers={200: Answer("The caller's organizations, the oldest first", OrganizationsAnswer)},
        refusals=(503,),
    ),
    Route(
        method="GET",
        path=ONE,
        handler=show,
        summary="One of the caller's organizations",
        access=Access.TOKEN,
        answers={200: Answer("The organization", OrganizationAnswer)},
        refusals=(503,),
    ),
    Route(
        method="GET",
        path=MEMBERS,
        handler=list_members,
        summary="An organization's members",
        access=Access.TOKEN,
        answers={200: Answer("The members, in the order they joined", MembersAnswer)},
        refusals=(503,),
    ),
    Route(
        method="POST",
        path=MEMBERS,
        handler=add_member,
        summary="Add a member by user id or username",
        access=Access.TOKEN,
        body=NewMember,
        answers={201: Answer("The new member", MemberAnswer)},
        refusals=(409, 503),
    ),
    Route(
        method="PATCH",
        path=MEMBER,
        handler=change_role,
        summary="Give a member another role",
        access=Access.TOKEN,
        body=RoleChange,
        answers={200: Answer("The member", MemberAnswer)},
        refusals=(409, 503),
    ),
    Route(
        method="DELETE",
        path=MEMBER,
        handler=remove_member,
        summary="Remove a member, or leave",
        access=Access.TOKEN,
        answers={204: Answer("Removed")},
        refusals=(409, 503),
    ),
    Route(
        method="GET",
        path="/internal/organizations/{org_id}/members/{user_id}",
        handler=tell_role,
        summary="A member's role, for services",
        access=Access.SERVICE,
        answers={200: Answer("The role", MembershipAnswer)},
    ),
)
