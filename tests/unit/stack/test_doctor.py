"""The doctor: each check is shown with what is right, and with what is not."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from gateway.settings import GatewaySettings
from services.auth_verify import app as auth_verify
from services.auth_verify.settings import AuthVerifySettings
from services.checkout import app as checkout
from services.checkout.settings import CheckoutSettings
from services.media_store import app as media_store
from services.media_store.settings import MediaStoreSettings
from services.planter_orders import app as planter_orders
from services.planter_orders.settings import PlanterOrdersSettings
from services.temp_image import app as temp_image
from services.temp_image.settings import TempImageSettings
from shared.app.factory import base_app
from shared.app.routes import ServiceInfo
from shared.settings import ServerSettings
from stack.checks import Process
from stack.doctor import left_out, machine, receivers, services
from stack.doctor.findings import Finding, right, run_checks, shown, wrong
from stack.doctor.outside import Outside
from tests.support import secret_values
from tests.support.otlp import collecting
from tests.support.processes import free_port
from tests.support.serving import ServeApp, serving
from tests.support.stripe_sandbox import Sandbox
from tests.unit.stack.doctor import examine, found, server


@pytest.mark.long
def test_a_fresh_machine_is_right(tmp_path: Path) -> None:
    status, said = examine(tmp_path)
    assert status == 0, said
    assert "WRONG" not in said


@pytest.mark.long
def test_what_is_wrong_is_told_to_people_and_to_machines(tmp_path: Path) -> None:
    status, said = examine(tmp_path, RATE_LIMIT_LOGIN="often")
    assert status == 1
    assert [line for line in said.splitlines() if "WRONG" in line and "RATE_LIMIT_LOGIN" in line]
    status, said = examine(tmp_path, "--json", RATE_LIMIT_LOGIN="often")
    report = json.loads(said)
    assert (status, report["right"]) == (1, False)
    (finding,) = [finding for finding in report["findings"] if finding["state"] == "wrong"]
    assert set(finding) == {"what", "state", "says", "mend"}


def test_a_machine_is_told_the_same_of_what_is_right(tmp_path: Path) -> None:
    status, said = examine(tmp_path, "--json")
    report = json.loads(said)
    assert (status, report["right"]) == (0, True), said
    assert {finding["state"] for finding in report["findings"]} <= {"right", "unknown"}
    assert {"settings", "port of gateway", "tables of checkout", "storage", "stripe"} <= {
        finding["what"] for finding in report["findings"]
    }


def test_a_data_folder_that_cannot_be_one_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, said = examine(tmp_path, DATA_DIR=str(tmp_path / "file"))
    assert status == 1
    assert [line for line in said.splitlines() if "WRONG" in line and "DATA_DIR" in line]


def test_a_small_disk_is_wrong(tmp_path: Path) -> None:
    """On a real one of 64 MiB, in a mount namespace of its own."""
    (tmp_path / "var").mkdir()
    mounted = 'mount -t tmpfs -o size=64m tmpfs var && exec "$@"'
    status, said = examine(
        tmp_path, within=("unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"), DATA_DIR="var"
    )
    assert status == 1
    assert [line for line in said.splitlines() if "WRONG" in line and "room of DATA_DIR: 64 MiB" in line], said


async def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    async def breaks() -> AsyncIterator[Finding]:
        yield right("first", "fine.")
        raise RuntimeError

    async def works() -> AsyncIterator[Finding]:
        yield wrong("other", "not so.", "do this.")

    findings = await run_checks({"breaks": breaks, "works": works})
    assert [(finding.state, finding.what) for finding in findings] == [
        ("right", "first"), ("wrong", "breaks"), ("wrong", "other"),
    ]  # fmt: skip


async def test_a_port_is_free_or_taken_or_keepsakes_own(serve_app: ServeApp) -> None:
    own = int((await serve_app(base_app(ServiceInfo("gateway", "", "Keepsake"), server(8080), []))).rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"gateway": own, "checkout": taken, "media-store": free_port(), "temp-image": own}
        processes = [Process(name, server(port)) for name, port in ports.items()]
        assert await found(partial(machine.check_ports, processes)) == [
            ("right", "port of gateway"),
            ("wrong", "port of checkout"),
            ("right", "port of media-store"),
            ("wrong", "port of temp-image"),
        ]


@pytest.mark.parametrize(("host", "family"), [("127.0.0.2", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_a_process_is_asked_where_it_listens(host: str, family: socket.AddressFamily) -> None:
    with socket.create_server((host, 0), family=family) as sock:
        sock.setblocking(False)
        settings = ServerSettings(_env_file=None, host=host, port=sock.getsockname()[1])
        async with serving(base_app(ServiceInfo("gateway", "", "Keepsake"), settings, []), sock):
            processes = [Process("gateway", settings)]
            assert await found(partial(machine.check_ports, processes)) == [("right", "port of gateway")]


async def test_the_sandbox_is_known_by_its_page(sandbox: Sandbox) -> None:
    processes = [Process("stripe-sandbox", server(URL(sandbox.url).port or 0))]
    assert await found(partial(machine.check_ports, processes)) == [("right", "port of stripe-sandbox")]


SERVICES_BUILT: dict[str, tuple[Any, Any]] = {
    "auth_service_url": (AuthVerifySettings, auth_verify.build_app),
    "temp_image_url": (TempImageSettings, temp_image.build_app),
    "media_store_url": (MediaStoreSettings, media_store.build_app),
    "checkout_url": (CheckoutSettings, checkout.build_app),
    "planter_orders_url": (PlanterOrdersSettings, planter_orders.build_app),
}


async def states_of_addresses(**said: Any) -> dict[str, str]:
    secrets: dict[str, Any] = {
        "jwt_secret_key": secret_values.USERS,
        "internal_secret": secret_values.INTERNAL,
    }
    settings = GatewaySettings(_env_file=None, **{"port": free_port(), **secrets, **said})
    findings = await run_checks({"it": partial(services.check_addresses, settings)})
    return {finding.what.removeprefix("address of "): f"{finding.state}: {finding.says}" for finding in findings}


async def test_each_service_is_known_at_its_address_and_takes_our_tokens_or_not(
    serve_app: ServeApp, tmp_path: Path
) -> None:
    said: dict[str, Any] = {
        "jwt_secret_key": secret_values.USERS,
        "internal_secret": secret_values.INTERNAL,
        "stripe_webhook_secret": "whsec_dGVzdHM=",
        "data_dir": tmp_path,
    }
    urls = {}
    for name, (model, build) in SERVICES_BUILT.items():
        known = {key: value for key, value in said.items() if key in model.model_fields}
        urls[name] = await serve_app(build(model(_env_file=None, **known)))
    states = await states_of_addresses(stripe_secret_key="sk_test_x", **urls)
    assert [state.split(":")[0] for state in states.values()] == ["right"] * 5, states
    states = await states_of_addresses(stripe_secret_key="sk_test_x", internal_secret="another" * 6, **urls)
    assert all(state.startswith("wrong") and "INTERNAL_SECRET" in state for state in states.values()), states
    urls["checkout_url"], urls["media_store_url"] = urls["media_store_url"], f"http://127.0.0.1:{free_port()}"
    states = await states_of_addresses(stripe_secret_key="sk_test_x", **urls)
    assert "leads to media-store" in states["checkout"]
    assert states["media-store"].startswith("wrong: nothing answers")


async def test_default_addresses_are_wrong_only_where_something_runs(serve_app: ServeApp) -> None:
    names = ("auth_verify", "temp_image", "media_store", "checkout", "planter_orders", "stripe_sandbox")
    ports = {f"{name}_port": free_port() for name in names}
    assert {state.split(":")[0] for state in (await states_of_addresses(**ports)).values()} == {"unknown"}
    gateway = URL(await serve_app(base_app(ServiceInfo("gateway", "", "Keepsake"), server(8080), [])))
    states = await states_of_addresses(**ports, host="127.0.0.1", port=gateway.port)
    assert (len(states), {state.split(":")[0] for state in states.values()}) == (6, {"wrong"})


async def test_a_gateway_with_another_secret_is_not_taken_for_none(serve_app: ServeApp) -> None:
    gateway = URL(await serve_app(base_app(ServiceInfo("gateway", "", "Keepsake"), server(8080), [])))
    secrets: dict[str, Any] = {
        "jwt_secret_key": secret_values.USERS,
        "internal_secret": secret_values.INTERNAL,
    }
    for port, state in ((gateway.port, "wrong"), (free_port(), "unknown")):
        settings = GatewaySettings(_env_file=None, host="127.0.0.1", port=port, **secrets)
        assert await found(Outside(settings).check) == [(state, "PUBLIC_URL")]


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("https://ann:hidden@shop.example:8443/a?b=c") == "https://shop.example:8443/a?b=c"


async def test_what_belongs_to_wrong_settings_is_named_as_not_looked_at() -> None:
    findings = await run_checks({"it": partial(left_out, [Process("gateway", server(8080))])})
    assert {finding.state for finding in findings} == {"unknown"}
    assert {"tables of checkout", "stripe", "storage", "port of temp-image"} <= {finding.what for finding in findings}
    assert "PUBLIC_URL" not in {finding.what for finding in findings}


async def test_a_disk_without_room_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = partial(machine.check_room, {"DATA_DIR": tmp_path / "not" / "yet"})
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 1)
    assert await found(check) == [("right", "room of DATA_DIR")]
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 2**80)
    assert await found(check) == [("wrong", "room of DATA_DIR")]


async def test_secrets_that_others_can_read_are_wrong(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    assert await found(partial(machine.check_secrets, env)) == []
    env.touch(mode=0o600)
    assert await found(partial(machine.check_secrets, env)) == [("right", "secrets")]
    env.chmod(0o644)
    assert await found(partial(machine.check_secrets, env)) == [("wrong", "secrets")]


async def test_a_collector_takes_traces_or_is_none(serve_app: ServeApp) -> None:
    with collecting() as collector:
        assert await found(partial(receivers.check_collector, f"{collector.url}/")) == [("right", "traces")]
    elsewhere = await serve_app(web.Application())
    assert await found(partial(receivers.check_collector, elsewhere)) == [("wrong", "traces")]
    assert await found(partial(receivers.check_collector, f"http://127.0.0.1:{free_port()}")) == [("wrong", "it")]


async def test_the_receiver_of_order_webhooks_answers_or_does_not(serve_app: ServeApp) -> None:
    shop = await serve_app(web.Application())
    assert await found(partial(receivers.check_receiver, f"{shop}/webhooks")) == [("right", "order webhooks")]
    assert await found(partial(receivers.check_receiver, f"http://127.0.0.1:{free_port()}")) == [("wrong", "it")]


def test_who_is_asked_follows_from_the_settings(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    status, said = examine(
        tmp_path,
        "--json",
        REDIS_URL=nobody.replace("http", "redis"),
        OTEL_EXPORTER_OTLP_ENDPOINT=nobody,
        ORDER_WEBHOOK_URL=nobody,
        ORDER_WEBHOOK_SECRET="whsec_dGVzdHM=",
        STORE_IMAGE_TO="cloudinary",
        CLOUDINARY_URL="cloudinary://key:secret@cloud",
        CLOUDINARY_API_BASE=nobody,
        STORAGE_BACKEND="s3",
        S3_BUCKET="images",
        S3_ENDPOINT_URL=nobody,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
    )
    wrong_ones = {finding["what"] for finding in json.loads(said)["findings"] if finding["state"] == "wrong"}
    assert (status, wrong_ones) == (1, {"redis", "traces", "order webhooks", "cloudinary", "storage", "uploads"})
