"""The client's modules in Chromium, as the gateway serves them: photos made ready, progress, and broken connections."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route

from tests.browser.client.conftest import SHOP, Shop
from tests.support import pictures
from tests.support.stack import Stack

HERE = Path(__file__).parent
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
PREPARE = """
async ([data, name, type, options]) => {
  const { prepareImage } = await import("/client/index.js");
  const file = new File([Uint8Array.fromBase64(data)], name, { type });
  const made = await prepareImage(file, options);
  const bytes = new Uint8Array(await made.arrayBuffer()).toBase64();
  return { same: made === file, name: made.name, type: made.type, bytes };
}
"""


@pytest.fixture
def page(shop: Shop) -> Page:
    opened = shop(HERE)
    opened.goto(SHOP)
    return opened


def prepare(page: Page, data: bytes, name: str = "cat.jpg", kind: str = "image/jpeg", **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = page.evaluate(PREPARE, [base64.b64encode(data).decode(), name, kind, options])
    made["bytes"] = base64.b64decode(made["bytes"])
    return made


def corner(data: bytes) -> tuple[int, ...]:
    """Return the colour of the upper left corner."""
    pixel = Image.open(io.BytesIO(data)).convert("RGB").getpixel((4, 4))
    assert isinstance(pixel, tuple)
    return pixel


def quartered(width: int = 800, height: int = 600) -> Image.Image:
    """Draw a red upper left quarter on blue."""
    picture = Image.new("RGB", (width, height), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return picture


def close(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return all(abs(one - two) < 12 for one, two in zip(left, right, strict=True))


def test_what_needs_no_change_or_cannot_be_changed_is_returned_untouched(page: Page) -> None:
    frames = [pictures.gradient(), pictures.noise()]
    moving = pictures.saved(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    given = [
        ("cat.jpg", "image/jpeg", pictures.jpeg(640, 480)),
        ("plain.jpg", "image/jpeg", pictures.with_metadata("JPEG", orientation=1)),
        ("cat.png", "image/png", pictures.png(640, 480)),
        ("moving.gif", "image/gif", pictures.animated_gif()),
        ("moving.png", "image/png", pictures.apng()),
        ("moving.webp", "image/webp", pictures.animated_webp()),
        ("phone.heic", "image/heic", pictures.heic()),
        ("cat.avif", "image/avif", pictures.saved(pictures.gradient(), "AVIF")),
        ("moving.avif", "image/avif", moving),
        ("cut.jpg", "image/jpeg", pictures.truncated(pictures.jpeg(640, 480), 0.01)),
        ("text.jpg", "image/jpeg", b"no image at all"),
        ("nothing", "", b""),
    ]
    for name, kind, data in given:
        assert prepare(page, data, name, kind, maxBytes=5_000_000, maxSide=4000)["same"], name


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_photo_that_lies_is_turned_upright(page: Page, image_format: str) -> None:
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        lying = pictures.saved(quartered().transpose(turn), image_format, exif=exif.tobytes())
        made = prepare(page, lying, f"cat.{image_format.lower()}", f"image/{image_format.lower()}")
        upright = Image.open(io.BytesIO(made["bytes"]))
        assert (upright.format, upright.size) == (image_format, (800, 600))
        assert upright.getexif().get(0x0112, 1) == 1
        assert close(corner(made["bytes"]), (255, 0, 0)), orientation


def test_a_large_photo_fits_its_longer_side_and_its_bytes(page: Page) -> None:
    photo = pictures.saved(pictures.noise(3000, 2000), "JPEG", quality=95)
    by_side = prepare(page, photo, maxSide=1500)
    assert Image.open(io.BytesIO(by_side["bytes"])).size == (1500, 1000)
    by_bytes = prepare(page, photo, maxBytes=500_000)
    assert 100_000 < len(by_bytes["bytes"]) <= 500_000
    avif = prepare(page, pictures.saved(pictures.gradient(800, 600), "AVIF"), "cat.avif", "image/avif", maxSide=400)
    assert (avif["type"], avif["name"]) == ("image/jpeg", "cat.jpg")
    png = pictures.saved(pictures.noise(1200, 900), "PNG")
    lossless = prepare(page, png, "cat.png", "image/png", maxBytes=1_000_000)
    assert (lossless["type"], lossless["name"]) == ("image/png", "cat.png")
    assert len(lossless["bytes"]) <= 1_000_000


def test_a_small_photo_is_never_enlarged(page: Page) -> None:
    made = prepare(page, pictures.jpeg(64, 48), maxSide=1000, type="image/webp")
    assert Image.open(io.BytesIO(made["bytes"])).size == (64, 48)
    assert (made["type"], made["name"]) == ("image/webp", "cat.webp")


def test_what_can_be_seen_through_becomes_white_in_a_jpeg(page: Page) -> None:
    clear = pictures.saved(Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG")
    assert close(corner(prepare(page, clear, "cat.png", "image/png", type="image/jpeg")["bytes"]), (255, 255, 255))


UPLOAD = """
async ([url, data]) => {
  const { createKeepsake } = await import("/client/index.js");
  const keepsake = createKeepsake({ baseUrl: url });
  const photo = new File([Uint8Array.fromBase64(data)], "cat.jpg", { type: "image/jpeg" });
  const seen = [];
  try {
    const { imageId } = await keepsake.tempImages.upload(photo, { onProgress: (at) => seen.push(at) });
    const image = await keepsake.tempImages.retrieve(imageId);
    return { seen, size: image.size };
  } catch (error) {
    return { ...error, message: error.message };
  }
}
"""


def upload(page: Page, stack: Stack, image: bytes) -> dict[str, Any]:
    said: dict[str, Any] = page.evaluate(UPLOAD, [stack.url("gateway"), base64.b64encode(image).decode()])
    return said


def test_an_upload_over_a_slow_line_tells_its_progress_to_the_end(page: Page, stack: Stack) -> None:
    slow = {"offline": False, "latency": 20, "uploadThroughput": 1_500_000, "downloadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    image = pictures.of_bytes(3_000_000)
    said = upload(page, stack, image)
    assert said["size"] == len(image)
    loaded = [at["loaded"] for at in said["seen"]]
    assert len(loaded) >= 3
    assert loaded == sorted(loaded)
    assert loaded[-1] == said["seen"][-1]["total"] > len(image)


def test_an_upload_whose_connection_broke_is_sent_again_under_the_same_key(page: Page, stack: Stack) -> None:
    keys: list[str | None] = []

    def break_twice(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        if len(keys) > 2:
            route.continue_()
        else:
            route.abort("connectionreset")

    page.route("**/api/temp-image-upload", break_twice)
    assert upload(page, stack, pictures.jpeg())["size"] == len(pictures.jpeg())
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_refusal_across_origins_has_the_servers_sentence(page: Page, stack: Stack) -> None:
    said = upload(page, stack, b"<html>")
    assert said["status"] == 415
    assert said["message"] == said["detail"]
    assert said["requestId"]


def test_a_photo_that_is_too_large_is_refused_and_not_a_broken_connection(page: Page, stack: Stack) -> None:
    said = upload(page, stack, pictures.of_bytes(9_000_000))
    assert said["status"] == 413


def test_any_origin_may_take_the_modules_from_the_gateway(page: Page, stack: Stack) -> None:
    said = page.evaluate(
        """
        async (url) => {
          const { createKeepsake, prepareImage } = await import(`${url}/client/index.js`);
          const { createAdmin } = await import(`${url}/client/admin.js`);
          const { placeholderDataURL } = await import(`${url}/client/placeholder.js`);
          const keepsake = createKeepsake({ baseUrl: url });
          const canvas = Object.assign(document.createElement("canvas"), { width: 300, height: 200 });
          const photo = await new Promise((done) => canvas.toBlob(done, "image/png"));
          const { imageId } = await keepsake.tempImages.upload(await prepareImage(photo, { maxSide: 150 }));
          const image = await createImageBitmap(await keepsake.tempImages.retrieve(imageId));
          const blurred = new Image();
          blurred.src = placeholderDataURL("3OcRJYB4d3h/iIeHeEh3eIhw+j3A");
          await blurred.decode();
          const refused = await createAdmin(keepsake).users.list().catch((error) => error.status);
          return { sides: [image.width, image.height], blurred: [blurred.naturalWidth, blurred.naturalHeight], refused };
        }
        """,
        stack.url("gateway"),
    )
    assert said["sides"] == [150, 100]
    assert max(said["blurred"]) == 32
    assert said["refused"] in {401, 404}
