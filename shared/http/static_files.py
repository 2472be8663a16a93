"""Files of ours as a site: a folder at an address, with types that browsers insist on, ETags and 304."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ETag, hdrs, web

from shared.errors import NotFound

NOT_FOUND: Final = "There is nothing at this path."
# Fixed here: what the system's own table says of `.js` and `.ts` differs from machine to machine.
TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",  # declarations of types, for reading
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """The bytes of one file, their type and their strong ETag (unquoted)."""

    body: bytes
    content_type: str
    etag: str


def static_file(name: str, body: bytes) -> StaticFile:
    suffix = Path(name).suffix.lower()
    kind = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/") or suffix in {".json", ".svg"}:
        kind += "; charset=utf-8"
    return StaticFile(body, kind, hashlib.sha256(body).hexdigest()[:32])


def read_folder(folder: Path, suffixes: Iterable[str]) -> dict[str, StaticFile]:
    """Read every file under `folder` that ends in one of `suffixes`, by its path there; installed packages are left out."""
    wanted = frozenset(suffixes)
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in wanted and path.is_file())
    names = {path.relative_to(folder): path for path in paths}
    return {
        name.as_posix(): static_file(name.name, path.read_bytes())
        for name, path in names.items()
        if "node_modules" not in name.parts
    }


def send_static(
    request: web.Request, files: Mapping[str, StaticFile], name: str, headers: Mapping[str, str]
) -> web.Response:
    """Answer GET or HEAD with the file, or with 304 where the client has it. Raises NotFound."""
    file = files.get(name)
    if file is None:
        raise NotFound(NOT_FOUND)
    all_headers = {hdrs.CACHE_CONTROL: "no-cache", **headers}
    known = request.if_none_match or ()
    if any(tag.value in {file.etag, "*"} for tag in known):
        response = web.Response(status=304, headers=all_headers)
    else:
        response = web.Response(body=file.body, headers={hdrs.CONTENT_TYPE: file.content_type, **all_headers})
    response.etag = ETag(file.etag)
    return response
