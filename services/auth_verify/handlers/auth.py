"""Accounts, sessions and tokens."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from services.auth_verify.handlers.app_keys import ACCOUNTS, PERSON_ERASER, SESSIONS, SIGNER
from services.auth_verify.schemas import (
    ClaimsAnswer,
    ErasureOrder,
    IntrospectionAnswer,
    KeysAnswer,
    Login,
    RefreshRequest,
    Registration,
    TokenAnswer,
    TokenForm,
    UserAnswer,
)
from services.auth_verify.service.sessions import TokenPair, introspect
from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.auth.access_tokens import VERIFIER, principal_of, vouched_address
from shared.errors import BadRequest
from shared.http.clients import PEER, network_of, parse_address
from shared.http.validation import parse_form, parse_json, parse_json_or_form

KEYS_MAX_AGE_S = 60
ANSWERED_WITHIN_S = 5.0
# All that is printable in ASCII but the percent sign, so that decoding gives the id back.
PLAIN_IN_HEADERS = "!\"#$&'()*+,/:;<=>?@[\\]^_`{|}~-."


def _tokens(pair: TokenPair) -> web.Response:
    body = TokenAnswer(access_token=pair.access_token, expires_in=pair.expires_in_s, refresh_token=pair.refresh_token)
    return json_answer(body, headers=NO_STORE)


def _client_of(request: web.Request) -> str:
    """Return what failures are counted by: the address that the gateway vouches for, else the peer's; IPv6 by its /64."""
    return network_of(parse_address(vouched_address(request) or "") or request[PEER])


async def register(request: web.Request) -> web.Response:
    body = await parse_json(request, Registration)
    user = await request.app[ACCOUNTS].register(body.username, body.email, body.password)
    return json_answer(UserAnswer.model_validate(user), status=201, headers=NO_STORE)


async def login(request: web.Request) -> web.Response:
    body = await parse_json_or_form(request, Login)
    name = body.username or body.email
    if not name or not body.password:
        raise BadRequest.of(
            "username" if not name else "password",
            "Missing required fields: username or email, and password.",
            "missing_field",
        )
    user = await request.app[ACCOUNTS].authenticate(name, body.password, _client_of(request))
    return _tokens(await request.app[SESSIONS].open(user))


async def refresh(request: web.Request) -> web.Response:
    body = await parse_json_or_form(request, RefreshRequest)
    return _tokens(await request.app[SESSIONS].refresh(body.refresh_token))


async def logout(request: web.Request) -> web.Response:
    body = await parse_json_or_form(request, RefreshRequest)
    await request.app[SESSIONS].end(body.refresh_token)
    return web.Response(status=204)


async def me(request: web.Request) -> web.Response:
    caller = principal_of(request)
    user = await request.app[ACCOUNTS].users.get(caller.user_id)
    elsewhere = UserAnswer(id=caller.user_id, username=caller.username, email=None, roles=caller.roles, created_at=None)
    return json_answer(UserAnswer.model_validate(user) if user else elsewhere, headers=NO_STORE)


async def erase_me(request: web.Request) -> web.Response:
    """`DELETE /api/auth/me`: it is certain once it is answered, and done in all services that can be reached."""
    body = await parse_json(request, ErasureOrder)
    caller = principal_of(request)
    user = await request.app[ACCOUNTS].require_password(caller.user_id, body.password, _client_of(request))
    await request.app[PERSON_ERASER].erase(user.id, user.username, within_s=ANSWERED_WITHIN_S)
    return web.Response(status=204)


async def verify(request: web.Request) -> web.Response:
    caller = principal_of(request)
    user_id = quote(caller.user_id, safe=PLAIN_IN_HEADERS)
    return web.json_response(dict(caller.claims), headers={**NO_STORE, "X-User-Id": user_id})


async def introspection(request: web.Request) -> web.Response:
    form = await parse_form(request, TokenForm)
    return web.json_response(await introspect(request.app[VERIFIER], form.token), headers=NO_STORE)


async def jwks(request: web.Request) -> web.Response:
    keys = await request.app[SIGNER].public_keys()
    return web.json_response({"keys": keys}, headers={"Cache-Control": f"public, max-age={KEYS_MAX_AGE_S}"})


ROUTES = (
    Route(
        method="POST",
        path="/api/auth/register",
        handler=register,
        summary="Register a user",
        body=Registration,
        answers={201: Answer("The new user", UserAnswer)},
        refusals=(409, 503),
    ),
    Route(
        method="POST",
        path="/api/auth/login",
        handler=login,
        summary="Sign in with username or email and password",
        body=Login,
        form_too=True,
        answers={200: Answer("The tokens of a new session", TokenAnswer)},
        refusals=(401, 503),
    ),
    Route(
        method="POST",
        path="/api/auth/refresh",
        handler=refresh,
        summary="Go on with a session: each refresh token is good for one use",
        body=RefreshRequest,
        form_too=True,
        answers={200: Answer("The session's next tokens", TokenAnswer)},
        refusals=(401, 503),
    ),
    Route(
        method="POST",
        path="/api/auth/logout",
        handler=logout,
        summary="End a session, its refresh and access tokens",
        body=RefreshRequest,
        form_too=True,
        answers={204: Answer("The session has ended")},
        refusals=(503,),
    ),
    Route(
        method="GET",
        path="/api/auth/me",
        handler=me,
        summary="The caller",
        access=Access.TOKEN,
        answers={200: Answer("The caller", UserAnswer)},
        refusals=(503,),
    ),
    Route(
        method="DELETE",
        path="/api/auth/me",
        handler=erase_me,
        summary="Erase the caller: the account, sessions, images and unpaid orders; paid ones lose the person",
        access=Access.TOKEN,
        body=ErasureOrder,
        answers={204: Answer("Signed out, and erased")},
        refusals=(409, 429, 503),
    ),
    Route(
        method="GET",
        path="/api/auth/verify",
        handler=verify,
        summary="Whether the token is good, as a reverse proxy asks (forward auth)",
        access=Access.TOKEN,
        answers={200: Answer("The token's claims; the user id in X-User-Id", ClaimsAnswer)},
        refusals=(503,),
    ),
    Route(
        method="POST",
        path="/api/auth/introspect",
        handler=introspection,
        summary="Whether a token is active (RFC 7662), for services",
        access=Access.SERVICE,
        body=TokenForm,
        form_too=True,
        answers={200: Answer("The claims of an active token", IntrospectionAnswer)},
        refusals=(503,),
    ),
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        handler=jwks,
        summary="The public keys of access tokens, current and next",
        answers={200: Answer("The keys (RFC 7517)", KeysAnswer)},
        refusals=(503,),
    ),
)
