"""The comparisons: the same work on each side, in one run, side after side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import servers
from bench.bodies import FORM_TYPE, SIZES, form, form_file, photo
from bench.client import Load
from bench.load import Run, Side, alternate, ask, require
from bench.machine import BOTH_CORES, DATA
from bench.servers import Server

UPLOAD = "/api/temp-image-upload"
RETRIEVE = "/api/temp-image-retrieve"
STORE = "/store-image"
BEFORE = "2602f7e"
FORM = {"Content-Type": FORM_TYPE}
SMALL_SIZES = ("50 KB", "1 MB")


@dataclass
class Bench:
    """How long each run is, how many there are, and what they told: comparison, size, side, runs."""

    rounds: int
    seconds: float
    sizes: tuple[str, ...] = tuple(SIZES)
    commit: str = BEFORE
    results: dict[str, dict[str, dict[str, list[Run]]]] = field(default_factory=dict)

    def compare(self, key: str, size: str, sides: list[Side]) -> None:
        """Load the sides in turn and keep what came out."""
        self.results.setdefault(key, {})[size] = alternate(sides, self.rounds)


@contextmanager
def data_folder() -> Iterator[Path]:
    """Make a folder for a server's data; it goes with all the bench's data, when all is measured."""
    folder = DATA / uuid.uuid4().hex
    folder.mkdir(parents=True)
    yield folder


def check_upload_and_retrieve(name: str, server: Server, size: str) -> None:
    """Upload one photo, get it back byte for byte, and not a second time."""
    status, body = ask(server.port, "POST", UPLOAD, form(photo(size).data, {}), FORM)
    require(status == 200, f"{name}: an upload was answered {status}")
    path = f"{RETRIEVE}?imageId={json.loads(body)['imageId']}"
    require(ask(server.port, "GET", path) == (200, photo(size).data), f"{name}: other bytes came back")
    require(ask(server.port, "GET", path)[0] == 404, f"{name}: an image came back twice")


def uploads(port: int, size: str, *, retrieved: bool = False, **options: float) -> Load:
    """Upload the photo, and fetch it again where `retrieved`."""
    load = Load(port, UPLOAD, "POST", FORM, str(form_file(size)), '"imageId"', **options)  # type: ignore[arg-type]
    return replace(load, image=str(photo(size).path), retrieve=f"{RETRIEVE}?imageId=") if retrieved else load


def stores(port: int, size: str, **options: float) -> Load:
    """Keep the photo for good."""
    body = form_file(size, ("purpose", "original"), ("session_id", "bench"))
    return Load(port, STORE, "POST", FORM, str(body), '"success"', **options)  # type: ignore[arg-type]


def store_image(bench: Bench) -> None:
    """Keep images: each side decodes each whole, syncs file and folder, and commits a row; all on both cores."""
    with ExitStack() as stack, data_folder() as folder:
        both = stack.enter_context(servers.keepsake(folder / "ours", "media-store", cores=BOTH_CORES))
        before = servers.media_store_at(bench.commit, folder / "before")
        fastapi = servers.fastapi("fastapi_keep", workers=2, cores=BOTH_CORES, folder=folder / "fastapi")
        sides = {
            "Keepsake": both["media-store"],
            f"Keepsake at {bench.commit}": stack.enter_context(before),
            "FastAPI": stack.enter_context(fastapi),
            "Flask": stack.enter_context(servers.flask(folder / "flask")),
            "Express": stack.enter_context(servers.express(folder / "express")),
            "Flask, without any promise": stack.enter_context(servers.flask(folder / "bare", promises=False)),
        }
        for size in bench.sizes:
            for name, server in sides.items():
                status, answer = ask(server.port, "POST", STORE, form(photo(size).data, {}), FORM)
                require(status == 200 and json.loads(answer)["success"], f"{name}: {status} to an image")
            seconds = bench.seconds * 2 if size == "12 MP" else bench.seconds  # the slowest keeps four a second
            loads = {name: stores(server.port, size, seconds=seconds) for name, server in sides.items()}
            bench.compare(
                "store_image", size, [Side(name, sides[name], load, BOTH_CORES) for name, load in loads.items()]
            )


def temp_image(bench: Bench) -> None:
    """Uploads, and uploads with their retrieves: ours on disk, the reference in memory, each on a core of its own."""
    with ExitStack() as stack, data_folder() as folder:
        sides = {
            "Keepsake, on disk": stack.enter_context(servers.keepsake(folder, "temp-image"))["temp-image"],
            "FastAPI, in memory": stack.enter_context(servers.fastapi("fastapi_memory")),
        }
        for size in SMALL_SIZES:
            for name, server in sides.items():
                check_upload_and_retrieve(name, server, size)
            for key, retrieved in (("upload", False), ("pairs", True)):
                loads = {
                    name: uploads(server.port, size, retrieved=retrieved, seconds=bench.seconds)
                    for name, server in sides.items()
                }
                bench.compare(key, size, [Side(name, sides[name], load) for name, load in loads.items()])


def whole(bench: Bench) -> None:
    """Uploads through gateway and service, on disk, against FastAPI in memory without a gateway; all on both cores."""
    with ExitStack() as stack, data_folder() as folder:
        ours = stack.enter_context(servers.keepsake(folder, "temp-image", "gateway", cores=BOTH_CORES))
        leaders = [*ours["gateway"].leaders, *ours["temp-image"].leaders]
        sides = {
            "gateway and temp-image": Server(ours["gateway"].port, leaders, ours["temp-image"].empty),
            "FastAPI, in memory": stack.enter_context(servers.fastapi("fastapi_memory", cores=BOTH_CORES)),
        }
        for size in SMALL_SIZES:
            for name, server in sides.items():
                check_upload_and_retrieve(name, server, size)
            loads = {name: uploads(server.port, size, seconds=bench.seconds) for name, server in sides.items()}
            bench.compare("whole", size, [Side(name, sides[name], load, BOTH_CORES) for name, load in loads.items()])


def serve(bench: Bench) -> None:
    """Stored images served: ours from its local store, nginx with sendfile, each on a core of its own."""
    with ExitStack() as stack, data_folder() as folder:
        ours = stack.enter_context(servers.keepsake(folder, "media-store"))["media-store"]
        nginx = stack.enter_context(servers.nginx(photo(bench.sizes[0]).path.parent))
        for size in SMALL_SIZES:
            status, answer = ask(ours.port, "POST", STORE, form(photo(size).data, {}), FORM)
            require(status == 200, f"an image was answered {status}")
            mine, theirs = f"/media/{json.loads(answer)['key']}", f"/files/{photo(size).path.name}"
            status, stored = ask(ours.port, "GET", mine)
            require(status == 200 and len(stored) > len(photo(size).data) // 2, "the stored image did not come back")
            require(ask(nginx.port, "GET", theirs) == (200, photo(size).data), "nginx sent other bytes")
            sides = [
                Side("Keepsake", Server(ours.port, ours.leaders), Load(ours.port, mine, seconds=bench.seconds)),
                Side("nginx", nginx, Load(nginx.port, theirs, seconds=bench.seconds)),
            ]
            bench.compare("serve", size, sides)


COMPARISONS: dict[str, Callable[[Bench], None]] = {
    "store-image": store_image,
    "temp-image": temp_image,
    "whole": whole,
    "serve": serve,
}
