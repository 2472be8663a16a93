"""Nobody changes, lists or reaches what is somebody else's: images, orders, the uploads of organisations."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.support.pictures import jpeg
from tests.support.stack import Stack
from tests.system.attacks.conftest import Person
from tests.system.attacks.test_others_things import NOBODYS, ORGANIZATIONS, Reply, call
from tests.unit.services.media_store.store import form

DOORS = ("gateway", "port")


def door_of(site: Stack, door: str, service: str) -> str:
    return site.url("gateway" if door == "gateway" else service)


async def upload(http: aiohttp.ClientSession, site: Stack, who: Person | None, username: str, **fields: str) -> Reply:
    data = form(jpeg(), username=username, image_type="gallery", **fields)
    return await call(http, who, "POST", f"{site.url('gateway')}/api/upload_user_image/", data=data)


@pytest.fixture
async def image_id(http: aiohttp.ClientSession, site: Stack, alice: Person) -> str:
    status, body = await upload(http, site, alice, alice.username)
    assert status == 200, body
    return str(body["image"]["id"])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("method", "action"), [("DELETE", "delete"), ("POST", "delete"), ("POST", "set_primary"), ("PUT", "set_primary")]
)
async def test_somebody_elses_image_is_not_changed(
    http: aiohttp.ClientSession, site: Stack, mallory: Person, *, image_id: str, method: str, action: str, door: str
) -> None:
    base = door_of(site, door, "media-store")
    url = f"{base}/api/user_image/{image_id}/{action}/"
    assert (await call(http, mallory, method, url))[0] in {403, 404}
    assert (await call(http, None, method, url))[0] == 401
    assert (await call(http, mallory, method, url.replace(image_id, NOBODYS)))[0] == 404
    async with http.get(f"{base}/api/user_image/{image_id}/serve/") as served:
        assert served.status == 200


NAMES = (
    "{name}",
    " {name}",
    "{name} ",
    "{name}/",
    "../{name}",
    "{name}/../{name}",
    "{name}\u200b",
    "{name}\u0000",
    "{name};",
    "{name}%00",
    "",
    ".",
    "..",
    "a/b",
    "%2e%2e",
    "x" * 151,
)


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_uploads_under_another_name(
    http: aiohttp.ClientSession, site: Stack, alice: Person, mallory: Person, name: str
) -> None:
    url = f"{site.url('gateway')}/api/user_images/{alice.username}/"
    _, before = await call(http, None, "GET", url)
    status, _ = await upload(http, site, mallory, name.replace("{name}", alice.username))
    assert status in {400, 403, 422}
    assert (await upload(http, site, None, alice.username))[0] == 401
    assert (await call(http, None, "GET", url))[1] == before


KEYS = (
    "uploads/pet_images/x/y/order_metadata.json", "checkouts/x.jpg", "revoked/x", "../auth-verify.db", "..%2fauth-verify.db",
    "pet-images/../uploads/x", "pet-images/..%2f..%2fauth-verify.db", "pet-images//x", "pet-images/./x", "users", "users/",
    "/etc/passwd",
    "%2fetc%2fpasswd", "pet-images/%00", "pet-images/x%0d%0aX:y", "UPLOADS/x", "temp-images/x", ".", "..",
    "pet-images/..;/uploads/x",
    "events/%252e%252e/uploads/x", "pet-images/~", "C:%5cwindows", "pet-images/" + "x" * 1100,
)  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("key", KEYS)
async def test_nothing_private_is_under_media(http: aiohttp.ClientSession, site: Stack, key: str, door: str) -> None:
    from yarl import URL

    for method in ("GET", "HEAD"):
        url = URL(f"{door_of(site, door, 'media-store')}/media/{key}", encoded=True)
        async with http.request(method, url, allow_redirects=False) as answer:
            assert answer.status in {400, 403, 404}


async def test_objects_are_removed_by_admins_alone(
    http: aiohttp.ClientSession, site: Stack, alice: Person, mallory: Person
) -> None:
    _, kept = await call(http, None, "POST", f"{site.url('gateway')}/store-image", data=form(jpeg()))
    for who, refusal in ((None, 401), (mallory, 403), (alice, 403)):
        assert (await call(http, who, "DELETE", f"{site.url('gateway')}/media/{kept['key']}"))[0] == refusal
        for path, method in (("/api/debug/r2-status/", "GET"), ("/api/test-r2-storage/", "POST")):
            assert (await call(http, who, method, site.url("gateway") + path))[0] == refusal
    async with http.get(kept["url"]) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("door", DOORS)
async def test_nobody_uploads_for_an_organisation_of_others(
    http: aiohttp.ClientSession, site: Stack, alice: Person, mallory: Person, door: str
) -> None:
    wanted = {"content_type": "image/png", "filename": "a.png"}
    _, own = await call(http, alice, "POST", site.url("gateway") + ORGANIZATIONS, json={"name": "Club"})
    _, other = await call(http, mallory, "POST", site.url("gateway") + ORGANIZATIONS, json={"name": "Gang"})
    base = door_of(site, door, "media-store") + ORGANIZATIONS
    status, form = await call(http, alice, "POST", f"{base}/{own['id']}/temp-image-upload", json=wanted)
    assert status == 200
    for organization in (own["id"], NOBODYS, "..", "x", own["id"].upper()):
        status, _ = await call(http, mallory, "POST", f"{base}/{organization}/temp-image-upload", json=wanted)
        assert status in {400, 403, 404}
    promote = {"s3_key": form["s3_key"], "purpose": "events"}
    assert (await call(http, mallory, "POST", f"{base}/{own['id']}/images/promote", json=promote))[0] == 403
    stolen = [
        form["s3_key"],
        f"temp/{other['id']}/../{own['id']}/x",
        "uploads/x",
        "temp/",
        f"temp/{own['id']}",
        "",
        "/",
        "../x",
    ]
    for key in stolen:
        body = {"s3_key": key, "purpose": "events"}
        assert (await call(http, mallory, "POST", f"{base}/{other['id']}/images/promote", json=body))[0] in {
            400,
            404,
            422,
        }


TAMPERED: dict[str, Any] = {
    "another key": lambda fields: {**fields, "key": "users/root/images/x.png"},
    "a key above": lambda fields: {**fields, "key": fields["key"] + "/../../x.png"},
    "another type": lambda fields: {**fields, "Content-Type": "text/html"},
    "no policy": lambda fields: {name: value for name, value in fields.items() if name != "policy"},
    "no signature": lambda fields: {name: value for name, value in fields.items() if "ignature" not in name},
    "another signature": lambda fields: {
        name: "0" * 64 if "ignature" in name else value for name, value in fields.items()
    },
    "another policy": lambda fields: {**fields, "policy": "eyJjb25kaXRpb25zIjpbXX0="},
    "an acl": lambda fields: {**fields, "acl": "public-read"},
    "a redirect": lambda fields: {**fields, "success_action_redirect": "http://evil.example"},
    "metadata": lambda fields: {**fields, "x-amz-meta-x": "y"},
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", TAMPERED)
async def test_a_form_for_one_upload_is_good_for_no_other(
    http: aiohttp.ClientSession, site: Stack, alice: Person, name: str, door: str
) -> None:
    gateway = site.url("gateway")
    _, own = await call(http, alice, "POST", gateway + ORGANIZATIONS, json={"name": "Club"})
    wanted = {"content_type": "image/png", "filename": "a.png"}
    _, given = await call(http, alice, "POST", f"{gateway}{ORGANIZATIONS}/{own['id']}/temp-image-upload", json=wanted)
    form = aiohttp.FormData()
    for field, value in TAMPERED[name](given["fields"]).items():
        form.add_field(field, value)
    form.add_field("file", jpeg(), filename="a.png", content_type="image/png")
    async with http.post(f"{door_of(site, door, 'media-store')}/media/", data=form, allow_redirects=False) as answer:
        assert answer.status in {400, 403}
    async with http.get(given["public_url"]) as answer:
        assert answer.status == 404


async def order_of(http: aiohttp.ClientSession, site: Stack, who: Person) -> dict[str, Any]:
    form = aiohttp.FormData()
    form.add_field("files", jpeg(), filename="a.jpg", content_type="image/jpeg")
    status, body = await call(http, who, "POST", f"{site.url('gateway')}/api/images/upload", data=form)
    assert status == 200, body
    return dict(body["order_metadata"])


@pytest.mark.parametrize("door", DOORS)
async def test_somebody_elses_order_looks_like_none(
    http: aiohttp.ClientSession, site: Stack, alice: Person, mallory: Person, door: str
) -> None:
    order = await order_of(http, site, alice)
    base, filename = door_of(site, door, "planter-orders"), order["files"][0]["filename"]
    nobodys = order["order_id"][:-6] + "000000"
    for method, tail in (("GET", ""), ("DELETE", ""), ("GET", f"/files/{filename}"), ("GET", "/events")):
        found = [
            await call(http, mallory, method, f"{base}/api/images/orders/{order_id}{tail}")
            for order_id in (order["order_id"], nobodys)
        ]
        assert found[0][0] == 404
        assert found[0] == found[1]
        assert (await call(http, None, method, f"{base}/api/images/orders/{order['order_id']}{tail}"))[0] == 401
    _, listed = await call(http, mallory, "GET", f"{base}/api/images/orders")
    assert order["order_id"] not in str(listed)
    for method, path in (
        ("PATCH", f"/api/admin/orders/{order['order_id']}"),
        ("GET", "/api/admin/orders"),
        ("GET", "/api/admin/orders.csv"),
    ):
        for who, refusal in ((None, 401), (mallory, 403), (alice, 403)):
            status, _ = await call(
                http, who, method, base + path, json={"status": "shipped"} if method == "PATCH" else None
            )
            assert status == refusal
    checkout = door_of(site, door, "checkout")
    for order_id in (order["order_id"], nobodys):
        status, _ = await call(
            http, mallory, "POST", f"{checkout}/api/checkout/embedded-session", json={"order_id": order_id}
        )
        assert status == 404
    assert (await call(http, alice, "GET", f"{base}/api/images/orders/{order['order_id']}"))[0] == 200


FILES = (
    "order_metadata.json",
    "..%2forder_metadata.json",
    "%2e%2e",
    "x.jpg",
    "{file}%00",
    "{file}.json",
    "{file}/",
    ".",
    "{file};x",
)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", FILES)
async def test_an_order_gives_out_its_photos_and_nothing_else(
    http: aiohttp.ClientSession, site: Stack, alice: Person, name: str, door: str
) -> None:
    from yarl import URL

    order = await order_of(http, site, alice)
    file = order["files"][0]["filename"]
    path = f"/api/images/orders/{order['order_id']}/files/{name.replace('{file}', file)}"
    url = URL(door_of(site, door, "planter-orders") + path, encoded=True)
    async with http.get(url, headers=alice.headers) as answer:
        body = await answer.read()
    assert answer.status in {400, 404} or (answer.status == 200 and name == "{file}/" and body == jpeg())
