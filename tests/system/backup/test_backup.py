"""A backup that is made while people upload, and what of it is there after everything else is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support import pictures
from tests.support.stack import MODULES, Stack

PASSWORD = "correct horse battery"


def run(stack: Stack, action: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack.backup", action, str(folder)],
        cwd=stack.folder,
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Customer:
    """Somebody who keeps images in a stack, and remembers what it was promised."""

    def __init__(self, stack: Stack) -> None:
        self.gateway = stack.url("gateway")
        self.name = f"sam-{uuid4().hex[:8]}"
        self.urls: list[str] = []

    def ask(self, method: str, path: str, **sent: Any) -> requests.Response:
        answer = requests.request(method, self.gateway + path, timeout=20, **sent)
        assert answer.ok, answer.text
        return answer

    def sign_in(self) -> dict[str, str]:
        tokens = self.ask("POST", "/api/auth/login", json={"username": self.name, "password": PASSWORD}).json()
        return {"Authorization": f"Bearer {tokens['access_token']}"}

    def store(self) -> None:
        files = {"image": ("a.jpg", pictures.jpeg(), "image/jpeg")}
        self.urls.append(self.ask("POST", "/store-image", files=files).json()["url"].partition("/media/")[2])


def test_a_backup_made_under_load_restores_all_that_was_promised_before_it(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    stack = Stack(tmp_path / "first")
    try:
        stack.start(*MODULES)
        customer = Customer(stack)
        sent = {"username": customer.name, "email": f"{customer.name}@example.com", "password": PASSWORD}
        customer.ask("POST", "/api/auth/register", json=sent)
        files = {"files": ("a.jpg", pictures.jpeg(), "image/jpeg")}
        order = customer.ask("POST", "/api/images/upload", files=files, headers=customer.sign_in()).json()["order_id"]
        temporary = customer.ask(
            "POST", "/api/temp-image-upload", files={"image": ("a.jpg", pictures.jpeg(), "image/jpeg")}
        ).json()["imageId"]
        for _ in range(5):
            customer.store()
        promised = list(customer.urls)
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                customer.store()

        uploading = threading.Thread(target=go_on)
        uploading.start()
        done = run(stack, "backup", tmp_path / "copy")
        stop.set()
        uploading.join()
        assert (done.returncode, done.stderr) == (0, "")
        assert run(stack, "restore", tmp_path / "copy").returncode == 1, "data that is there stays"
    finally:
        stack.stop_all()

    (tmp_path / "second").mkdir()
    second = Stack(tmp_path / "second", {name: stack.settings[name] for name in ("JWT_SECRET_KEY", "INTERNAL_SECRET")})
    assert run(second, "restore", tmp_path / "copy").returncode == 0
    try:
        second.start(*MODULES)
        customer.gateway = second.url("gateway")
        for url in promised:
            assert customer.ask("GET", f"/media/{url}").content
        found = customer.ask("GET", f"/api/images/orders/{order}", headers=customer.sign_in()).json()["order"]
        photo = found["files"][0]["filename"]
        path = f"/api/images/orders/{order}/files/{photo}"
        assert customer.ask("GET", path, headers=customer.sign_in()).content == pictures.jpeg()
        path = f"/api/temp-image-retrieve?imageId={temporary}"
        assert customer.ask("GET", path).content == pictures.jpeg()
        # Each row of the copy finds its object.
        checked = subprocess.run(
            [sys.executable, "-m", "services.media_store", "reconcile", "--grace-s", "0"],
            cwd=second.folder, env=second.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "row without an object" not in checked.stdout, checked.stdout
        assert checked.returncode == 0, checked.stderr
    finally:
        second.stop_all()


@pytest.mark.parametrize("target", ["full", "file"])
def test_a_backup_never_overwrites(tmp_path: Path, target: str) -> None:
    stack = Stack(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").write_text("mine")
    done = run(stack, "backup", tmp_path / target)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    done = run(stack, "restore", tmp_path / "nothing")
    assert (done.returncode, "no backup" in done.stderr) == (1, True)
    assert not (tmp_path / "var").exists()
