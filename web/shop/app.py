"""A static server: the shop's pages, the design they share, and the JavaScript client as npm would bring it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from aiohttp import web

from shared.app.factory import base_app
from shared.app.routes import Handler, Route, ServiceInfo
from shared.http.static_files import StaticFile, read_folder, send_static, static_file
from web.shop.settings import ShopSettings

ROOT: Final = Path(__file__).resolve().parents[2]
INFO: Final = ServiceInfo(name="demo-shop", description="Five storefronts that show what Keepsake does")
PAGES: Final = {
    "/": "index.html",
    "/hero-me": "hero-me.html",
    "/pet-art": "pet-art.html",
    "/profile": "profile.html",
    "/planter": "planter.html",
    "/event": "event.html",
}


def _read_site(settings: ShopSettings) -> dict[str, StaticFile]:
    """Return every file by its path; `site/config.js` is the one that says where Keepsake and the shop are."""
    site = read_folder(ROOT / "web" / "shop" / "site", (".html", ".css", ".js"))
    client = read_folder(ROOT / "clients" / "javascript" / "src", (".js",))
    config = {"keepsakeUrl": settings.public_url, "shopUrl": settings.frontend_url}
    made = {
        "design.css": (ROOT / "web" / "design.css").read_bytes(),
        "icon.svg": (ROOT / "web" / "pages" / "icon.svg").read_bytes(),
        "config.js": f"export default {json.dumps(config)};\n".encode(),
    }
    return (
        site
        | {f"client/{name}": file for name, file in client.items()}
        | {name: static_file(name, body) for name, body in made.items()}
    )


def create_app(settings: ShopSettings) -> web.Application:
    files = _read_site(settings)
    headers = {
        "Content-Security-Policy": settings.policy,
        # The address of the page after a payment holds the session's id, which is as good as a key.
        "Referrer-Policy": "no-referrer",
    }

    def page(name: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return send_static(request, files, name, headers)

        return answer

    async def file(request: web.Request) -> web.StreamResponse:
        return send_static(request, files, request.match_info["name"], headers)

    routes = (
        *(Route(method="GET", path=path, handler=page(name), summary=name) for path, name in PAGES.items()),
        Route(method="GET", path="/site/{name:.+}", handler=file, summary="Scripts, styles and the client"),
    )
    return base_app(INFO, settings, routes)
