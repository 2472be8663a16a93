"""A fresh React app with npm's react, and in it what the client's README shows, word for word but for the address."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Route, expect

from tests.browser.client.conftest import SHOP, SOURCES, Shop
from tests.support import pictures
from tests.support.node import ensure_installed, node, npm
from tests.support.stack import Stack

APP = Path(__file__).with_name("react_app")
PAGE = '<!doctype html><html lang="en"><title>Shop</title><div id="root"></div><script type="module" src="/main.js"></script>'


@pytest.fixture(scope="module")
def app(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the packed client beside react, copy the README's examples, and build."""
    ensure_installed(APP)
    folder = tmp_path_factory.mktemp("app")
    modules = folder / "node_modules"
    shutil.copytree(APP / "node_modules", modules, symlinks=True)
    npm(SOURCES.parent, "pack", "--pack-destination", str(folder), "--ignore-scripts")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        packed.extractall(folder, filter="data")
    (modules / "@keepsake").mkdir()
    (folder / "package").rename(modules / "@keepsake" / "client")
    subprocess.run([node(), SOURCES.parent / "scripts" / "examples.mjs", folder / "src"], check=True)
    shutil.copy(APP / "main.tsx", folder / "src")
    keepsake = folder / "src" / "keepsake.ts"
    keepsake.write_text(keepsake.read_text().replace("http://localhost:8080", stack.url("gateway")))
    command: list[str | Path] = [
        modules / ".bin" / "esbuild",
        "src/main.tsx",
        "--bundle",
        "--format=esm",
        "--jsx=automatic",
        "--outdir=built",
    ]
    options = ["--splitting", '--define:process.env.NODE_ENV="development"']
    subprocess.run([*command, *options], cwd=folder, check=True)
    (folder / "built" / "index.html").write_text(PAGE)
    return folder / "built"


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    photo = tmp_path / "cat.jpg"
    photo.write_bytes(pictures.jpeg(640, 480))
    return photo


def ask(url: str, body: dict[str, Any], token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.timeout(300)
def test_a_photo_is_bought_and_comes_back(shop: Shop, app: Path, cat: Path) -> None:
    page = shop(app)
    retrieved: list[str] = []
    page.on("request", lambda request: retrieved.append(request.url) if "temp-image-retrieve" in request.url else None)
    page.goto(SHOP)
    expect(page.get_by_role("button", name="Pay")).to_be_disabled()
    page.get_by_label("Your photo").set_input_files(cat)
    page.get_by_role("button", name="Pay").click()
    page.wait_for_url("**/pay/cs_test_*")
    page.get_by_role("button", name="Pay").click()
    photo = page.get_by_role("img", name="Your photo")
    expect(photo).to_be_visible()
    assert page.url.startswith(f"{SHOP}/hero-me?session_id=cs_test_")
    assert photo.evaluate("photo => photo.decode().then(() => photo.naturalWidth)") == 640
    assert len(retrieved) == 1


def test_a_refusal_is_shown_in_the_servers_words(shop: Shop, app: Path, tmp_path: Path) -> None:
    text = tmp_path / "cat.jpg"
    text.write_text("This is no photo.")
    page = shop(app)
    page.goto(SHOP)
    page.get_by_label("Your photo").set_input_files(text)
    expect(page.get_by_role("alert")).to_contain_text("image")
    expect(page.get_by_role("button", name="Pay")).to_be_disabled()


def test_an_organisations_banner_is_uploaded_and_can_be_seen(shop: Shop, app: Path, stack: Stack, cat: Path) -> None:
    gateway = stack.url("gateway")
    who = {"username": f"eve-{uuid4().hex}", "password": "correct horse battery"}
    ask(f"{gateway}/api/auth/register", {**who, "email": f"{who['username']}@example.com"})
    tokens = ask(f"{gateway}/api/auth/login", who)
    organization = ask(f"{gateway}/api/v1/organizations", {"name": "Events"}, tokens["access_token"])
    page = shop(app)
    page.add_init_script(f"sessionStorage.setItem('keepsake.refresh_token', '{tokens['refresh_token']}')")
    page.goto(f"{SHOP}/event?org={organization['id']}")
    page.get_by_label("Banner").set_input_files(cat)
    page.wait_for_function("document.title.startsWith('http')")
    with urllib.request.urlopen(page.title(), timeout=10) as answer:
        assert answer.read() == cat.read_bytes()


UPLOAD = "name => hook.upload(new File(['\\xff\\xd8' + name], name, { type: 'image/jpeg' }))"


def test_the_hook_says_how_far_it_is_and_can_be_aborted_replaced_and_reset(shop: Shop, app: Path) -> None:
    page = shop(app)
    waiting: list[Route] = []
    answers: dict[str, Any] = {"headers": {"Access-Control-Allow-Origin": "*"}, "content_type": "application/json"}
    page.route("**/api/temp-image-upload", lambda route: waiting.append(route))  # noqa: PLW0108 - it marks what it calls

    def said() -> Any:
        return json.loads(page.locator("output").inner_text())

    page.goto(f"{SHOP}/hook")
    assert said() == {"status": "idle", "progress": 0, "imageId": None, "error": None}
    page.evaluate(f"void ({UPLOAD})('first.jpg')")
    expect(page.locator("output")).to_contain_text("uploading")
    page.evaluate("hook.abort()")
    expect(page.locator("output")).to_contain_text("idle")
    page.evaluate(f"globalThis.second = ({UPLOAD})('second.jpg'); globalThis.third = ({UPLOAD})('third.jpg'); null")
    while len(waiting) < 3:
        page.wait_for_timeout(20)
    waiting[-1].fulfill(json={"imageId": "3", "expiresAt": "2026-01-01T00:00:00Z"}, **answers)
    expect(page.locator("output")).to_contain_text("success")
    assert said() == {"status": "success", "progress": 1, "imageId": "3", "error": None}
    assert page.evaluate("Promise.all([second, third])") == [
        None,
        {"imageId": "3", "expiresAt": "2026-01-01T00:00:00Z"},
    ]
    page.evaluate("hook.reset()")
    expect(page.locator("output")).to_contain_text("idle")
