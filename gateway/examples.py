"""Examples for `GET /openapi.json`: what a reader tries first, by the path and the name of each thing."""

from __future__ import annotations

from typing import Any, Final

UUID: Final = "3f0c8a52-5c0e-4b7e-9d55-0b6f2f6f1c11"
PASSWORD: Final = "correct horse battery"
PARAMETERS: Final[dict[str, Any]] = {
    "filename": "20261126_120000_a1b2c3.jpg",
    "id": UUID,
    "imageId": "0123456789abcdef0123456789abcdef",
    "key": "pet-images/demo_original_20261126120000_a1b2c3d4.jpg",
    "order_id": UUID,
    "org_id": UUID,
    "session_id": "cs_test_a1B2c3D4e5F6g7H8",
    "user_id": UUID,
    "username": "sam",
}
SIGNED_IN: Final = {"refresh_token": "the refresh_token of a sign-in"}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /api/admin/orders/{order_id}/photo-requests": {"filename": PARAMETERS["filename"], "reason": "blurred"},
    "PATCH /api/admin/orders/{order_id}": {"status": "in_production", "note": "The clay is in the kiln."},
    "POST /api/admin/payments/{session_id}/resolve": {"action": "fulfil", "note": "Seen in Stripe's dashboard."},
    "DELETE /api/auth/me": {"password": "your own, and all that is kept of you goes"},
    "PATCH /api/admin/users/{user_id}": {"disabled": False},
    "POST /api/auth/introspect": {"token": "the token that was presented"},
    "POST /api/auth/login": {"username": "sam", "password": PASSWORD},
    "POST /api/auth/logout": SIGNED_IN,
    "POST /api/auth/refresh": SIGNED_IN,
    "POST /api/auth/register": {"username": "sam", "email": "sam@example.com", "password": PASSWORD},
    "POST /api/checkout/embedded-session": {"sku": "hero-me-board", "quantity": 1},
    "POST /api/checkout/refunds": {"session_id": PARAMETERS["session_id"], "reason": "requested_by_customer"},
    "POST /api/images/upload": {"pet_name": "Rex", "pet_type": "dog", "notes": "Left ear stands up."},
    "POST /api/upload_user_image": {"username": "sam", "image_type": "profile", "is_primary": "true", "caption": "Me"},
    "POST /api/v1/organizations": {"name": "Spring fair"},
    "POST /api/v1/organizations/{org_id}/images/promote": {"s3_key": f"temp/{UUID}/banner.jpg", "purpose": "events"},
    "POST /api/v1/organizations/{org_id}/members": {"username": "alex", "role": "member"},
    "PATCH /api/v1/organizations/{org_id}/members/{user_id}": {"role": "admin"},
    "POST /api/v1/organizations/{org_id}/temp-image-upload": {"content_type": "image/jpeg", "filename": "banner.jpg"},
    "POST /store-image": {"purpose": "original", "session_id": "demo"},
}


def add_examples(document: dict[str, Any]) -> None:
    """Put an example on every required parameter and on every body that has one here."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["required"] and parameter["name"] in PARAMETERS:
                    parameter["example"] = PARAMETERS[parameter["name"]]
            body = BODIES.get(f"{method.upper()} {path}")
            content = operation.get("requestBody", {}).get("content", {}) if body else {}
            for kind, described in content.items():
                if kind != "multipart/form-data":
                    described["example"] = body
                else:  # a file is chosen, the texts beside it are examples each by itself
                    described["schema"]["properties"] = _with_examples(described["schema"]["properties"], body or {})


def _with_examples(properties: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {name: schema | ({"example": body[name]} if name in body else {}) for name, schema in properties.items()}
