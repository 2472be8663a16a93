"""A service's URL table: what each path takes, who may call it, what it answers; OpenAPI is made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from shared import VERSION
from shared.auth.access import Access

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBody:
    """A multipart form: its text fields as a model, and its file fields with the most files each takes."""

    fields: type[BaseModel] | None = None
    files: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One documented answer: a JSON model, or another content type, or nothing."""

    description: str
    model: type[BaseModel] | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route: method and path (an aiohttp pattern), its handler, and all that OpenAPI says of it.

    `refusals` lists the statuses it refuses with beyond those that follow from `access`, `query` and `body`.
    A path that begins with `/internal/` is left out of OpenAPI.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    access: Access = Access.PUBLIC
    by_link: bool = False  # a signed link is as good as a token
    query: type[BaseModel] | None = None
    body: type[BaseModel] | FormBody | None = None
    form_too: bool = False  # the JSON body is also taken as application/x-www-form-urlencoded
    answers: Mapping[int, Answer] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    refusal_types: tuple[str, ...] = ()  # content types of refusals, beside problem+json


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What `GET /` says of a service."""

    name: str
    description: str
    title: str = ""
    version: str = VERSION
