"""THE table: every path of the contract, its service, who may call it, how much it takes, and how long it may take.

What is not here is 404. Both spellings of a path (with and without its trailing slash) are one row; `HEAD` comes with `GET`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from gateway.settings import GatewaySettings
from shared.auth.access import Access

KIB = 1024
MIB = 2**20
JSON_BYTES = 64 * KIB
FORM_BYTES = 2 * MIB  # what a form brings beside its files: 20 parts of 8 KiB headers and 64 KiB text
XML_REFUSED_BYTES = 1024 * MIB  # the service refuses by itself, in S3's XML
FIRST_BYTE_S = 10.0
CHECKOUT_FIRST_BYTE_S = 15.0


class Limit(StrEnum):
    """The rate limit a row counts to, beside the one that every row counts to."""

    DEFAULT = "default"
    LOGIN = "login"
    STORE_IMAGE = "store-image"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One path with one method.

    `file_bytes` is what each of its `files` may have (the form's own bytes come on top); without files `body_bytes` bounds
    the body. In `by_link` rows a signed link is as good as a token. `signed` rows tell the service the client's address in a
    signed header; in `one_time` rows the gateway confirms the delivery; `events` never end by themselves.
    """

    method: str
    path: str
    service: str
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
        """The most bytes of its body."""
        if not self.files:
            return self.body_bytes
        # As in `shared.uploads`: with room for one file too many, which the service refuses for its number.
        return (self.files + (self.files > 1)) * self.file_bytes + FORM_BYTES


def _temp_image(settings: GatewaySettings) -> tuple[Row, ...]:
    service = "temp-image"
    retrieve = "/api/temp-image-retrieve"
    return (
        Row(
            method="POST",
            path="/api/temp-image-upload",
            service=service,
            signed=True,
            files=1,
            file_bytes=settings.temp_image_max_size,
        ),
        Row(method="GET", path=retrieve, service=service, signed=True, one_time=True),
        Row(method="HEAD", path=retrieve, service=service, signed=True),
    )


def _media_store(settings: GatewaySettings) -> tuple[Row, ...]:
    service = "media-store"
    token, admin = Access.TOKEN, Access.ADMIN
    file_bytes = settings.max_upload_size
    image = "/api/user_image/{id}"
    organization = "/api/v1/organizations/{org_id}"
    return (
        Row(
            method="POST",
            path="/store-image",
            service=service,
            access=token if settings.store_image_require_auth else Access.PUBLIC,
            limit=Limit.STORE_IMAGE,
            signed=True,
            files=1,
            file_bytes=file_bytes,
        ),
        Row(
            method="POST", path="/api/upload_user_image", service=service, access=token, files=1, file_bytes=file_bytes
        ),
        Row(method="GET", path="/api/user_images/{username}", service=service),
        Row(method="DELETE", path=f"{image}/delete", service=service, access=token),
        Row(method="POST", path=f"{image}/delete", service=service, access=token),
        Row(method="POST", path=f"{image}/set_primary", service=service, access=token),
        Row(method="PUT", path=f"{image}/set_primary", service=service, access=token),
        Row(method="GET", path=f"{image}/serve", service=service, by_link=not settings.media_public_read),
        Row(method="GET", path="/media/{key:.+}", service=service, by_link=not settings.media_public_read),
        Row(method="DELETE", path="/media/{key:.+}", service=service, access=admin),
        Row(method="POST", path="/media", service=service, body_bytes=XML_REFUSED_BYTES),
        Row(method="GET", path="/api/admin/images", service=service, access=admin),
        Row(method="GET", path="/api/debug/r2-status", service=service, access=admin),
        Row(method="POST", path="/api/test-r2-storage", service=service, access=admin),
        Row(method="POST", path=f"{organization}/temp-image-upload", service=service, access=token),
        Row(method="POST", path=f"{organization}/images/promote", service=service, access=token),
    )


def _planter_orders(settings: GatewaySettings) -> tuple[Row, ...]:
    service = "planter-orders"
    token, admin = Access.TOKEN, Access.ADMIN
    order = "/api/images/orders/{order_id}"
    return (
        Row(
            method="POST",
            path="/api/images/upload",
            service=service,
            access=token,
            files=settings.max_files_per_order,
            file_bytes=settings.max_upload_size,
        ),
        Row(method="GET", path="/api/images/orders", service=service, access=token),
        Row(method="GET", path=order, service=service, access=token),
        Row(method="DELETE", path=order, service=service, access=token, first_byte_s=CHECKOUT_FIRST_BYTE_S),
        Row(method="GET", path=f"{order}/files/{{filename}}", service=service, access=token, by_link=True),
        Row(method="GET", path=f"{order}/events", service=service, access=token, by_link=True, events=True),
        Row(
            method="PUT",
            path=f"{order}/files/{{filename}}",
            service=service,
            access=token,
            files=1,
            file_bytes=settings.max_upload_size,
        ),
        Row(method="GET", path=f"{order}/photos.zip", service=service, access=token, by_link=True),
        Row(method="GET", path="/api/admin/summary", service=service, access=admin),
        Row(method="GET", path="/api/admin/deliveries", service=service, access=admin),
        Row(method="POST", path="/api/admin/deliveries/{id}/resend", service=service, access=admin),
        Row(method="PATCH", path="/api/admin/orders/{order_id}", service=service, access=admin),
        Row(method="POST", path="/api/admin/orders/{order_id}/photo-requests", service=service, access=admin),
        Row(
            method="DELETE",
            path="/api/admin/orders/{order_id}/photo-requests/{filename}",
            service=service,
            access=admin,
        ),
        Row(method="GET", path="/api/admin/orders", service=service, access=admin),
        Row(method="GET", path="/api/admin/orders.csv", service=service, access=admin),
    )


def _checkout(_settings: GatewaySettings) -> tuple[Row, ...]:
    service = "checkout"
    patient = CHECKOUT_FIRST_BYTE_S
    return (
        Row(
            method="POST",
            path="/api/checkout/embedded-session",
            service=service,
            signed=True,
            first_byte_s=patient,
        ),
        Row(method="GET", path="/api/checkout/session-status", service=service, first_byte_s=patient),
        Row(method="GET", path="/api/checkout/sessions/{session_id}/image", service=service, first_byte_s=patient),
        Row(method="POST", path="/api/checkout/webhook", service=service, body_bytes=MIB, first_byte_s=patient),
        Row(method="POST", path="/api/checkout/refunds", service=service, access=Access.ADMIN, first_byte_s=patient),
        Row(method="GET", path="/api/admin/payments", service=service, access=Access.ADMIN),
        Row(
            method="POST",
            path="/api/admin/payments/{session_id}/resolve",
            service=service,
            access=Access.ADMIN,
            first_byte_s=patient,
        ),
    )


def _auth_verify(_settings: GatewaySettings) -> tuple[Row, ...]:
    service = "auth-verify"
    token = Access.TOKEN
    organizations = "/api/v1/organizations"
    members = f"{organizations}/{{org_id}}/members"
    return (
        *(
            Row(method="POST", path=f"/api/auth/{name}", service=service, limit=Limit.LOGIN, signed=True)
            for name in ("register", "login", "refresh")
        ),
        Row(method="POST", path="/api/auth/logout", service=service),
        Row(method="GET", path="/api/auth/me", service=service, access=token),
        Row(method="DELETE", path="/api/auth/me", service=service, access=token, limit=Limit.LOGIN, signed=True),
        Row(method="GET", path="/api/auth/verify", service=service, access=token),
        Row(method="POST", path="/api/auth/introspect", service=service),
        Row(method="GET", path="/.well-known/jwks.json", service=service),
        Row(method="POST", path=organizations, service=service, access=token),
        Row(method="GET", path=organizations, service=service, access=token),
        Row(method="GET", path=f"{organizations}/{{org_id}}", service=service, access=token),
        Row(method="GET", path=members, service=service, access=token),
        Row(method="POST", path=members, service=service, access=token),
        Row(method="PATCH", path=f"{members}/{{user_id}}", service=service, access=token),
        Row(method="DELETE", path=f"{members}/{{user_id}}", service=service, access=token),
        Row(method="GET", path="/api/admin/users", service=service, access=Access.ADMIN),
        Row(method="PATCH", path="/api/admin/users/{user_id}", service=service, access=Access.ADMIN),
    )


def build_table(settings: GatewaySettings) -> tuple[Row, ...]:
    """Return every row; limits follow the settings that the services read as well."""
    parts = (_temp_image, _media_store, _planter_orders, _checkout, _auth_verify)
    return tuple(row for part in parts for row in part(settings))
