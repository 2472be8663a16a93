"""`GET /openapi.json`: the services' own documents put together, and of each only what the table lets through."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.examples import add_examples
from gateway.route_table import PublicRoute
from gateway.upstream.exchange import Pool, fetch
from shared.app.openapi import PATH_PARAMETER, describe, document, public_path
from shared.app.routes import Route, ServiceInfo
from shared.auth.access import Access

REMEMBERED_S = 5.0
SCHEMA_PATH = "#/components/schemas/"
WHERE_TOKENS_COME_FROM = "The `access_token` that `POST /api/auth/login` answers."


def _shape(path: str) -> str:
    """Return a path without its trailing slash and the names of its parameters: what two tables must agree on."""
    return PATH_PARAMETER.sub("{}", path).rstrip("/") or "/"


async def _ask(pool: Pool) -> dict[str, Any] | None:
    """Return a service's document, or None where it gives none in time."""
    try:
        found = json.loads(await fetch(pool, b"/openapi.json") or b"null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("paths"), dict) else None


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of a JSON tree in which references to schemas follow their new names."""
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _renamed(value, names) for key, value in node.items()}
    reference = copy.get("$ref")
    if isinstance(reference, str) and reference.startswith(SCHEMA_PATH):
        name = reference.removeprefix(SCHEMA_PATH)
        copy["$ref"] = SCHEMA_PATH + names.get(name, name)
    return copy


def _merge(whole: dict[str, Any], service: str, part: Mapping[str, Any], routes: Iterable[PublicRoute]) -> None:
    """Add what `routes` let through of a service's document; a schema that another service named alike gets a prefix."""
    schemas = part.get("components", {}).get("schemas", {})
    taken = whole["components"]["schemas"]
    prefix = "".join(word.capitalize() for word in service.split("-"))
    names = {name: prefix + name for name, schema in schemas.items() if taken.get(name, schema) != schema}
    allowed = {(route.method.lower(), _shape(route.path)) for route in routes}
    for path, operations in part["paths"].items():
        kept = {
            method: operation
            for method, operation in operations.items()
            if (method, _shape(path)) in allowed or (method == "head" and ("get", _shape(path)) in allowed)
        }
        if kept:
            whole["paths"].setdefault(path, {}).update(_renamed(kept, names))
    for name, schema in schemas.items():
        taken[names.get(name, name)] = _renamed(schema, names)


async def _nowhere(_request: web.Request) -> web.StreamResponse:
    return web.Response()


def _minimal(service: str, table: Iterable[PublicRoute]) -> dict[str, Any]:
    """Describe a service that has not been heard of yet from the table alone."""
    routes = [
        Route(
            method=route.method,
            path=public_path(route.path),
            handler=_nowhere,
            summary=f"Answered by {service}",
            access=route.access if route.access is not Access.SERVICE else Access.TOKEN,
        )
        for route in table
    ]
    return describe(ServiceInfo(service, service), routes, "")


class WholeApi:
    """The API of all services; one that is down keeps what it last said."""

    def __init__(
        self, info: ServiceInfo, public_url: str, table: Sequence[PublicRoute], pools: Mapping[str, Pool]
    ) -> None:
        self._info = info
        self._public_url = public_url
        self._routes = {service: [route for route in table if route.service == service] for service in pools}
        self._pools = pools
        self._said: dict[str, dict[str, Any]] = {}
        self._whole: dict[str, Any] = {}
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def document(self) -> dict[str, Any]:
        """Return the whole document, a few seconds old at most."""
        async with self._lock:
            if time.monotonic() - self._asked_at > REMEMBERED_S:
                answers = await asyncio.gather(*(_ask(pool) for pool in self._pools.values()))
                self._said |= {name: said for name, said in zip(self._pools, answers, strict=True) if said is not None}
                self._whole = self._put_together()
                self._asked_at = time.monotonic()
        return self._whole

    def _put_together(self) -> dict[str, Any]:
        info = self._info
        whole = document(info.title or info.name, info.description, info.version, self._public_url)
        for service, routes in self._routes.items():
            _merge(whole, service, self._said.get(service) or _minimal(service, routes), routes)
        whole["components"]["securitySchemes"]["bearer"]["description"] = WHERE_TOKENS_COME_FROM
        add_examples(whole)
        return whole


WHOLE_API: Final = web.AppKey("WHOLE_API", WholeApi)


async def openapi(request: web.Request) -> web.Response:
    """Answer with the whole API."""
    return web.json_response(await request.app[WHOLE_API].document())
