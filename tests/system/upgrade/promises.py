"""What customers keep in a stack, of every kind, and that all of it is there afterwards."""

from __future__ import annotations

import hashlib
import subprocess
import time
from typing import Any
from uuid import uuid4

import requests

from tests.support import pictures
from tests.support.stack import Stack

PASSWORD = "correct horse battery staple"
ADMIN = "keeper"
SAM, ANN = "Sam", "ann"
JPEG, PNG, WEBP = pictures.jpeg(), pictures.png(), pictures.webp()

Promised = dict[str, Any]


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def create_admin(stack: Stack) -> None:
    """Register the admin, by the command for it."""
    command = [*stack.command("auth-verify"), "create-admin", "--username", ADMIN, "--email", "keeper@shop.example"]
    subprocess.run(
        command, cwd=stack.folder, env=stack.environment(), input=f"{PASSWORD}\n", text=True, check=True, timeout=60
    )


class Client:
    """Asks one address, as somebody or as nobody; what is not 2xx is an error."""

    def __init__(self, door: str, username: str = "", ca: str = "") -> None:
        self.door = door
        self.session = requests.Session()
        self.session.trust_env = False  # no other bundle of certificates, and no proxy
        self.session.verify = ca or True
        self.tokens: dict[str, Any] = {}
        if username:
            self.tokens = self.json("POST", "/api/auth/login", json={"username": username, "password": PASSWORD})
            self.session.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"

    def ask(self, method: str, path: str, **sent: Any) -> requests.Response:
        """Send one request to the gateway; a whole address counts as its path."""
        answer = self.session.request(method, self.door + _path(path), timeout=30, **sent)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def json(self, method: str, path: str, **sent: Any) -> Any:
        """Send one request; return the answer's JSON."""
        return self.ask(method, path, **sent).json()

    def content(self, path: str) -> bytes:
        """Return what is served there."""
        return self.ask("GET", path).content


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3] if url.startswith("http") else url


def _file(content: bytes, field: str = "image") -> dict[str, Any]:
    return {field: ("photo.bin", content, "image/jpeg")}


def make_promises(door: str, pay: str, ca: str = "") -> Promised:
    """Be customers at a gateway; `pay` is the address of the Stripe sandbox. Return what was promised to them."""
    nobody = Client(door, ca=ca)
    users = {
        name: nobody.json(
            "POST",
            "/api/auth/register",
            json={"username": name, "email": f"{name}@shop.example", "password": PASSWORD},
        )
        for name in (SAM, ANN)
    }
    sam, admin = Client(door, SAM, ca), Client(door, ADMIN, ca)
    return {
        "users": users,
        "organization": _organization(sam),
        "temporary": {nobody.json("POST", "/api/temp-image-upload", files=_file(one))["imageId"]: digest(one)
                      for one in (JPEG, PNG)},
        "stored": [_served(nobody, nobody.json("POST", "/store-image", files=_file(one))["url"]) for one in (JPEG, WEBP)],
        "images": _user_images(sam),
        "orders": _orders(sam, admin, pay),
        "payment": _payment(nobody, pay),
    }  # fmt: skip


def _served(client: Client, url: str) -> dict[str, str]:
    return {"path": _path(url), "sha256": digest(client.content(url))}


def _organization(sam: Client) -> Promised:
    made = sam.json("POST", "/api/v1/organizations", json={"name": "Töpferei"})
    path = f"/api/v1/organizations/{made['id']}"
    sam.ask("POST", f"{path}/members", json={"username": ANN, "role": "member"})
    wanted = {"content_type": "image/jpeg", "filename": "event.jpg"}
    signed = sam.json("POST", f"{path}/temp-image-upload", json=wanted)
    sent = requests.post(
        signed["url"], data=signed["fields"], files=_file(JPEG, "file"), timeout=30, verify=sam.session.verify
    )
    assert sent.ok, sent.text
    promoted = sam.json("POST", f"{path}/images/promote", json={"s3_key": signed["s3_key"], "purpose": "events"})
    return {
        "id": made["id"],
        "event": _served(
            Client(sam.door, ca=str(sam.session.verify) if isinstance(sam.session.verify, str) else ""), promoted["url"]
        ),
    }


def _user_images(sam: Client) -> list[Promised]:
    found = []
    for kind, content in (("profile", JPEG), ("gallery", PNG), ("gallery", WEBP)):
        fields = {
            "username": SAM,
            "image_type": kind,
            "caption": f"“{kind}” & more",
            "is_primary": str(kind == "profile"),
        }
        image = sam.json("POST", "/api/upload_user_image/", data=fields, files=_file(content))["image"]
        found.append({**image, "sha256": digest(sam.content(f"/api/user_image/{image['id']}/serve/"))})
    return found


def _orders(sam: Client, admin: Client, pay: str) -> list[Promised]:
    """Make one order that is in production, one that is paid, and one that waits."""
    found = []
    for name, steps in (("Büsi", 2), ("Rex", 1), (None, 0)):
        photos = {digest(one): one for one in (JPEG, PNG)}
        order_id = sam.json(
            "POST",
            "/api/images/upload",
            files=[("files", (f"{sha256[:6]}.bin", one, "image/jpeg")) for sha256, one in photos.items()],
            data={"pet_name": name, "notes": "as it is"} if name else {},
            headers={"Idempotency-Key": f"order-{uuid4()}"},
        )["order_id"]
        if steps:
            opened = sam.json("POST", "/api/checkout/embedded-session", json={"order_id": order_id})
            _pay(sam, pay, opened["session_id"])
            order_with(sam, order_id, "paid")
        if steps > 1:
            admin.ask("PATCH", f"/api/admin/orders/{order_id}", json={"status": "in_production", "note": "soon"})
        status = ("pending", "paid", "in_production")[steps]
        order_with(sam, order_id, status)
        found.append({"order_id": order_id, "pet_name": name, "status": status, "photos": sorted(photos)})
    return found


def order_with(client: Client, order_id: str, status: str) -> Promised:
    """Return the order once it has this status and its photos were looked at."""
    order: Promised = {}
    for _ in range(200):
        order = client.json("GET", f"/api/images/orders/{order_id}")["order"]
        if order["status"] == status and all(file["quality"] for file in order["files"]):
            return order
        time.sleep(0.05)
    raise AssertionError(order)


def _pay(client: Client, pay: str, session_id: str) -> None:
    answer = requests.post(f"{pay}/pay/{session_id}", data={"action": "pay"}, timeout=30, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    state = {}
    for _ in range(200):
        state = client.json("GET", "/api/checkout/session-status", params={"session_id": session_id})
        if state["payment_status"] == "paid" and (not state["image"] or state["image"]["state"] == "promoted"):
            return
        time.sleep(0.05)
    raise AssertionError(state)


def _payment(nobody: Client, pay: str) -> Promised:
    image_id = nobody.json("POST", "/api/temp-image-upload", files=_file(WEBP))["imageId"]
    session_id = nobody.json("POST", "/api/checkout/embedded-session", json={"imageId": image_id})["session_id"]
    _pay(nobody, pay, session_id)
    return {"session_id": session_id, "image_id": image_id, "sha256": digest(WEBP)}


def require_kept(door: str, promised: Promised, ca: str = "") -> None:
    """Ask for everything that was promised; the one-time images are used up by it."""
    nobody, sam, admin = Client(door, ca=ca), Client(door, SAM, ca), Client(door, ADMIN, ca)
    for name, user in promised["users"].items():
        assert Client(door, name, ca).json("GET", "/api/auth/me") == user
    _require_organization(nobody, sam, promised["organization"])
    for image in promised["stored"]:
        assert digest(nobody.content(image["path"])) == image["sha256"]
    listed = {image["id"]: image for image in nobody.json("GET", f"/api/user_images/{SAM}/")["images"]}
    for image in promised["images"]:
        assert digest(nobody.content(f"/api/user_image/{image['id']}/serve/")) == image["sha256"]
        known = {name: image[name] for name in image.keys() - {"url", "sha256"}}
        assert listed[image["id"]].items() >= known.items()
    for order in promised["orders"]:
        _require_order(sam, admin, order)
    counts = admin.json("GET", "/api/admin/summary")["orders"]
    assert {status: counts[status] for status in ("pending", "paid", "in_production")} == {
        "pending": 1, "paid": 1, "in_production": 1,
    }  # fmt: skip
    paid = nobody.json("GET", "/api/checkout/session-status", params={"session_id": promised["payment"]["session_id"]})
    assert (paid["payment_status"], paid["image"]["state"]) == ("paid", "promoted")
    payments = {one["session_id"] for one in admin.json("GET", "/api/admin/payments")["payments"]}
    assert promised["payment"]["session_id"] in payments
    assert (
        digest(nobody.content(f"/api/temp-image-retrieve?imageId={promised['payment']['image_id']}"))
        == promised["payment"]["sha256"]
    )
    for image_id, sha256 in promised["temporary"].items():
        assert digest(nobody.content(f"/api/temp-image-retrieve?imageId={image_id}")) == sha256


def _require_organization(nobody: Client, sam: Client, organization: Promised) -> None:
    path = f"/api/v1/organizations/{organization['id']}"
    assert sam.json("GET", path)["name"] == "Töpferei"
    assert {one["username"] for one in sam.json("GET", f"{path}/members")["members"]} == {SAM, ANN}
    assert digest(nobody.content(organization["event"]["path"])) == organization["event"]["sha256"]


def _require_order(sam: Client, admin: Client, promised: Promised) -> None:
    order = sam.json("GET", f"/api/images/orders/{promised['order_id']}")["order"]
    assert (order["status"], order["pet_name"]) == (promised["status"], promised["pet_name"])
    sent = sorted(digest(sam.content(file["url"])) for file in order["files"])
    assert sent == promised["photos"]
    for file in order["files"]:
        assert sam.content(file["thumbnail_url"])
    if promised["pet_name"]:
        found = admin.json("GET", "/api/admin/orders", params={"pet_name": promised["pet_name"].upper()})["orders"]
        assert promised["order_id"] in [one["order_id"] for one in found]


def go_on(door: str, pay: str, promised: Promised, ca: str = "") -> None:
    """Do with what is there what customers and the owner do next, and be customers anew."""
    sam, admin = Client(door, SAM, ca), Client(door, ADMIN, ca)
    waiting = next(order for order in promised["orders"] if order["status"] == "pending")
    sam.ask("DELETE", f"/api/images/orders/{waiting['order_id']}")
    in_production = next(order for order in promised["orders"] if order["status"] == "in_production")
    admin.ask("PATCH", f"/api/admin/orders/{in_production['order_id']}", json={"status": "shipped"})
    first, second, third = promised["images"]
    sam.ask("POST", f"/api/user_image/{second['id']}/set_primary/")
    sam.ask("POST", f"/api/user_image/{third['id']}/delete/")
    left = {one["id"]: one["is_primary"] for one in sam.json("GET", f"/api/user_images/{SAM}/")["images"]}
    assert left == {first["id"]: False, second["id"]: True}
    _payment(Client(door, ca=ca), pay)
    _orders(sam, admin, pay)
    _user_images(sam)


def buy(door: str, pay: str, ca: str = "") -> None:
    """Buy a photo; it comes back once."""
    nobody = Client(door, ca=ca)
    paid = _payment(nobody, pay)
    path = f"/api/temp-image-retrieve?imageId={paid['image_id']}"
    assert digest(nobody.content(path)) == paid["sha256"]
    assert nobody.session.get(door + path, timeout=30).status_code == 404


def everything(door: str, ca: str = "") -> Promised:
    """Return all that can be read of what is kept for good, its bytes by their digests."""
    nobody, sam, admin = Client(door, ca=ca), Client(door, SAM, ca), Client(door, ADMIN, ca)
    images = admin.json("GET", "/api/admin/images")["images"]
    orders = admin.json("GET", "/api/admin/orders")["orders"]
    return {
        "users": admin.json("GET", "/api/admin/users")["users"],
        "organizations": sam.json("GET", "/api/v1/organizations"),
        "images": [
            {**image, "url": digest(nobody.content(image["url"]))} for image in images if image["kind"] != "stored"
        ],
        "orders": [
            [
                order["order_id"],
                order["status"],
                order["pet_name"],
                [digest(admin.content(one["url"])) for one in order["files"]],
            ]
            for order in orders
        ],
        "payments": admin.json("GET", "/api/admin/payments")["payments"],
    }


def require_tidy(stack: Stack) -> None:
    """See that rows and objects fit together, by the command for it."""
    command = [*stack.command("media-store"), "reconcile", "--grace-s", "0"]
    done = subprocess.run(
        command, cwd=stack.folder, env=stack.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "row without an object" in done.stdout) == (0, False), done.stdout + done.stderr
