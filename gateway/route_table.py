"""THE table: every path of the contract, its service, who may call it, how much it takes, and how long it may take.

What is not here is 404. Both spellings of a path (with and without its trailing slash) are one route; `HEAD` comes with `GET`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import cached_property, partial

from gateway.settings import GatewaySettings
from shared.auth.access import Access

KIB = 1024
MIB = 2**20
JSON_BYTES = 64 * KIB
FORM_BYTES = 2 * MIB  # what a form brings beside its files: 20 parts of 8 KiB headers and 64 KiB text
XML_REFUSED_BYTES = 1024 * MIB  # the service refuses by itself, in S3's XML
FIRST_BYTE_S = 10.0
CHECKOUT_FIRST_BYTE_S = 15.0
TOKEN, ADMIN = Access.TOKEN, Access.ADMIN


class Limit(StrEnum):
    """The rate limit a route counts to, beside the one that every route counts to."""

    DEFAULT = "default"
    LOGIN = "login"
    STORE_IMAGE = "store-image"


@dataclass(frozen=True)
class PublicRoute:
    """One path with one method.

    `file_bytes` is what each of its `files` may have (the form's own bytes come on top); without files `body_bytes` bounds
    the body. In `by_link` routes a signed link is as good as a token. `signed` routes tell the service the client's address in a
    signed header; in `one_time` routes the gateway confirms the delivery; `events` never end by themselves.
    """

    service: str
    method: str
    path: str
    _: KW_ONLY
    access: Access = Access.PUBLIC
    by_link: bool = False
    limit: Limit = Limit.DEFAULT
    body_bytes: int = JSON_BYTES
    files: int = 0
    file_bytes: int = 0
    first_byte_s: float = FIRST_BYTE_S
    signed: bool = False
    one_time: bool = False
    events: bool = False

    @cached_property
    def max_bytes(self) -> int:
        if not self.files:
            return self.body_bytes
        # As in `shared.uploads`: with room for one file too many, which the service refuses for its number.
        return (self.files + (self.files > 1)) * self.file_bytes + FORM_BYTES


def _temp_image(settings: GatewaySettings) -> Iterable[PublicRoute]:
    route = partial(PublicRoute, "temp-image", signed=True)
    yield route("POST", "/api/temp-image-upload", files=1, file_bytes=settings.temp_image_max_size)
    yield route("GET", "/api/temp-image-retrieve", one_time=True)
    yield route("HEAD", "/api/temp-image-retrieve")


def _media_store(settings: GatewaySettings) -> Iterable[PublicRoute]:
    route, by_link = partial(PublicRoute, "media-store"), not settings.media_public_read
    file = partial(route, "POST", files=1, file_bytes=settings.max_upload_size)
    store_access = TOKEN if settings.store_image_require_auth else Access.PUBLIC
    image = "/api/user_image/{id}"
    organization = "/api/v1/organizations/{org_id}"
    yield file("/store-image", access=store_access, limit=Limit.STORE_IMAGE, signed=True)
    yield file("/api/upload_user_image", access=TOKEN)
    yield route("GET", "/api/user_images/{username}")
    yield route("DELETE", f"{image}/delete", access=TOKEN)
    yield route("POST", f"{image}/delete", access=TOKEN)
    yield route("POST", f"{image}/set_primary", access=TOKEN)
    yield route("PUT", f"{image}/set_primary", access=TOKEN)
    yield route("GET", f"{image}/serve", by_link=by_link)
    yield route("GET", "/media/{key:.+}", by_link=by_link)
    yield route("DELETE", "/media/{key:.+}", access=ADMIN)
    yield route("POST", "/media", body_bytes=XML_REFUSED_BYTES)
    yield route("GET", "/api/admin/images", access=ADMIN)
    yield route("GET", "/api/debug/r2-status", access=ADMIN)
    yield route("POST", "/api/test-r2-storage", access=ADMIN)
    yield route("POST", f"{organization}/temp-image-upload", access=TOKEN)
    yield route("POST", f"{organization}/images/promote", access=TOKEN)


def _planter_orders(settings: GatewaySettings) -> Iterable[PublicRoute]:
    own, admin = (
        partial(PublicRoute, "planter-orders", access=TOKEN),
        partial(PublicRoute, "planter-orders", access=ADMIN),
    )
    file_bytes = settings.max_upload_size
    order = "/api/images/orders/{order_id}"
    requests = "/api/admin/orders/{order_id}/photo-requests"
    yield own("POST", "/api/images/upload", files=settings.max_files_per_order, file_bytes=file_bytes)
    yield own("GET", "/api/images/orders")
    yield own("GET", order)
    yield own("DELETE", order, first_byte_s=CHECKOUT_FIRST_BYTE_S)
    yield own("GET", f"{order}/files/{{filename}}", by_link=True)
    yield own("GET", f"{order}/events", by_link=True, events=True)
    yield own("PUT", f"{order}/files/{{filename}}", files=1, file_bytes=file_bytes)
    yield own("GET", f"{order}/photos.zip", by_link=True)
    yield admin("GET", "/api/admin/summary")
    yield admin("GET", "/api/admin/deliveries")
    yield admin("POST", "/api/admin/deliveries/{id}/resend")
    yield admin("PATCH", "/api/admin/orders/{order_id}")
    yield admin("POST", requests)
    yield admin("DELETE", f"{requests}/{{filename}}")
    yield admin("GET", "/api/admin/orders")
    yield admin("GET", "/api/admin/orders.csv")


def _checkout(_settings: GatewaySettings) -> Iterable[PublicRoute]:
    route = partial(PublicRoute, "checkout", first_byte_s=CHECKOUT_FIRST_BYTE_S)
    yield route("POST", "/api/checkout/embedded-session", signed=True)
    yield route("GET", "/api/checkout/session-status")
    yield route("GET", "/api/checkout/sessions/{session_id}/image")
    yield route("POST", "/api/checkout/webhook", body_bytes=MIB)
    yield route("POST", "/api/checkout/refunds", access=ADMIN)
    yield route("GET", "/api/admin/payments", access=ADMIN, first_byte_s=FIRST_BYTE_S)
    yield route("POST", "/api/admin/payments/{session_id}/resolve", access=ADMIN)


def _auth_verify(_settings: GatewaySettings) -> Iterable[PublicRoute]:
    route = partial(PublicRoute, "auth-verify")
    organizations = "/api/v1/organizations"
    members = f"{organizations}/{{org_id}}/members"
    yield route("POST", "/api/auth/register", limit=Limit.LOGIN, signed=True)
    yield route("POST", "/api/auth/login", limit=Limit.LOGIN, signed=True)
    yield route("POST", "/api/auth/refresh", limit=Limit.LOGIN, signed=True)
    yield route("POST", "/api/auth/logout")
    yield route("GET", "/api/auth/me", access=TOKEN)
    yield route("DELETE", "/api/auth/me", access=TOKEN, limit=Limit.LOGIN, signed=True)
    yield route("GET", "/api/auth/verify", access=TOKEN)
    yield route("POST", "/api/auth/introspect")
    yield route("GET", "/.well-known/jwks.json")
    yield route("POST", organizations, access=TOKEN)
    yield route("GET", organizations, access=TOKEN)
    yield route("GET", f"{organizations}/{{org_id}}", access=TOKEN)
    yield route("GET", members, access=TOKEN)
    yield route("POST", members, access=TOKEN)
    yield route("PATCH", f"{members}/{{user_id}}", access=TOKEN)
    yield route("DELETE", f"{members}/{{user_id}}", access=TOKEN)
    yield route("GET", "/api/admin/users", access=ADMIN)
    yield route("PATCH", "/api/admin/users/{user_id}", access=ADMIN)


def build_table(settings: GatewaySettings) -> tuple[PublicRoute, ...]:
    """Return every route; limits follow the settings that the services read as well."""
    parts = (_temp_image, _media_store, _planter_orders, _checkout, _auth_verify)
    return tuple(route for part in parts for route in part(settings))
