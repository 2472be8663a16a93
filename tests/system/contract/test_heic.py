"""docs/contract.md, "HEIC and AVIF": a phone's photo through the gateway, by every upload, where it is asked for."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
import pytest
from PIL import Image

from tests.support import heif_pictures, pictures
from tests.support.stack import Stack, running_stack
from tests.unit.services.planter_orders.api import Api as Orders
from tests.unit.services.planter_orders.test_photos import replaced

TURNED = heif_pictures.turned()
UPRIGHT = (240, 320)
PHOTOS = {
    "turned": (TURNED, UPRIGHT),
    "a grid": (heif_pictures.turned(tile_size=128), UPRIGHT),
    "10 bits": (heif_pictures.of_ten_bits(), (64, 48)),
    "a depth image": (heif_pictures.with_depth(), (320, 240)),
}
REFUSED = {
    "damaged": pictures.truncated(TURNED, 0.7),
    "without pixels": heif_pictures.boxes(),
    "uncompressed": heif_pictures.boxes(item=b"unci"),
    "a sequence": heif_pictures.boxes(brand=b"hevc"),
    "too large": heif_pictures.boxes(size=(9000, 9000)),
}


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack with HEIC_UPLOADS=on."""
    with running_stack(tmp_path_factory.mktemp("heic"), {"HEIC_UPLOADS": "on"}) as whole:
        yield whole


class Phone:
    """Somebody who sends what an iPhone takes, to the gateway alone."""

    def __init__(self, http: aiohttp.ClientSession, stack: Stack) -> None:
        self.stack = stack
        self.user = f"user-{uuid4().hex[:8]}"
        now = int(time.time())
        claims = {"sub": self.user, "username": self.user, "roles": [], "iss": "keepsake", "aud": "keepsake"}
        secret = stack.settings["JWT_SECRET_KEY"]
        token = jwt.encode({**claims, "iat": now, "exp": now + 900}, secret, "HS256")
        self.orders = Orders(http, stack.url("gateway"), token, stack.settings["INTERNAL_SECRET"])

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.orders.call(method, path, **options)
        assert answer.status in {200, 201}, answer
        return answer.body

    async def fetch(self, url: str) -> bytes:
        async with self.orders.http.get(url) as answer:
            assert answer.status == 200, url
            return await answer.read()

    async def send(self, path: str, photo: bytes, **fields: str) -> Any:
        return await self.ask("POST", path, data=form(photo, **fields))


def form(photo: bytes, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("image", io.BytesIO(photo), filename="IMG_0001.HEIC", content_type="image/heic")
    return data


def is_upright_jpeg(data: bytes, size: tuple[int, int] = UPRIGHT) -> bool:
    with Image.open(io.BytesIO(data)) as picture:
        return (picture.format, picture.size, dict(picture.getexif())) == ("JPEG", size, {})


@pytest.fixture
async def phone(taking: Stack) -> AsyncIterator[Phone]:
    async with aiohttp.ClientSession() as http:
        yield Phone(http, taking)


@pytest.mark.parametrize(("photo", "size"), PHOTOS.values(), ids=PHOTOS)
async def test_a_stored_one_is_an_upright_jpeg(phone: Phone, photo: bytes, size: tuple[int, int]) -> None:
    fields = {"username": phone.user, "image_type": "gallery"}
    for answer in (
        await phone.send("/store-image", photo),
        (await phone.send("/api/upload_user_image/", photo, **fields))["image"],
    ):
        assert (answer["converted_from"], answer["width"], answer["height"]) == ("heic", *size)
        assert answer["placeholder"]
        assert is_upright_jpeg(await phone.fetch(answer["url"]), size)


async def test_a_presigned_one_is_an_upright_jpeg_once_it_is_promoted(phone: Phone) -> None:
    organization = (await phone.ask("POST", "/api/v1/organizations", json={"name": "Org"}))["id"]
    path = f"/api/v1/organizations/{organization}"
    wanted = {"content_type": "image/jpeg", "filename": "IMG_0001.jpg"}
    signed = await phone.ask("POST", f"{path}/temp-image-upload", json=wanted)
    data = aiohttp.FormData(signed["fields"])
    data.add_field("file", io.BytesIO(TURNED), filename="IMG_0001.jpg", content_type="image/jpeg")
    async with phone.orders.http.post(signed["url"], data=data) as sent:
        assert sent.status == 204
    body = {"s3_key": signed["s3_key"], "purpose": "events"}
    promoted = await phone.ask("POST", f"{path}/images/promote", json=body)
    assert promoted["converted_from"] == "heic"
    assert is_upright_jpeg(await phone.fetch(promoted["url"]))


async def test_an_order_keeps_the_original_and_shows_a_jpeg(phone: Phone) -> None:
    photo = ("IMG_0001.HEIC", TURNED, "image/heic")
    order_id = (await phone.orders.upload(photo)).body["order_id"]
    for _ in range(2):
        (file,) = (await phone.orders.looked_at(order_id))["files"]
        assert (file["converted_from"], file["width"], file["height"]) == ("heic", *UPRIGHT)
        assert await phone.ask("GET", file["url"].removeprefix(phone.stack.url("gateway"))) == TURNED
        with Image.open(io.BytesIO(await phone.fetch(file["links"]["thumbnail"]))) as thumbnail:
            assert thumbnail.height > thumbnail.width
        assert (await replaced(phone.orders, order_id, file["filename"], photo)).status == 200


async def test_a_temporary_one_stays_as_it_came_and_its_payer_gets_a_jpeg(phone: Phone) -> None:
    image_id = (await phone.send("/api/temp-image-upload", TURNED))["imageId"]
    session = (await phone.ask("POST", "/api/checkout/embedded-session", json={"imageId": image_id}))["session_id"]
    paid = f"{phone.stack.url('stripe-sandbox')}/pay/{session}"
    async with phone.orders.http.post(paid, data={"action": "pay"}, allow_redirects=False) as answer:
        assert answer.status == 303
    seen = await phone.ask("GET", "/api/checkout/session-status", params={"session_id": session})
    assert seen["image"]["state"] == "promoted"
    assert is_upright_jpeg(await phone.fetch(seen["image"]["url"]))
    assert await phone.ask("GET", "/api/temp-image-retrieve", params={"imageId": image_id}) == TURNED


@pytest.mark.parametrize("photo", REFUSED.values(), ids=REFUSED)
async def test_a_hostile_one_is_refused_by_every_upload_that_keeps_it(phone: Phone, photo: bytes) -> None:
    fields = {"username": phone.user, "image_type": "gallery"}
    for path, data in (("/store-image", form(photo)), ("/api/upload_user_image/", form(photo, **fields))):
        assert (await phone.orders.call("POST", path, data=data)).status in {413, 415, 422}
    assert (await phone.orders.upload(("IMG_0001.HEIC", photo, "image/heic"))).status in {413, 415, 422}
    assert (await phone.ask("GET", f"/api/user_images/{phone.user}/"))["count"] == 0
    assert (await phone.ask("GET", "/api/images/orders"))["orders"] == []
