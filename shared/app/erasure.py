"""The internal call by which auth-verify has a person erased, the same in every service that knows people."""

from __future__ import annotations

from typing import Final, Protocol

from aiohttp import web

from shared.app.responses import NO_STORE, json_answer
from shared.app.routes import Answer, Route
from shared.auth.access import Access
from shared.http.validation import WireModel, parse_json

PATH: Final = "/internal/erasures"


class ErasureRequest(WireModel):
    """Who is to be erased: the `sub` of the person's tokens, and the username, empty where it is not known."""

    user_id: str
    username: str


class ErasureAnswer(WireModel):
    """Whether nothing is left of the person; else the caller asks again."""

    done: bool


class Eraser(Protocol):
    """What a service has to erase people with."""

    async def erase(self, who: ErasureRequest) -> bool:
        """Erase a part that takes a second at most; True once nothing is left. Called again it goes on, or finds nothing."""


ERASER: Final = web.AppKey("ERASER", Eraser)


async def erase(request: web.Request) -> web.Response:
    who = await parse_json(request, ErasureRequest)
    return json_answer(ErasureAnswer(done=await request.app[ERASER].erase(who)), headers=NO_STORE)


ERASURE_ROUTE: Final = Route(
    method="POST",
    path=PATH,
    handler=erase,
    summary="Erase a part of what is kept of a person",
    access=Access.SERVICE,
    body=ErasureRequest,
    answers={200: Answer("Whether nothing is left", ErasureAnswer)},
)
