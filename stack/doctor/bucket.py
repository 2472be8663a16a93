"""Where objects are kept: written, read and deleted as services do, and uploaded to as browsers do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import aiohttp

from services.media_store.adapters.cloudinary import open_cloudinary
from services.media_store.model.cloudinary import parse_account
from services.media_store.service.storage_probe import StorageProbe
from services.media_store.settings import MediaStoreSettings
from shared.objects.factory import open_object_store
from shared.settings import StorageSettings
from stack.doctor.findings import UNREACHED, Finding, right, shown, wrong
from stack.doctor.machine import compare_clocks
from stack.doctor.services import open_client

PERMISSIONS = {"write": "s3:PutObject", "read": "s3:GetObject", "compare": "s3:GetObject", "delete": "s3:DeleteObject"}
PROBE_KEY = "temp/keepsake-doctor"


async def check_storage(settings: StorageSettings) -> AsyncIterator[Finding]:
    """Write an object of the doctor's own, read it back and delete it."""
    if settings.storage_backend != "local":
        try:
            async with open_client() as http, http.head(settings.bucket.url):
                pass
        except (aiohttp.ClientError, OSError):
            yield wrong("storage", f"nothing answers at {shown(settings.bucket.url)}.", UNREACHED)
            return
    async with open_object_store(settings) as objects:
        steps = await StorageProbe(objects).run()
    for step in steps:
        if not step.success:
            bucket = settings.storage_backend != "local"
            mend = (
                f"see that the keys may {PERMISSIONS[step.name]} on the bucket, and that its name and region are right."
            )
            yield wrong("storage", f"{step.name} fails.", mend if bucket else "see that DATA_DIR is whole.")
    if all(step.success for step in steps):
        yield right("storage", "an object was written, read back and deleted.")


async def check_cloudinary(settings: MediaStoreSettings) -> AsyncIterator[Finding]:
    account = parse_account(settings.cloudinary_url)
    async with open_cloudinary(settings.cloudinary_api_base.rstrip("/"), account, settings.data_dir) as cloudinary:
        await cloudinary.check()
    yield right("cloudinary", f"the account {account.cloud} takes our signature.")


async def check_browsers(settings: StorageSettings, origins: Sequence[str]) -> AsyncIterator[Finding]:
    """Send the preflights of a presigned upload from each origin; on R2 forms come to Keepsake itself."""
    forms = {"POST": settings.bucket.url} if settings.storage_backend == "s3" else {}
    targets = {**forms, "PUT": f"{settings.bucket.url}{PROBE_KEY}"}
    async with aiohttp.ClientSession() as http:
        async with http.head(settings.bucket.url) as answer:  # refused without a signature, and dated
            if date := answer.headers.get("Date"):
                yield compare_clocks("the bucket", date, "signed uploads")
        for origin in origins:
            refused = [method for method, url in targets.items() if not await _is_allowed(http, url, origin, method)]
            what = f"uploads from {origin}"
            if refused:
                yield wrong(
                    what,
                    f"the bucket's CORS rules do not let a browser there send {' and '.join(refused)}.",
                    'add the rule of docs/operations.md, "Images in a bucket", with this origin.',
                )
            else:
                yield right(what, "the bucket lets a browser there upload.")


async def _is_allowed(http: aiohttp.ClientSession, url: str, origin: str, method: str) -> bool:
    """Ask what a browser asks (Fetch, CORS-preflight fetch) before it sends a photo with its type."""
    asked = {
        "Origin": "https://any.example" if origin == "*" else origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    }
    async with http.options(url, headers=asked) as answer:
        allowed = answer.headers
        return (
            answer.ok
            and allowed.get("Access-Control-Allow-Origin") in {asked["Origin"], "*"}
            and method in _words(allowed, "Access-Control-Allow-Methods") | {"POST"}  # POST needs no leave
            and bool({"content-type", "*"} & _words(allowed, "Access-Control-Allow-Headers"))
        )


def _words(headers: Mapping[str, str], name: str) -> set[str]:
    words = headers.get(name, "").split(",")
    return {word.strip() if name.endswith("Methods") else word.strip().lower() for word in words}
