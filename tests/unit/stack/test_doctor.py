"""The doctor: each check is shown with what is right, and with what is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stripe
from aiobotocore.session import get_session
from aiohttp import web
from redis import Redis
from yarl import URL

from gateway.settings import GatewaySettings
from services.auth_verify import app as auth_verify
from services.auth_verify.settings import AuthVerifySettings
from services.checkout import app as checkout
from services.checkout.service.webhooks import SESSION_EVENTS
from services.checkout.settings import CheckoutSettings
from services.media_store import app as media_store
from services.media_store.settings import MediaStoreSettings
from services.planter_orders import app as planter_orders
from services.planter_orders.settings import PlanterOrdersSettings
from services.temp_image import app as temp_image
from services.temp_image.settings import TempImageSettings
from shared.app.factory import base_app
from shared.app.routes import ServiceInfo
from shared.persistence.engine import open_database
from shared.persistence.migrations import SERVICES, migrate
from shared.settings import ServerSettings, StorageSettings
from stack.checks import Process
from stack.doctor import bucket, left_out, machine, payments, receivers, services, stores
from stack.doctor.findings import Check, Finding, right, run_checks, shown, wrong
from stack.doctor.outside import Outside
from tests.support.cloudinary import SECRET, running_cloudinary
from tests.support.otlp import collecting
from tests.support.processes import free_port
from tests.support.s3 import S3Server
from tests.support.serving import ServeApp, serving
from tests.support.stripe_sandbox import Sandbox

ROOT = Path(__file__).parents[3]


async def found(check: Check) -> list[tuple[str, str]]:
    """Run one check; return the state and what each of its findings is about."""
    return [(finding.state, finding.what) for finding in await run_checks({"it": check})]


def server(port: int) -> ServerSettings:
    return ServerSettings(_env_file=None, port=port)


def examine(folder: Path, *arguments: str, within: Sequence[str] = (), **settings: str) -> tuple[int, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    ports = ("GATEWAY", "AUTH_VERIFY", "TEMP_IMAGE", "MEDIA_STORE", "CHECKOUT", "PLANTER_ORDERS", "STRIPE_SANDBOX")
    good = {
        "JWT_SECRET_KEY": "users-secret-of-the-tests-0123456789",
        "INTERNAL_SECRET": "internal-secret-of-the-tests-0123456789",
        "STRIPE_WEBHOOK_SECRET": "whsec_dGVzdHM=",
        **{f"{name}_PORT": str(free_port()) for name in ports},
    }
    done = subprocess.run(
        [*within, sys.executable, "-m", "stack", "doctor", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **good, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


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


SECRET_OF_ALL = "internal-secret-of-the-tests-0123456789"
SERVICES_BUILT: dict[str, tuple[Any, Any]] = {
    "auth_service_url": (AuthVerifySettings, auth_verify.build_app),
    "temp_image_url": (TempImageSettings, temp_image.build_app),
    "media_store_url": (MediaStoreSettings, media_store.build_app),
    "checkout_url": (CheckoutSettings, checkout.build_app),
    "planter_orders_url": (PlanterOrdersSettings, planter_orders.build_app),
}


async def states_of_addresses(**said: Any) -> dict[str, str]:
    secrets: dict[str, Any] = {
        "jwt_secret_key": "users-secret-of-the-tests-0123456789",
        "internal_secret": SECRET_OF_ALL,
    }
    settings = GatewaySettings(_env_file=None, **{"port": free_port(), **secrets, **said})
    findings = await run_checks({"it": partial(services.check_addresses, settings)})
    return {finding.what.removeprefix("address of "): f"{finding.state}: {finding.says}" for finding in findings}


async def test_each_service_is_known_at_its_address_and_takes_our_tokens_or_not(
    serve_app: ServeApp, tmp_path: Path
) -> None:
    said: dict[str, Any] = {
        "jwt_secret_key": "users-secret-of-the-tests-0123456789",
        "internal_secret": SECRET_OF_ALL,
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
        "jwt_secret_key": "users-secret-of-the-tests-0123456789",
        "internal_secret": SECRET_OF_ALL,
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


async def test_a_redis_that_evicts_is_wrong(redis_url: str) -> None:
    check = partial(stores.check_redis, redis_url)
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory-policy", "noeviction")
        assert await found(check) == [("right", "redis"), ("right", "redis eviction")]
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert await found(check) == [("right", "redis"), ("wrong", "redis eviction")]
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
        assert redis.keys("keepsake-doctor:*") == []


async def test_a_redis_that_is_not_there_is_wrong() -> None:
    assert await found(partial(stores.check_redis, f"redis://127.0.0.1:{free_port()}/0")) == [("wrong", "redis")]


async def test_a_redis_whose_memory_is_full_is_wrong_and_says_so(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory", "1")
        try:
            (finding,) = await run_checks({"it": partial(stores.check_redis, redis_url)})
        finally:
            redis.config_set("maxmemory", "0")
    assert (finding.state, "memory is full" in finding.says) == ("wrong", True), finding


@pytest.mark.parametrize("rights", [["+@read"], ["+@read", "+info", "+del"], ["-@all"]])
async def test_a_redis_that_takes_no_keys_from_us_is_wrong(redis_url: str, rights: list[str]) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.execute_command("ACL", "SETUSER", "guest", "on", ">guests-password", "~*", *rights)
        try:
            for password in ("guests-password", "another"):
                url = redis_url.replace("//", f"//guest:{password}@")
                (finding,) = await run_checks({"it": partial(stores.check_redis, url)})
                says = "may not do all" if password == "guests-password" else "refuses the user or password"
                assert (finding.state, says in finding.says) == ("wrong", True), finding
        finally:
            redis.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_tables_that_are_not_this_codes_are_wrong(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    check = partial(stores.check_tables, "auth-verify", url, tmp_path)

    async def states() -> list[str]:
        return [finding.says for finding in await run_checks({"it": check})]

    if kind == "sqlite":
        assert "no database yet" in (await states())[0]
        assert list(tmp_path.iterdir()) == []
    else:
        assert "not migrated" in (await states())[0]
    async with open_database(url, tmp_path, "auth-verify") as database:
        await migrate(database, SERVICES / "auth_verify" / "migrations", "auth-verify", tmp_path)
        assert await found(check) == [("right", "tables of auth-verify")]
        for revision, says in (("0001", "not migrated"), ("9999", "newer release")):
            async with database.begin() as connection:
                await connection.execute(
                    sa.text('UPDATE "alembic_version_auth-verify" SET version_num = :revision'), {"revision": revision}
                )
            assert says in (await states())[0]


async def test_a_database_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none"
    (finding,) = await run_checks({"it": partial(stores.check_tables, "auth-verify", url, tmp_path)})
    assert (finding.state, "cannot be reached" in finding.says) == ("wrong", True), finding


async def test_a_database_that_refuses_us_is_wrong(postgres_url: str, tmp_path: Path) -> None:
    url = sa.make_url(postgres_url).set(username="stranger", password="wrong").render_as_string(hide_password=False)
    (finding,) = await run_checks({"it": partial(stores.check_tables, "auth-verify", url, tmp_path)})
    assert (finding.state, 'refuses what we ask: role "stranger"' in finding.says) == ("wrong", True), finding


def bucket_settings(s3: S3Server, data_dir: Path, **changed: str) -> StorageSettings:
    said: dict[str, Any] = {
        "storage_backend": "s3",
        "s3_bucket": s3.bucket,
        "s3_endpoint_url": s3.endpoint_url,
        "aws_region": s3.region,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        **changed,
    }
    return StorageSettings(_env_file=None, data_dir=data_dir, **said)


async def test_a_store_that_takes_objects_is_right_and_one_that_does_not_is_wrong(s3: S3Server, tmp_path: Path) -> None:
    local = StorageSettings(_env_file=None, data_dir=tmp_path)
    for settings in (local, bucket_settings(s3, tmp_path)):
        assert await found(partial(bucket.check_storage, settings)) == [("right", "storage")]
    for changed in (
        {"s3_bucket": "no-such-bucket"},
        {"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"},
        {"aws_access_key_id": "AKIASTRANGER00000000"},
    ):
        check = partial(bucket.check_storage, bucket_settings(s3, tmp_path, **changed))
        findings = await run_checks({"it": check})
        assert findings[0].state == "wrong"
        assert ("nothing answers" in findings[0].says) == ("s3_endpoint_url" in changed)


async def test_a_bucket_that_lets_no_browser_upload_is_wrong(s3: S3Server, tmp_path: Path) -> None:
    shop, other = "https://shop.example", "https://other.example"
    check = partial(bucket.check_browsers, bucket_settings(s3, tmp_path), (shop, other))
    assert [state for state, _ in await found(check)] == ["right", "wrong", "wrong"]
    rule = {"AllowedOrigins": [shop], "AllowedMethods": ["POST", "PUT", "GET", "HEAD"], "AllowedHeaders": ["*"]}
    for methods, state in ((["POST", "PUT"], "right"), (["POST"], "wrong")):
        await set_cors(s3, {**rule, "AllowedMethods": methods})
        assert await found(check) == [
            ("right", "clock"),
            (state, f"uploads from {shop}"),
            ("wrong", f"uploads from {other}"),
        ]


async def test_r2_takes_uploads_by_put_alone(s3: S3Server, tmp_path: Path) -> None:
    said = {
        "storage_backend": "r2",
        "r2_bucket_name": s3.bucket,
        "r2_access_key_id": s3.access_key,
        "r2_secret_access_key": s3.secret_key,
    }
    shop = "https://shop.example"
    check = partial(bucket.check_browsers, bucket_settings(s3, tmp_path, **said), (shop,))
    assert ("wrong", f"uploads from {shop}") in await found(check)
    await set_cors(s3, {"AllowedOrigins": [shop], "AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]})
    assert ("right", f"uploads from {shop}") in await found(check)


@pytest.mark.parametrize("seconds", [-600, 600])
async def test_a_clock_that_is_not_the_buckets_is_wrong(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    now = time.time
    monkeypatch.setattr("stack.doctor.machine.time.time", lambda: now() + seconds)
    assert ("wrong", "clock") in await found(partial(bucket.check_browsers, bucket_settings(s3, tmp_path), ()))


async def test_a_bucket_that_is_not_there_is_wrong_and_says_so(s3: S3Server, tmp_path: Path) -> None:
    settings = bucket_settings(s3, tmp_path, s3_endpoint_url=f"http://127.0.0.1:{free_port()}")
    (finding,) = await run_checks({"uploads": partial(bucket.check_browsers, settings, ("https://shop.example",))})
    assert (finding.state, finding.what) == ("wrong", "uploads")
    assert "cannot be reached" in finding.says


async def test_cloudinary_takes_our_signature_or_not(tmp_path: Path) -> None:
    async with running_cloudinary() as account:
        for url, state in ((account.account, "right"), (account.account.replace(SECRET, "another"), "wrong")):
            settings = MediaStoreSettings(
                _env_file=None,
                data_dir=tmp_path,
                jwt_secret_key="users-secret-of-the-tests-0123456789",
                internal_secret="internal-secret-of-the-tests-0123456789",
                store_image_to="cloudinary",
                cloudinary_url=url,
                cloudinary_api_base=account.url,
            )
            check = partial(bucket.check_cloudinary, settings)
            assert [finding.state for finding in await run_checks({"cloudinary": check})] == [state]


async def set_cors(s3: S3Server, rule: dict[str, list[str]]) -> None:
    keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    async with get_session().create_client("s3", region_name=s3.region, endpoint_url=s3.endpoint_url, **keys) as client:
        await client.put_bucket_cors(Bucket=s3.bucket, CORSConfiguration={"CORSRules": [rule]})


SITE = "https://images.shop.example"
ENDPOINT = {"url": f"{SITE}/api/checkout/webhook", "status": "enabled", "enabled_events": ["*"]}


@dataclass
class Stripe:
    """A double that knows one key, and answers with the endpoints and the date that a test gives it."""

    endpoints: list[dict[str, Any]] = field(default_factory=lambda: [ENDPOINT])
    seconds_ahead: int = 0
    version: str = stripe.api_version
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.seconds_ahead), usegmt=True)
        keys = {"Bearer sk_live_known": 200, "Bearer sk_test_known": 200, "Bearer rk_live_restricted": 403}
        status = keys.get(request.headers["Authorization"], 401)
        if status == 200 and request.headers["Stripe-Version"] != self.version:
            status = 400
        return web.json_response({"data": self.endpoints}, status=status, headers={"Date": date})

    async def states(self, **changed: str) -> dict[str, str]:
        """Run the check; return the state of each thing it looked at."""
        said: dict[str, Any] = {
            "stripe_secret_key": "sk_live_known",
            "stripe_publishable_key": "pk_live_known",
            "stripe_webhook_secret": "whsec_x",
            "stripe_api_base": self.url,
            "public_url": SITE,
            "jwt_secret_key": "users-secret-of-the-tests-0123456789",
            "internal_secret": "internal-secret-of-the-tests-0123456789",
            **changed,
        }
        settings = CheckoutSettings(_env_file=None, **said)
        return {what: state for state, what in await found(partial(payments.check_stripe, settings, self.url))}


@pytest.fixture
async def account(serve_app: ServeApp) -> Stripe:
    double, app = Stripe(), web.Application()
    app.router.add_get("/v1/webhook_endpoints", double.answer)
    double.url = await serve_app(app)
    return double


class TestStripe:
    async def test_all_is_right_where_all_is(self, account: Stripe) -> None:
        right_ones = {"stripe key": "right", "clock": "right", "stripe webhooks": "right"}
        assert await account.states() == right_ones
        account.endpoints = [{**ENDPOINT, "enabled_events": sorted(SESSION_EVENTS | payments.OTHER_EVENTS)}]
        assert await account.states() == right_ones

    async def test_only_where_the_sandbox_answers_no_real_money_moves(self, account: Stripe, sandbox: Sandbox) -> None:
        keys, dead = {"stripe_secret_key": "sk_test_known"}, free_port()
        assert await account.states(**keys, stripe_api_base=sandbox.url) == {"stripe": "right"}
        not_started = {"stripe_api_base": f"http://localhost:{dead}", "stripe_sandbox_port": str(dead)}
        assert await account.states(**keys, **not_started) == {"stripe": "unknown"}
        for other in (f"http://127.0.0.1:{dead}", account.url + "/"):
            assert await account.states(**keys, stripe_api_base=f"{other}/v0") == {"stripe": "wrong"}
        assert await account.states(stripe_api_base=sandbox.url) == {"stripe": "wrong"}

    @pytest.mark.parametrize(
        "changed",
        [
            {"stripe_secret_key": "sk_live_other"},
            {"stripe_secret_key": "rk_live_restricted"},
            {"stripe_publishable_key": "pk_test_known"},
            {"stripe_secret_key": "sk_test_known"},
        ],
    )
    async def test_a_key_that_stripe_refuses_or_that_fits_no_other_is_wrong(
        self, account: Stripe, changed: dict[str, str]
    ) -> None:
        assert (await account.states(**changed))["stripe key"] == "wrong"

    async def test_a_test_key_is_wrong_in_production_alone(
        self, account: Stripe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = {"stripe_secret_key": "sk_test_known", "stripe_publishable_key": "pk_test_known"}
        assert (await account.states(**keys))["stripe key"] == "right"
        # Read, and not checked: production takes no address of this machine, where the double is.
        monkeypatch.setattr(CheckoutSettings, "problems", lambda _self: iter(()))
        assert (await account.states(environment="production", **keys))["stripe key"] == "wrong"

    async def test_an_api_version_that_stripe_does_not_know_is_wrong(self, account: Stripe) -> None:
        account.version = "2020-08-27"
        assert await account.states() == {"stripe key": "wrong", "clock": "right"}

    async def test_a_stripe_that_is_not_there_is_wrong(self, account: Stripe) -> None:
        account.url = f"http://127.0.0.1:{free_port()}"
        assert await account.states() == {"it": "wrong"}

    @pytest.mark.parametrize("seconds", [-400, 400])
    async def test_a_clock_that_is_off_is_wrong(self, account: Stripe, seconds: int) -> None:
        account.seconds_ahead = seconds
        assert (await account.states())["clock"] == "wrong"

    @pytest.mark.parametrize(
        "endpoints",
        [
            [],
            [{**ENDPOINT, "url": "https://elsewhere.example/api/checkout/webhook"}],
            [{**ENDPOINT, "status": "disabled"}],
            [{**ENDPOINT, "enabled_events": ["checkout.session.completed"]}],
        ],
    )
    async def test_an_endpoint_that_does_not_hear_of_payments_is_wrong(
        self, account: Stripe, endpoints: list[dict[str, Any]]
    ) -> None:
        account.endpoints = endpoints
        assert (await account.states())["stripe webhooks"] == "wrong"


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
