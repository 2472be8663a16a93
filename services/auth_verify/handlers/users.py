"""What admins do about users."""

from __future__ import annotations

from aiohttp import web

from services.auth_verify.handlers.app_keys import ACCOUNTS, SESSIONS
from services.auth_verify.schemas import ManagedUser, UserChange, UsersAnswer, UsersQuery
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import principal_of
from shared.http.cursors import parse_cursor
from shared.http.validation import parse_json, parse_query

COLLECTION = "/api/admin/users"


async def list_users(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].require_still_admin(principal_of(request).user_id)
    query = parse_query(request, UsersQuery)
    after = parse_cursor(query.cursor) if query.cursor else None
    found, following = await request.app[ACCOUNTS].page(query.query, after=after, limit=query.limit)
    users = [ManagedUser.model_validate(user) for user in found]
    answer = UsersAnswer(users=users, count=len(users), next_cursor=following.cursor() if following else None)
    return json_answer(answer, headers=NO_STORE)


async def change_user(request: web.Request) -> web.Response:
    """`PATCH /api/admin/users/{user_id}`.

    Disabling somebody, and leaving somebody no role, ends their sessions, whose access tokens would say otherwise; asked
    again, those that are left.
    """
    await request.app[ACCOUNTS].require_still_admin(principal_of(request).user_id)
    body = await parse_json(request, UserChange)
    roles = None if body.roles is None else tuple(body.roles)
    user = await request.app[ACCOUNTS].change(request.match_info["user_id"], roles=roles, disabled=body.disabled)
    if user.disabled or roles == ():
        await request.app[SESSIONS].end_all(user.id)
    return json_answer(ManagedUser.model_validate(user), headers=NO_STORE)


ROUTES = (
    Route(
        method="GET",
        path=COLLECTION,
        handler=list_users,
        summary="Look through the users, newest first",
        access=Access.ADMIN,
        query=UsersQuery,
        answers={200: Answer("The users", UsersAnswer)},
        refusals=(503,),
    ),
    Route(
        method="PATCH",
        path=COLLECTION + "/{user_id}",
        handler=change_user,
        summary="Change a user's roles, or disable the user; sessions end where the role is taken or the user disabled",
        access=Access.ADMIN,
        body=UserChange,
        answers={200: Answer("The user", ManagedUser)},
        refusals=(409, 503),
    ),
)
