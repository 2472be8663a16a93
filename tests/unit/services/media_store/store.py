"""A media-store under test: the service on its own port, what it keeps, and an auth-verify beside it."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from services.media_store.adapters.sql.tables import IMAGES, NAMES
from services.media_store.app import build_app
from services.media_store.handlers.app_keys import IMAGES as IMAGE_SERVICE
from services.media_store.handlers.app_keys import OBJECTS, UPLOADS
from services.media_store.service.images import ImageService
from services.media_store.service.organizations import OrganizationUploads
from services.media_store.settings import MediaStoreSettings
from shared.auth.access_tokens import ServiceGuard
from shared.clock import utc_now
from shared.objects import ObjectStore
from shared.persistence.engine import open_database
from shared.uploads import UploadedFile
from tests.support.s3 import S3Server
from tests.support.serving import serving

JWT_SECRET = "j" * 40
INTERNAL_SECRET = "i" * 40
ORGANIZATION = "0b0e7c52-9b6f-4f0e-8d36-0d6d3f0e7c11"
JSON = dict[str, Any]


def token(user: str = "ann", *, admin: bool = False, **claims: Any) -> str:
    """Return an access token; the name is the id unless a claim says otherwise."""
    own = {"sub": user, "iss": "keepsake", "aud": "keepsake", "exp": int(time.time()) + 86_400}
    return jwt.encode({**own, "roles": ["admin"] if admin else [], **claims}, JWT_SECRET, "HS256")


def bearer(user: str = "ann", *, admin: bool = False, **claims: Any) -> dict[str, str]:
    """Return the header that signs `user` in."""
    return {"Authorization": f"Bearer {token(user, admin=admin, **claims)}"}


def form(image: bytes | None, filename: str = "cat.jpg", content_type: str = "image/jpeg", **fields: str) -> Any:
    """Return a form with an image and text fields."""
    data = aiohttp.FormData(quote_fields=False)
    for name, value in fields.items():
        data.add_field(name, value)
    if image is not None:
        data.add_field("image", io.BytesIO(image), filename=filename, content_type=content_type)
    return data


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: Any
    body: bytes
    json: Any = None


@dataclass
class AuthVerify:
    """Knows the members of organisations; counts how often it is asked."""

    members: dict[tuple[str, str], str]
    asked: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        ServiceGuard(INTERNAL_SECRET, "auth-verify").require(request.headers["Authorization"].removeprefix("Bearer "))
        self.asked += 1
        role = self.members.get((request.match_info["org_id"], request.match_info["user_id"]))
        return web.json_response({"role": role}) if role else web.Response(status=404)


@dataclass
class Store:
    """The service, and a look at what it keeps."""

    url: str
    http: aiohttp.ClientSession
    settings: MediaStoreSettings
    objects: ObjectStore
    auth_verify: AuthVerify
    service: ImageService
    uploads: OrganizationUploads

    async def keep(self, path: Path) -> None:
        """Do what `POST /store-image` does once the form is read."""
        await self.service.store(UploadedFile("cat.jpg", None, path.stat().st_size, "", path), "s", "original")

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Send one request; return the whole answer. A full URL goes where it points, but to this service."""
        path = path.removeprefix(self.settings.public_url)
        async with self.http.request(method, self.url + path, allow_redirects=False, **options) as answer:
            body = await answer.read()
            is_json = "json" in answer.content_type and body
            return Answer(answer.status, answer.headers, body, await answer.json() if is_json else None)

    async def store(self, image: bytes, **fields: str) -> JSON:
        """Store an image of a session."""
        answer = await self.call("POST", "/store-image", data=form(image, **fields))
        assert answer.status == 200, answer.body
        body: JSON = answer.json
        return body

    async def upload(self, image: bytes, user: str = "ann", **fields: str) -> JSON:
        """Upload a user's image."""
        said = {"username": user, "image_type": "gallery", **fields}
        answer = await self.call("POST", "/api/upload_user_image/", data=form(image, **said), headers=bearer(user))
        assert answer.status == 200, answer.body
        body: JSON = answer.json["image"]
        return body

    async def listed(self, user: str = "ann", **query: str) -> JSON:
        """List a user's images."""
        answer = await self.call("GET", f"/api/user_images/{user}/", params=query)
        assert answer.status == 200, answer.body
        body: JSON = answer.json
        return body

    async def sign(self, user: str = "ann", **body: Any) -> Answer:
        """Ask for a presigned upload."""
        wanted = {"content_type": "image/jpeg", "filename": "cat.jpg", **body}
        path = f"/api/v1/organizations/{ORGANIZATION}/temp-image-upload"
        return await self.call("POST", path, json=wanted, headers=bearer(user))

    async def send(self, signed: JSON, image: bytes, **changed: str | None) -> Answer:
        """Send the form that was signed, with fields changed or, where None, left out."""
        data = aiohttp.FormData(quote_fields=False)
        for name, value in {**signed["fields"], **changed}.items():
            if value is not None:
                data.add_field(name, value)
        data.add_field("file", io.BytesIO(image), filename="cat.jpg", content_type="image/jpeg")
        url = signed["url"].replace(self.settings.public_url, self.url)
        async with self.http.post(url, data=data, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def send_temporary(self, image: bytes, **wanted: str) -> JSON:
        """Sign and send; return what was signed."""
        signed: JSON = (await self.sign(**wanted)).json
        answer = await self.send(signed, image)
        assert answer.status == 204, answer.body
        return signed

    async def promote(self, key: str, user: str = "ann", organization: str = ORGANIZATION, **body: str) -> Answer:
        """Promote a temporary upload."""
        path = f"/api/v1/organizations/{organization}/images/promote"
        return await self.call("POST", path, json={"s3_key": key, "purpose": "events", **body}, headers=bearer(user))

    async def object_keys(self) -> list[str]:
        """List all keys."""
        return [facts.key async for facts in self.objects.list()]

    @asynccontextmanager
    async def tables(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction past the service."""
        async with (
            open_database(self.settings.database_url, self.settings.data_dir, "media-store") as database,
            database.begin() as connection,
        ):
            yield connection

    async def rows(self) -> list[Any]:
        """Read all rows of images and of names."""
        async with self.tables() as connection:
            images = (await connection.execute(sa.select(IMAGES).order_by(IMAGES.c.key))).all()
            return [*images, *(await connection.execute(sa.select(NAMES))).all()]

    async def execute(self, statement: Any) -> None:
        """Change the tables past the service."""
        async with self.tables() as connection:
            await connection.execute(statement)

    async def plan(self, query: str) -> str:
        """Return how the database would go about a query."""
        async with self.tables() as connection:
            return "; ".join(row.detail for row in (await connection.execute(sa.text(query))).all())

    def spooled(self) -> list[str]:
        """List the files on their way in."""
        return sorted(path.name for path in self.objects.spool.iterdir())

    async def everything(self) -> tuple[list[str], list[Any], list[str]]:
        """Take stock of what is kept: objects, rows, spool files."""
        return await self.object_keys(), await self.rows(), self.spooled()


@asynccontextmanager
async def open_store(
    settings: MediaStoreSettings, *, clock: Callable[[], datetime] = utc_now, auth_url: str = ""
) -> AsyncIterator[Store]:
    """Run the service with an auth-verify that knows ann as a member of ORGANIZATION."""
    auth_verify = AuthVerify({(ORGANIZATION, "ann"): "member"})
    auth_app = web.Application()
    auth_app.router.add_get("/internal/organizations/{org_id}/members/{user_id}", auth_verify.answer)
    async with serving(auth_app) as own_url:
        app = build_app(settings.model_copy(update={"auth_service_url": (auth_url or own_url,)}), clock)
        async with serving(app) as url, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            yield Store(url, http, settings, app[OBJECTS], auth_verify, app[IMAGE_SERVICE], app[UPLOADS])


def settings_of(data_dir: Path, **more: Any) -> MediaStoreSettings:
    """Return settings that read neither the environment nor `.env`."""
    return MediaStoreSettings(
        _env_file=None, data_dir=data_dir, jwt_secret_key=JWT_SECRET, internal_secret=INTERNAL_SECRET, **more
    )


def bucket_settings_of(data_dir: Path, s3: S3Server) -> MediaStoreSettings:
    """Return settings that keep images in a bucket of S3's."""
    return settings_of(
        data_dir,
        storage_backend="s3",
        s3_bucket=s3.bucket,
        s3_endpoint_url=s3.endpoint_url,
        aws_region=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
