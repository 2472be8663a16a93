"""The release before and this one over one PostgreSQL, Redis and bucket, under load, while this one migrates and takes over.

It needs the release before from the history of the repository, which a shallow clone does not have: so it is run by its name,
`.venv/bin/python -m pytest tests/system/upgrade/side_by_side.py`, before a release.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support import pictures
from tests.support.release_before import SETTINGS, StackBefore, unpack
from tests.support.s3 import S3Server
from tests.support.stack import MODULES, URL_SETTINGS, Stack
from tests.system.upgrade.promises import (
    ADMIN,
    SAM,
    Client,
    buy,
    create_admin,
    digest,
    make_promises,
    require_tidy,
)

PHOTO = pictures.jpeg()
SANDBOX = "stripe-sandbox"


class Shopper:
    """Does at one gateway what customers do, again and again; counts what was answered, and keeps what was promised."""

    def __init__(self, door: str) -> None:
        self.client = Client(door, SAM)
        self.answers: Counter[str] = Counter()
        self.stored: list[str] = []
        self.orders: set[str] = set()

    def go_on(self) -> None:
        """Do each thing once."""
        for step in (self._temporary, self._store, self._order, self._read):
            try:
                step()
            except AssertionError as refusal:
                self.answers[f"{step.__name__} {str(refusal)[:300]}"] += 1
            except requests.ConnectionError as error:
                self.answers[f"{step.__name__} {type(error).__name__}"] += 1
            else:
                self.answers["ok"] += 1

    def _temporary(self) -> None:
        image_id = self.client.json("POST", "/api/temp-image-upload", files=self._file("image"))["imageId"]
        assert self.client.content(f"/api/temp-image-retrieve?imageId={image_id}") == PHOTO

    def _store(self) -> None:
        data = {"username": SAM, "image_type": "gallery", "is_primary": "true"}
        image = self.client.json("POST", "/api/upload_user_image/", data=data, files=self._file("image"))["image"]
        self.stored.append(f"/api/user_image/{image['id']}/serve/")

    def _order(self) -> None:
        headers, data = {"Idempotency-Key": str(uuid4())}, {"pet_name": f"Büsi {len(self.orders)}"}
        sent = {"headers": headers, "data": data, "files": self._file("files")}
        order_id = self.client.json("POST", "/api/images/upload", **sent)["order_id"]
        self.orders.add(order_id)
        if len(self.orders) % 3 == 0:
            self.client.ask("DELETE", f"/api/images/orders/{order_id}")
            self.orders.remove(order_id)

    def _read(self) -> None:
        self.client.json("GET", "/api/images/orders", params={"limit": "5"})
        self.client.json("GET", f"/api/user_images/{SAM}/", params={"limit": "5"})

    @staticmethod
    def _file(field: str) -> dict[str, Any]:
        return {field: ("a.jpg", PHOTO, "image/jpeg")}


@contextmanager
def working(*steps: Callable[[], None]) -> Iterator[None]:
    """Do each step again and again, all at once, until the block ends."""
    over = threading.Event()

    def go_on(step: Callable[[], None]) -> None:
        while not over.is_set():
            step()

    threads = [threading.Thread(target=go_on, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.timeout(600)
def test_both_releases_serve_side_by_side_and_nothing_is_lost(
    tmp_path: Path, postgres_url: str, redis_url: str, s3: S3Server
) -> None:
    shared = {
        **SETTINGS, **s3.settings, "DATABASE_URL": postgres_url, "REDIS_URL": redis_url, "JWT_ALGORITHM": "EdDSA",
    }  # fmt: skip
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = StackBefore(tmp_path / "old", unpack(tmp_path / "code"), shared)
    new = Stack(tmp_path / "new", shared)
    pay = old.url(SANDBOX)
    new.settings["STRIPE_API_BASE"] = pay
    for service, setting in URL_SETTINGS.items():  # the new gateway and services ask old and new ones in turn
        new.settings[setting] = f"{old.url(service)},{new.url(service)}"
    services = [name for name in MODULES if name not in {"gateway", SANDBOX}]
    try:
        old.start("auth-verify")
        create_admin(old)
        old.start(*(name for name in MODULES if name != "auth-verify"))
        promised = make_promises(old.url("gateway"), pay)
        before, after = Shopper(old.url("gateway")), []
        with working(before.go_on):
            time.sleep(3)
            new.start(*services)  # migrates
            new.start("gateway")
            after.append(Shopper(new.url("gateway")))
            with working(after[0].go_on):
                time.sleep(15)
                buy(new.url("gateway"), pay)
                buy(old.url("gateway"), pay)
        both = [before, *after]
        told = [dict(each.answers) for each in both]
        assert [words for answers in told for words in answers if words != "ok"] == [], "\n".join(map(str, told))
        assert min(each.answers["ok"] for each in both) > 20, told
        for name in MODULES:
            if name != SANDBOX:
                assert old.stop(name) == 0
        for service, setting in URL_SETTINGS.items():
            new.settings[setting] = new.url(service)
        for name in (*services, "gateway"):
            assert new.stop(name) == 0
        new.start(*services, "gateway")
        door = new.url("gateway")
        sam, admin = Client(door, SAM), Client(door, ADMIN)
        kept = {order["order_id"]: order for order in sam.json("GET", "/api/images/orders")["orders"]}
        assert set(kept) == set().union(*(each.orders for each in both)) | {
            one["order_id"] for one in promised["orders"]
        }
        for each in both:
            for path in each.stored:
                assert digest(sam.content(path)) == digest(sam.content(each.stored[0]))
        primary = [
            image["id"] for image in sam.json("GET", f"/api/user_images/{SAM}/")["images"] if image["is_primary"]
        ]
        assert len(primary) == 1
        time.sleep(2)  # the counters are counted again at the start
        counts = admin.json("GET", "/api/admin/summary")["orders"]
        assert counts == {status: sum(one["status"] == status for one in kept.values()) for status in counts}
        named = admin.json("GET", "/api/admin/orders", params={"pet_name": "büsi", "limit": "100"})["orders"]
        assert len(named) == min(
            100, sum(one["pet_name"] is not None and "Büsi" in one["pet_name"] for one in kept.values())
        )
        require_tidy(new)
    finally:
        new.stop_all()
        old.stop_all()
