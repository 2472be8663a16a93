"""Wire types as JSON answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from pydantic import BaseModel

NO_STORE: Final = {"Cache-Control": "no-store"}
# For answers that carry a capability, such as a session's id: no cache keeps it, no other page is told of it.
PRIVATE: Final = {**NO_STORE, "Referrer-Policy": "no-referrer"}


def json_answer(body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Render `body`; its datetimes must be aware and in UTC, so that they end in `Z`."""
    return web.Response(
        status=status,
        body=body.model_dump_json().encode(),
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )
