"""The disk full: a real small one where the system lets us have one of our own, else files that may not grow."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
import pytest

from tests.support import pictures
from tests.support.stack import MODULES, STOP_TIMEOUT_S, Stack
from tests.system.faults.calls import IMAGE, Answer, Customer, form

DISK_BYTES = 10 * 2**20
FILE_BYTES = 2**20
FILLS_IT = 12
NOISE = pictures.saved(pictures.noise(720, 720), "PNG")  # 1.5 MB that nothing makes smaller
MOUNT = f'mount -t tmpfs -o size={DISK_BYTES} none "$0" && exec "$@"'
IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]
SERVICES = ("temp-image", "media-store", "planter-orders")


def has_namespaces(folder: Path) -> bool:
    try:
        return subprocess.run([*IN_A_NAMESPACE, folder, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def no_large_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


@contextmanager
def on_a_small_disk(stack: Stack, name: str) -> Iterator[list[Path]]:
    """Run a service on a disk of its own; give where that is, seen from here: nowhere, if only files are kept small."""
    data_dir = Path(stack.settings["DATA_DIR"])
    own = has_namespaces(data_dir)
    with (stack.folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*([*IN_A_NAMESPACE, str(data_dir)] if own else []), sys.executable, "-m", MODULES[name]],
            cwd=stack.folder,
            env=stack.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=None if own else no_large_files,  # noqa: PLW1509 - one system call, which takes no lock
        )
    try:
        yield [Path(f"/proc/{process.pid}/root{data_dir}")] if own else []
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def leave_no_byte(folder: Path) -> Path:
    """Fill what is left of a disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            while True:
                try:
                    if not file.write(bytes(size)):
                        break
                except OSError:
                    break
    return filler


async def until_well(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with http.get(f"{url}/health"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


def require_full(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (503, "storage_full"), answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert int(answer.headers["Retry-After"]) >= 1


async def until_full(upload: Callable[[], Awaitable[Answer]]) -> None:
    for _ in range(FILLS_IT):
        if (answer := await upload()).status != 200:
            break
    require_full(answer)


@dataclass
class Kept:
    """What a customer has before the disk is full."""

    image_id: str
    stored_path: str
    user_image: str
    order_id: str
    photo: str

    @classmethod
    async def by(cls, customer: Customer, http: aiohttp.ClientSession) -> Kept:
        image_id = (await customer.upload(http)).json["imageId"]
        stored_path = (await customer.store(http)).json["url"].removeprefix(customer.door)
        data = form(IMAGE, username=customer.username, image_type="cover")
        image = await customer.call(http, "POST", "/api/upload_user_image/", data=data)
        order = (await customer.order(http)).json
        photo = order["order_metadata"]["files"][0]["filename"]
        return cls(image_id, stored_path, image.json["image"]["id"], order["order_id"], photo)


@pytest.fixture
async def shop(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[tuple[Stack, list[Path]]]:
    """The stack with a small disk for each service that keeps files; where those are, as seen from outside."""
    stack = Stack(tmp_path)
    data_dir = Path(stack.settings["DATA_DIR"])
    data_dir.mkdir()
    with ExitStack() as running:
        running.callback(stack.stop_all)
        disks = [disk for name in SERVICES for disk in running.enter_context(on_a_small_disk(stack, name))]
        await asyncio.to_thread(stack.start, "gateway")
        for name in SERVICES:
            await until_well(http, stack.url(name))
        yield stack, disks


async def test_a_full_disk_is_storage_full_and_what_is_there_is_read_and_deleted(
    shop: tuple[Stack, list[Path]], http: aiohttp.ClientSession
) -> None:
    stack, disks = shop
    claims = {"sub": "collector", "username": "collector", "exp": int(time.time()) + 3600}
    customer = Customer(stack.url("gateway"), "collector", jwt.encode(claims, stack.settings["JWT_SECRET_KEY"]))
    kept = await Kept.by(customer, http)
    uploads = (
        lambda: customer.upload(http, NOISE),
        lambda: customer.store(http, NOISE),
        lambda: customer.call(http, "POST", "/api/images/upload", data=form(NOISE, "files")),
    )
    for upload in uploads:
        await until_full(upload)
    fillers = [leave_no_byte(disk) for disk in disks]
    for upload in uploads:
        require_full(await upload())

    for path in (
        f"/api/temp-image-retrieve?imageId={kept.image_id}",
        kept.stored_path,
        f"/api/user_image/{kept.user_image}/serve/",
        f"/api/user_images/{customer.username}/",
        "/api/images/orders",
        f"/api/images/orders/{kept.order_id}/files/{kept.photo}",
    ):
        assert (await customer.call(http, "GET", path)).status == 200, path
    for path in (f"/api/user_image/{kept.user_image}/delete/", f"/api/images/orders/{kept.order_id}"):
        answer = await customer.call(http, "DELETE", path)
        assert answer.status == 200, (path, answer)
    assert (await customer.call(http, "GET", f"/api/temp-image-retrieve?imageId={kept.image_id}")).status == 404

    for filler in fillers:
        filler.unlink()
    for again in (customer.upload, customer.store, customer.order):
        assert (await again(http)).status == 200
