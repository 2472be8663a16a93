"""What the gateway shows to people: its front page, the API's documentation, the dashboard; and the JavaScript client's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from gateway.settings import GatewaySettings, PageSettings
from shared.app.routes import Handler, Route, ServiceInfo
from shared.http.body import size_text
from shared.http.conditional_requests import prefers_html
from shared.http.static_files import StaticFile, read_folder, send_static, static_file

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = ROOT / "web" / "pages"
CLIENT: Final = ROOT / "clients" / "javascript" / "src"
SWAGGER_UI: Final = ("swagger-ui-bundle.js", "swagger-ui.css")
ANY_ORIGIN: Final = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*", "Cross-Origin-Resource-Policy": "cross-origin"}
PLACEHOLDER: Final = re.compile(r"{{([a-z_]+)}}")
PURCHASE: Final = r"""# A photo, uploaded before the customer is sent away to pay.
IMAGE_ID=$(curl -fsS -F image=@photo.jpg {url}/api/temp-image-upload | sed -E 's/.*"imageId": ?"([^"]+)".*/\1/')

# A checkout session that carries it.
SESSION_ID=$(curl -fsS -H 'Content-Type: application/json' -d "{{\"imageId\": \"$IMAGE_ID\"}}" \
  {url}/api/checkout/embedded-session | sed -E 's/.*"session_id": ?"([^"]+)".*/\1/')
{pay}
# Back in the shop: is it paid? And the very photo, once.
curl -fsS "{url}/api/checkout/session-status?session_id=$SESSION_ID"
curl -fsS -o back.jpg "{url}/api/temp-image-retrieve?imageId=$IMAGE_ID"
"""
PAY: Final = """
# The customer pays.
curl -fsS -o /dev/null -d action=pay "{url}pay/$SESSION_ID"
"""


def _navigation(current: str) -> str:
    links = {"/docs": "API", "/admin": "Dashboard"}
    return "".join(
        f'<li><a href="{href}"{" aria-current=page" if href == current else ""}>{text}</a></li>'
        for href, text in links.items()
    )


def _tile(href: str, title: str, text: str) -> str:
    return f'<li><a class="card" href="{escape(href)}"><strong>{title}</strong><span>{text}</span></a></li>'


def _front_page_words(settings: PageSettings, info: ServiceInfo) -> dict[str, str]:
    """Return what the front page leaves open, as HTML."""
    shop, sandbox = settings.shop_url, settings.sandbox_url
    tiles = [
        ("/docs", "API", "Every call, to read and to try out."),
        ("/admin", "Dashboard", "Orders, payments and images, for whoever runs the shop."),
        ("/metrics", "Metrics", "Numbers for Prometheus."),
    ]
    if sandbox:
        tiles.insert(1, (sandbox, "Stripe sandbox", "Payments in which no real money moves."))
    if shop:
        tiles.insert(0, (shop, "Demo shop", "Five small storefronts, each request shown beside it."))
    start = (
        f'<a class="button primary" href="{escape(shop)}">Buy a picture in the demo shop</a>'
        f'<a class="button" href="{escape(shop)}planter">Order a planter</a>'
    )
    pay = PAY.format(url=sandbox) if sandbox else ""
    return {
        "navigation": _navigation("/"),
        "start": start if shop else '<a class="button primary" href="/docs">See the API</a>',
        "destinations": "".join(_tile(*tile) for tile in tiles),
        "purchase": escape(PURCHASE.format(url=settings.public_url, pay=pay)),
        "version": escape(info.version),
    }


def _limits(settings: GatewaySettings) -> str:
    """Return the limits in force, as names and values of a description list."""
    rates = {
        "All calls": settings.rate_limit_default,
        "/store-image": settings.rate_limit_store_image,
        "Signing in": settings.rate_limit_login,
    }
    limits = {
        "Image": size_text(settings.max_upload_size),
        "Temporary image": size_text(settings.temp_image_max_size),
        "Photos in an order": str(settings.max_files_per_order),
        **{name: f"{rate.amount} per {rate.GRANULARITY.name}" if rate else "no limit" for name, rate in rates.items()},
    }
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in limits.items())


def _filled(file: StaticFile, words: Mapping[str, str]) -> StaticFile:
    text = PLACEHOLDER.sub(lambda found: words[found[1]], file.body.decode())
    return static_file("page.html", text.encode())


def _read_swagger_ui() -> dict[str, StaticFile]:
    """Read Swagger UI's files out of the package that brings them, which wants flask and so is never imported."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "dist"
    return {name: static_file(name, (folder / name).read_bytes()) for name in SWAGGER_UI}


def _read_pages(settings: GatewaySettings, info: ServiceInfo) -> dict[str, StaticFile]:
    """Return every file of the pages, by its path."""
    pages = read_folder(PAGES, (".html", ".css", ".js", ".svg"))
    pages |= {f"docs/{name}": file for name, file in _read_swagger_ui().items()}
    pages["design.css"] = static_file("design.css", (PAGES.parent / "design.css").read_bytes())
    pages["index.html"] = _filled(pages["index.html"], _front_page_words(settings, info))
    pages["docs/index.html"] = _filled(pages["docs/index.html"], {"navigation": _navigation("/docs")})
    pages["admin/index.html"] = _filled(
        pages["admin/index.html"], {"version": escape(info.version), "limits": _limits(settings)}
    )
    return pages


def page_routes(settings: GatewaySettings, info: ServiceInfo, index: Handler) -> tuple[Route, ...]:
    """Return the routes of the pages; `index` answers `GET /` for whoever does not prefer HTML."""
    if settings.pages == "off":
        return ()
    files = _read_pages(settings, info)
    headers = {
        "Content-Security-Policy": settings.policy,
        "Referrer-Policy": "no-referrer",
    }

    async def front(request: web.Request) -> web.StreamResponse:
        if prefers_html(request):
            return send_static(request, files, "index.html", {**headers, hdrs.VARY: hdrs.ACCEPT})
        answer = await index(request)
        answer.headers[hdrs.VARY] = hdrs.ACCEPT
        return answer

    async def page(request: web.Request) -> web.StreamResponse:
        return send_static(request, files, request.match_info["name"], headers)

    async def docs(request: web.Request) -> web.StreamResponse:
        return send_static(request, files, f"docs/{request.match_info.get('name', 'index.html')}", headers)

    async def admin(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "")
        # A view has an address of its own, and one page shows them all.
        return send_static(request, files, f"admin/{name if '.' in name else 'index.html'}", headers)

    return (
        Route(method="GET", path="/", handler=front, summary="What this is: a page for people, JSON for programs"),
        Route(method="GET", path="/pages/{name:.+}", handler=page, summary="Files of the pages"),
        Route(method="GET", path="/docs", handler=docs, summary="The API, to read and to try out"),
        Route(method="GET", path="/docs/{name:.+}", handler=docs, summary="Files of /docs"),
        Route(method="GET", path="/admin", handler=admin, summary="The dashboard, for the role admin"),
        Route(method="GET", path="/admin/{name:.+}", handler=admin, summary="Its views and files"),
    )


def client_routes() -> tuple[Route, ...]:
    """Return the route of the JavaScript client's modules, which pages of any origin may load."""
    files = read_folder(CLIENT, (".js", ".ts"))

    async def client(request: web.Request) -> web.StreamResponse:
        return send_static(request, files, request.match_info["name"], ANY_ORIGIN)

    return (Route(method="GET", path="/client/{name:.+}", handler=client, summary="The JavaScript client's modules"),)
