"""docs/contract.md, `OTEL_EXPORTER_OTLP_ENDPOINT`: one trace of a request through all processes, and nothing private in it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.support.otlp import Collector, Span, collecting
from tests.support.postgres import fresh_database
from tests.support.s3 import fresh_bucket
from tests.support.shopper import Shopper
from tests.support.stack import MODULES, Stack, running_stack

SERVER, CLIENT = 2, 3
GATEWAY = "gateway"
UPLOAD, RETRIEVE = "POST /api/temp-image-upload", "GET /api/temp-image-retrieve"
STORE = "POST /store-image"
ORDER, PHOTO = "POST /api/images/upload", "GET /api/images/orders/{order_id}/files/{filename}"
CHECKOUT = "POST /api/checkout/embedded-session"
HELD = "PUT /internal/holds/{image_id}/{holder}"
FOUND = "GET /internal/orders/{order_id}"
GIVEN_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{GIVEN_TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


@pytest.fixture(scope="module", params=["embedded", "servers"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Stack]:
    """All processes, two of temp-image's, and every request is traced."""
    folder = tmp_path_factory.mktemp("traced")
    collector.spans.clear()  # the other stack's
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": "1", "TEMP_IMAGE_WORKERS": "2"}
    if request.param == "embedded":
        with running_stack(folder, settings) as whole:
            yield whole
        return
    server = request.getfixturevalue("s3_server")
    with (
        fresh_bucket(server) as bucket,
        fresh_database(request.getfixturevalue("postgres_server_url")) as database,
    ):
        settings |= {
            "REDIS_URL": request.getfixturevalue("redis_server_url").rsplit("/", 1)[0] + "/10",
            "DATABASE_URL": database,
            **bucket.settings,
        }
        with running_stack(folder, settings) as whole:
            yield whole


@pytest.fixture
def database(shop: Stack) -> str:
    return "postgresql" if "DATABASE_URL" in shop.settings else "sqlite"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def shopper(http: aiohttp.ClientSession, shop: Stack) -> Shopper:
    return Shopper(http, shop)


def parent_of(span: Span, trace: list[Span]) -> Span:
    [parent] = [other for other in trace if other.span_id == span.parent_id]
    return parent


def way_of(trace: list[Span], process: str, name: str) -> list[tuple[str, str]]:
    """Return the spans from the first one down to this one."""
    way = [next(span for span in trace if (span.process, span.name) == (process, name))]
    while way[0].parent_id:
        way.insert(0, parent_of(way[0], trace))
    return [(span.process, span.name) for span in way]


async def test_an_upload_is_one_trace_from_the_gateway_to_the_store(
    shopper: Shopper, collector: Collector, database: str
) -> None:
    await shopper.send("/api/temp-image-upload", "image")
    stored = "disk put" if database == "sqlite" else "redis SET"
    trace = collector.trace_of(GATEWAY, UPLOAD, ("temp-image", stored))
    assert way_of(trace, "temp-image", stored) == [
        (GATEWAY, UPLOAD),
        (GATEWAY, "temp-image POST"),
        ("temp-image", UPLOAD),
        ("temp-image", stored),
    ]
    assert {(span.name, span.kind) for span in trace if span.process == GATEWAY} == {
        (UPLOAD, SERVER),
        ("temp-image POST", CLIENT),
    }


async def test_a_stored_image_is_one_trace_to_its_decoding_the_store_and_the_database(
    shopper: Shopper, collector: Collector, database: str
) -> None:
    await shopper.send("/store-image", "image", {"session_id": "a-private-session"})
    written = ("media-store", f"{database} write")
    trace = collector.trace_of(GATEWAY, STORE, written, ("media-store", "image-worker prepare"))
    above = [(GATEWAY, STORE), (GATEWAY, "media-store POST"), ("media-store", STORE)]
    assert way_of(trace, *written) == [*above, written]
    assert way_of(trace, "media-store", "image-worker prepare")[:3] == above
    if database == "postgresql":  # on one machine's disk the worker itself puts the image in its place
        assert way_of(trace, "media-store", "s3 put file")[:3] == above


async def test_a_purchase_is_one_trace_through_three_services_to_stripe(
    shopper: Shopper, collector: Collector, database: str
) -> None:
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    await shopper.ask("POST", "/api/checkout/embedded-session", json={"imageId": image_id})
    trace = collector.trace_of(GATEWAY, CHECKOUT, ("checkout", "stripe create"), ("temp-image", HELD))
    above = [(GATEWAY, CHECKOUT), (GATEWAY, "checkout POST"), ("checkout", CHECKOUT)]
    assert way_of(trace, "checkout", "stripe create") == [*above, ("checkout", "stripe create")]
    assert way_of(trace, "temp-image", HELD) == [*above, ("checkout", "temp-image PUT"), ("temp-image", HELD)]
    assert ("checkout", f"{database} write") in {(span.process, span.name) for span in trace}


async def test_an_orders_checkout_asks_the_order_in_the_same_trace(
    shopper: Shopper, collector: Collector, database: str
) -> None:
    order = await shopper.send("/api/images/upload", "files", headers=shopper.authorization)
    stored = ("planter-orders", "disk put bytes" if database == "sqlite" else "s3 put bytes")
    collector.trace_of(GATEWAY, ORDER, ("planter-orders", f"{database} write"), stored)
    body = {"order_id": order["order_id"]}
    await shopper.ask("POST", "/api/checkout/embedded-session", json=body, headers=shopper.authorization)
    read = ("planter-orders", f"{database} read")
    trace = collector.trace_of(GATEWAY, CHECKOUT, ("planter-orders", FOUND), ("checkout", "stripe create"), read)
    assert parent_of(next(s for s in trace if (s.process, s.name) == read), trace).name == FOUND


async def test_nothing_that_is_private_leaves_in_a_trace(
    shopper: Shopper, shop: Stack, collector: Collector, http: aiohttp.ClientSession
) -> None:
    """Each of these has been in a path, a query, a header, a form or an answer of a request that was traced."""
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    opened = await shopper.ask("POST", "/api/checkout/embedded-session", json={"imageId": image_id})
    await shopper.ask("GET", f"/api/checkout/session-status?session_id={opened['session_id']}")
    await shopper.ask("GET", f"/api/temp-image-retrieve?imageId={image_id}&a-private-query=1")
    await shopper.send("/store-image", "image", {"session_id": "a-private-session"})
    answer = await shopper.send(
        "/api/images/upload",
        "files",
        {"pet_name": "a-private-pet", "notes": "a-private-note"},
        headers=shopper.authorization,
    )
    order = (await shopper.ask("GET", f"/api/images/orders/{answer['order_id']}", headers=shopper.authorization))[
        "order"
    ]
    link = order["files"][0]["links"]["photo"]
    await shopper.ask("GET", link, headers={"X-Request-Id": "a-private-request", "baggage": "a-private=baggage"})
    await http.get(f"{shopper.url}/a-private-path/%22a-private-tail%22?a-private-query=2")
    await http.request("A-PRIVATE", f"{shopper.url}/api/images/orders")
    collector.trace_of(GATEWAY, PHOTO, ("planter-orders", PHOTO))
    collector.wait(lambda seen: bool(seen.named(GATEWAY, "GET unknown")))
    for secret in (
        b"private",
        b"127.0.0.1",
        image_id.encode(),
        opened["session_id"].encode(),
        opened["client_secret"].encode(),
        answer["order_id"].encode(),
        order["files"][0]["filename"].encode(),
        link.partition("signature=")[2].encode(),
        shopper.authorization["Authorization"].encode(),
        *(shop.settings[name].encode() for name in ("INTERNAL_SECRET", "JWT_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")),
    ):
        assert secret not in collector.received
    assert {key for span in collector.spans for key in span.attributes} <= {
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "peer.service",
        "error.type",
    }


async def test_a_delivery_and_its_confirmation_are_one_trace(shopper: Shopper, collector: Collector) -> None:
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    await shopper.ask("GET", f"/api/temp-image-retrieve?imageId={image_id}")
    confirmed = ("temp-image", "POST /internal/claims/{image_id}/{claim}/confirm")
    trace = collector.trace_of(GATEWAY, RETRIEVE, confirmed)
    assert way_of(trace, *confirmed)[0] == (GATEWAY, RETRIEVE)


def _is_told(process: str, before: int, collector: Collector) -> bool:
    told = [(span.process, span.name) for span in collector.spans[before:]]
    return (process, "GET /api/images/orders") in told


async def test_a_strangers_trace_ends_at_the_gateway_and_at_each_service(
    shop: Stack, collector: Collector, http: aiohttp.ClientSession
) -> None:
    for headers in (
        {"traceparent": PARENT},
        {"traceparent": f"{PARENT[:-2]}00"},
        {"traceparent": PARENT, "tracestate": f"keepsake={'0' * 32}"},
    ):
        for process in (GATEWAY, "planter-orders"):
            before = len(collector.spans)
            async with http.get(f"{shop.url(process)}/api/images/orders", headers=headers) as answer:
                assert answer.status == 401
            collector.wait(partial(_is_told, process, before))
    assert GIVEN_TRACE not in {span.trace_id for span in collector.spans}


async def test_a_line_of_the_log_has_the_id_of_its_trace(
    shop: Stack, collector: Collector, http: aiohttp.ClientSession
) -> None:
    shop.stop("checkout")
    try:
        async with http.get(f"{shop.url(GATEWAY)}/api/checkout/session-status?session_id=cs_test_1") as answer:
            assert answer.status == 503
            request_id = answer.headers["X-Request-Id"]
    finally:
        shop.start("checkout")
    lines = [json.loads(line) for line in shop.log(GATEWAY).splitlines() if request_id in line]
    assert lines
    trace = collector.trace_of(GATEWAY, "GET /api/checkout/session-status")
    assert {line["trace_id"] for line in lines} == {trace[0].trace_id}
    assert {span.attributes.get("error.type") for span in trace} == {"503", "ServiceDown"}


async def test_a_trusted_proxys_trace_goes_on_and_its_baggage_does_not(
    tmp_path: Path, collector: Collector, http: aiohttp.ClientSession
) -> None:
    """Whether it is recorded is the proxy's to say: here nothing is that begins at the gateway itself."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }
    other = "0af7651916cd43dd8448eb211c80319c"
    with running_stack(tmp_path, settings, "temp-image", GATEWAY) as shop:
        url = f"{shop.url(GATEWAY)}/api/temp-image-retrieve"
        for headers in (
            {},
            {"traceparent": f"00-{other}-00f067aa0ba902b7-00"},
            {"traceparent": "00-no-trace-01"},
            {"traceparent": PARENT, "tracestate": "proxy=1", "baggage": "user=somebody"},
        ):
            async with http.get(url, headers=headers) as answer:
                assert answer.status == 400
        collector.wait(lambda found: {("temp-image", RETRIEVE), (GATEWAY, RETRIEVE)} <= names_of(found, GIVEN_TRACE))
    [root] = [s for s in collector.spans if s.trace_id == GIVEN_TRACE and s.parent_id == "00f067aa0ba902b7"]
    assert (root.process, root.name) == (GATEWAY, RETRIEVE)
    assert len([s for s in collector.spans if s.trace_id == GIVEN_TRACE]) == 3
    assert not names_of(collector, other)
    assert b"somebody" not in collector.received


def names_of(collector: Collector, trace_id: str) -> set[tuple[str, str]]:
    return {(span.process, span.name) for span in collector.spans if span.trace_id == trace_id}


@pytest.mark.parametrize("collector_is", ["gone", "silent"])
async def test_a_collector_that_does_not_answer_costs_traces_and_nothing_else(
    tmp_path: Path, http: aiohttp.ClientSession, collector_is: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if collector_is == "gone":
            listener.close()
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER_ARG": "1"}
        with running_stack(tmp_path, settings, "temp-image") as shop:
            url = shop.url("temp-image")
            while True:
                async with http.get(f"{url}/api/temp-image-retrieve") as answer:
                    assert answer.status == 400
                async with http.get(f"{url}/metrics") as answer:
                    if not re.search(r'keepsake_trace_spans_total{end="lost"} 0', await answer.text()):
                        break
                await asyncio.sleep(0.1)
            assert shop.stop("temp-image") == 0
            [line] = [line for line in shop.log("temp-image").splitlines() if "traces_lost" in line]
            assert '"service": "temp-image"' in line
            assert "opentelemetry" not in shop.log("temp-image")


# As a process is where the extra is not installed.
WITHOUT_THE_EXTRA = """
import importlib.metadata, runpy, sys
sys.modules["opentelemetry"] = None
known = importlib.metadata.version
def version(name):
    if name.startswith("opentelemetry"):
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.version = version
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


class BareStack(Stack):
    """Processes without the extra."""

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-c", WITHOUT_THE_EXTRA, MODULES[name]]


@pytest.mark.parametrize("process", ["temp-image", GATEWAY])
def test_traces_without_the_extra_stop_the_start_with_one_sentence(tmp_path: Path, process: str) -> None:
    bare = BareStack(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    done = subprocess.run(
        bare.command(process),
        env=bare.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("keepsake: OTEL_EXPORTER_OTLP_ENDPOINT needs ")
    assert "make install-otel" in line


async def test_without_an_endpoint_nothing_of_the_extra_is_needed(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    bare = BareStack(tmp_path)
    try:
        bare.start("temp-image", GATEWAY)
        await Shopper(http, bare).send("/api/temp-image-upload", "image")
    finally:
        bare.stop_all()
