"""The comparisons: the same work on each side, in one run, side after side."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from redis import Redis

from bench import servers
from bench.bodies import FORM_TYPE, SIZES, form, form_file, photo
from bench.load import Run, Side, alternate, ask, require
from bench.machine import BOTH_CORES, DATA, LOAD_CORE, TOOLS
from bench.servers import Server

UPLOAD = "/api/temp-image-upload"
RETRIEVE = "/api/temp-image-retrieve"
SECRET = "bench-only-secret-of-more-than-32-characters"
SMALL = "small"


@dataclass
class Bench:
    """How long each run is, how many there are, and what they told: comparison, size, side, runs."""

    rounds: int
    seconds: int
    sizes: tuple[str, ...] = tuple(SIZES)
    results: dict[str, dict[str, dict[str, list[Run]]]] = field(default_factory=dict)

    def compare(self, key: str, size: str, sides: list[Side], helpers: tuple[Server, ...] = ()) -> None:
        """Load the sides in turn and keep what came out."""
        leaders = [leader for helper in helpers for leader in helper.leaders]
        # Of the slowest, 16 answers at once take more than a second.
        seconds = self.seconds * 2 if size == "5 MB" else self.seconds
        runs = alternate(sides, rounds=self.rounds, seconds=seconds, helpers=leaders)
        self.results.setdefault(key, {})[size] = runs


@contextmanager
def _data() -> Iterator[Path]:
    folder = DATA / uuid.uuid4().hex
    folder.mkdir(parents=True)
    yield folder


def _check_upload_and_retrieve(name: str, server: Server, size: str) -> None:
    """Upload one photo, get it back byte for byte, and not a second time."""
    status, body = ask(server.port, "POST", UPLOAD, form(photo(size).data, {}), {"Content-Type": FORM_TYPE})
    require(status == 200, f"{name}: an upload was answered {status}")
    path = f"{RETRIEVE}?imageId={json.loads(body)['imageId']}"
    require(ask(server.port, "GET", path) == (200, photo(size).data), f"{name}: other bytes came back")
    require(ask(server.port, "GET", path)[0] == 404, f"{name}: an image came back twice")


def _upload(name: str, server: Server, size: str, **options: frozenset[int]) -> Side:
    environment = {
        "BENCH_METHOD": "POST",
        "BENCH_BODY": str(form_file(size)),
        "BENCH_HEADERS": f"Content-Type: {FORM_TYPE}",
        "BENCH_EXPECT": '"imageId"',
    }
    return Side(name, server, "one", UPLOAD, environment, **options)


def _pairs(name: str, server: Server, size: str, **options: frozenset[int]) -> Side:
    environment = {"BENCH_BODY": str(form_file(size)), "BENCH_IMAGE": str(photo(size).path), "BENCH_TYPE": FORM_TYPE}
    return Side(name, server, "pairs", "/", environment, **options)


def temp_image(bench: Bench) -> None:
    """Uploads, and uploads with their retrieves: ours on disk, the references in memory."""
    with ExitStack() as stack:
        folder = stack.enter_context(_data())
        sides = {
            "Keepsake, on disk": stack.enter_context(servers.keepsake(folder, "temp-image"))["temp-image"],
            "FastAPI": stack.enter_context(servers.uvicorn("fastapi_memory")),
            "Express": stack.enter_context(servers.express()),
        }
        sink = stack.enter_context(servers.sink())
        for size in bench.sizes:
            for name, server in sides.items():
                _check_upload_and_retrieve(name, server, size)
            uploads = [_upload(name, server, size) for name, server in {**sides, "raw socket sink": sink}.items()]
            bench.compare("upload", size, uploads)
            bench.compare("pairs", size, [_pairs(name, server, size) for name, server in sides.items()])


def through_redis(bench: Bench) -> None:
    """Uploads with their retrieves through Redis, which runs on the load's core."""
    with ExitStack() as stack:
        redis = stack.enter_context(servers.redis(cores=LOAD_CORE))
        url = f"redis://127.0.0.1:{redis.port}/0"
        ours = stack.enter_context(
            servers.keepsake(stack.enter_context(_data()), "temp-image", settings={"REDIS_URL": url})
        )
        sides = {
            "Keepsake": ours["temp-image"],
            "FastAPI, base64 in JSON": stack.enter_context(
                servers.uvicorn("fastapi_redis", REDIS_URL=url, REDIS_VALUES="base64")
            ),
            "FastAPI, raw bytes": stack.enter_context(
                servers.uvicorn("fastapi_redis", REDIS_URL=url, REDIS_VALUES="raw")
            ),
        }
        for size in bench.sizes:
            for name, server in sides.items():
                _check_upload_and_retrieve(name, server, size)
            bench.compare("redis", size, [_pairs(name, server, size) for name, server in sides.items()], (redis,))
            bench.results["redis"][size]["Redis alone"] = [
                _redis_alone(redis.port, photo(size).data, bench.seconds) for _ in range(bench.rounds)
            ]


def _redis_alone(port: int, value: bytes, seconds: int) -> Run:
    """SET, GET and DEL over one connection, one after the other."""
    pairs, started = 0, time.monotonic()
    with Redis(port=port) as client:
        while time.monotonic() - started < seconds:
            client.set("limit", value, ex=3600)
            require(client.get("limit") == value, "Redis gave other bytes back")
            client.delete("limit")
            pairs += 1
    return Run(rate=pairs / (time.monotonic() - started), wrong=0, cpu_us=0.0, others=0.0)


def gateway(bench: Bench) -> None:
    """Uploads and small JSON through the gateway and other proxies; behind each the raw socket sink, on the load's core."""
    with ExitStack() as stack:
        sink = stack.enter_context(servers.sink(cores=LOAD_CORE))
        behind = f"http://127.0.0.1:{sink.port}"
        folder = stack.enter_context(_data())
        settings = {"TEMP_IMAGE_URL": behind, "MEDIA_STORE_URL": behind}
        sides = {
            "Keepsake's gateway": stack.enter_context(servers.keepsake(folder, "gateway", settings=settings))[
                "gateway"
            ],
            "plain aiohttp proxy": stack.enter_context(servers.aiohttp_proxy(sink.port)),
            "nginx": stack.enter_context(servers.nginx(sink.port, folder)),
        }
        listing = "/api/user_images/bench/"
        environment = {"BENCH_EXPECT": '"success":true'}
        bench.compare(
            "gateway_json",
            SMALL,
            [Side(name, server, "one", listing, environment) for name, server in sides.items()],
            (sink,),
        )
        for size in bench.sizes:
            uploads = [_upload(name, server, size) for name, server in sides.items()]
            bench.compare("gateway_upload", size, uploads, (sink,))


def token(bench: Bench) -> None:
    """A bearer token checked and its claims answered as JSON; 64 tokens in turn."""
    tokens = TOOLS / "tokens.txt"
    now = int(time.time())
    claims = {"roles": [], "iss": "keepsake", "aud": "keepsake", "iat": now, "exp": now + 900}
    signed = [
        jwt.encode(
            {
                **claims,
                "sub": str(uuid.uuid4()),
                "username": f"u{turn}",
                "jti": uuid.uuid4().hex,
                "sid": uuid.uuid4().hex,
            },
            SECRET,
            "HS256",
        )
        for turn in range(64)
    ]
    tokens.write_text("\n".join(signed) + "\n")
    with ExitStack() as stack:
        folder = stack.enter_context(_data())
        settings = {"JWT_SECRET_KEY": SECRET}
        sides = {
            "Keepsake": stack.enter_context(servers.keepsake(folder, "auth-verify", settings=settings))["auth-verify"],
            "FastAPI": stack.enter_context(servers.uvicorn("fastapi_token", JWT_SECRET_KEY=SECRET)),
        }
        path = "/api/auth/verify"
        for name, server in sides.items():
            status, body = ask(server.port, "GET", path, headers={"Authorization": f"Bearer {signed[0]}"})
            require(status == 200 and json.loads(body)["username"] == "u0", f"{name}: other claims came back")
            require(ask(server.port, "GET", path)[0] in {401, 403}, f"{name}: let a caller without a token in")
        environment = {"BENCH_TOKENS": str(tokens), "BENCH_EXPECT": '"username"'}
        bench.compare(
            "token", SMALL, [Side(name, server, "tokens", path, environment) for name, server in sides.items()]
        )


def whole(bench: Bench) -> None:
    """Uploads through gateway and service, on disk, against FastAPI in memory without a gateway; all on all cores."""
    with ExitStack() as stack:
        ours = stack.enter_context(
            servers.keepsake(stack.enter_context(_data()), "temp-image", "gateway", cores=BOTH_CORES)
        )
        door = Server(
            ours["gateway"].port, [*ours["gateway"].leaders, *ours["temp-image"].leaders], ours["temp-image"].empty
        )
        sides = {
            "gateway and temp-image": door,
            "FastAPI": stack.enter_context(servers.uvicorn("fastapi_memory", cores=BOTH_CORES)),
        }
        for size in bench.sizes:
            for name, server in sides.items():
                _check_upload_and_retrieve(name, server, size)
            free = {"load_cores": BOTH_CORES}
            bench.compare("whole_upload", size, [_upload(name, server, size, **free) for name, server in sides.items()])
            bench.compare("whole_pairs", size, [_pairs(name, server, size, **free) for name, server in sides.items()])


def store_image(bench: Bench) -> None:
    """Images kept for good: ours decodes each and strips its metadata, the reference writes what came."""
    texts = (("purpose", "original"), ("session_id", "bench"))
    with ExitStack() as stack:
        folder = stack.enter_context(_data())
        sides = {
            "Keepsake": stack.enter_context(servers.keepsake(folder / "ours", "media-store"))["media-store"],
            "Flask": stack.enter_context(servers.flask(folder / "theirs")),
        }
        for size in bench.sizes:
            for name, server in sides.items():
                body = form(photo(size).data, dict(texts))
                status, answer = ask(server.port, "POST", "/store-image", body, {"Content-Type": FORM_TYPE})
                require(status == 200 and json.loads(answer)["success"], f"{name}: {status} to an image")
            environment = {
                "BENCH_METHOD": "POST",
                "BENCH_BODY": str(form_file(size, *texts)),
                "BENCH_HEADERS": f"Content-Type: {FORM_TYPE}",
                "BENCH_EXPECT": '"success"',
            }
            bench.compare(
                "store_image",
                size,
                [Side(name, server, "one", "/store-image", environment) for name, server in sides.items()],
            )


def serve(bench: Bench) -> None:
    """Stored images served: ours from its local store, nginx with sendfile."""
    with ExitStack() as stack:
        folder = stack.enter_context(_data())
        ours = stack.enter_context(servers.keepsake(folder, "media-store"))["media-store"]
        nginx = stack.enter_context(servers.nginx(9, photo(bench.sizes[0]).path.parent))
        for size in bench.sizes:
            body = form(photo(size).data, {})
            status, answer = ask(ours.port, "POST", "/store-image", body, {"Content-Type": FORM_TYPE})
            require(status == 200, f"an image was answered {status}")
            key = json.loads(answer)["key"]
            mine, theirs = f"/media/{key}", f"/files/{photo(size).path.name}"
            status, stored = ask(ours.port, "GET", mine)
            require(status == 200 and len(stored) > len(photo(size).data) // 2, "the stored image did not come back")
            require(ask(nginx.port, "GET", theirs) == (200, photo(size).data), "nginx sent other bytes")
            kept = Server(ours.port, ours.leaders)
            script = "one" if size == bench.sizes[0] else "reader"
            bench.compare("serve", size, [Side("Keepsake", kept, script, mine), Side("nginx", nginx, script, theirs)])


def workers(bench: Bench) -> None:
    """One and two processes of a service on one port; they, and the load, share both cores."""
    with ExitStack() as stack:
        sides = {
            f"WORKERS={count}": stack.enter_context(
                servers.keepsake(
                    stack.enter_context(_data()), "temp-image", cores=BOTH_CORES, settings={"WORKERS": str(count)}
                )
            )["temp-image"]
            for count in (1, 2)
        }
        size = bench.sizes[0]
        for name, server in sides.items():
            _check_upload_and_retrieve(name, server, size)
        free = {"load_cores": BOTH_CORES}
        bench.compare("workers", size, [_upload(name, server, size, **free) for name, server in sides.items()])


COMPARISONS: dict[str, Callable[[Bench], None]] = {
    "temp-image": temp_image,
    "redis": through_redis,
    "gateway": gateway,
    "token": token,
    "whole": whole,
    "store-image": store_image,
    "serve": serve,
    "workers": workers,
}
