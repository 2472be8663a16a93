"""What watches Keepsake agrees with what it shows: a Prometheus reads a running stack, the alerts and the dashboard read that."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support import pictures
from tests.support.otlp import collecting
from tests.support.processes import server
from tests.support.shopper import Shopper
from tests.support.stack import ROOT, Stack, running_stack

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "keepsake.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
PATIENCE_S = 40


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack, traces and webhooks included."""
    with collecting() as collector:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER_ARG": "1",
            "ORDER_WEBHOOK_URL": f"{collector.url}/nowhere",
            "ORDER_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
        with running_stack(tmp_path_factory.mktemp("watched"), settings) as whole:
            yield whole


@pytest.fixture(scope="module")
def prometheus(shop: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the configuration that is delivered, but for the addresses, and a second for each interval."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    for target in config["scrape_configs"][0]["static_configs"]:
        target["targets"] = [f"127.0.0.1:{shop.ports[target['labels']['process']]}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with server(
        lambda port: [*command, f"--web.listen-address=127.0.0.1:{port}"],
        log=folder / "prometheus.log",
        stop_signal=signal.SIGTERM,
    ) as port:
        yield f"http://127.0.0.1:{port}/api/v1"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def a_days_work(shopper: Shopper, shop: Stack) -> None:
    """Do some of everything that is counted."""
    login = {"username": "nobody", "password": "wrong"}
    shop.stop("auth-verify")
    await shopper.ask("POST", "/api/auth/login", json=login, status=503)
    shop.start("auth-verify")
    await shopper.ask("POST", "/api/auth/login", json=login, status=401)
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    await shopper.ask("POST", "/api/checkout/embedded-session", json={"imageId": image_id})
    await shopper.ask("GET", f"/api/temp-image-retrieve?imageId={image_id}")
    await shopper.send("/store-image", "image", image=pictures.avif())
    order = (await shopper.send("/api/images/upload", "files", headers=shopper.authorization))["order_metadata"]
    await shopper.ask(
        "POST",
        f"/api/admin/orders/{order['order_id']}/photo-requests",
        json={"filename": order["files"][0]["filename"], "reason": "small"},
        headers=shopper.authorization,
        status=201,
    )
    await shopper.ask("POST", "/api/checkout/webhook", data=b"{}", status=400)


async def asked(http: aiohttp.ClientSession, prometheus: str, path: str, **query: str) -> Any:
    async with http.get(f"{prometheus}/{path}", params=query) as answer:
        found = await answer.json()
    assert found["status"] == "success", found
    return found["data"]


async def test_every_panel_and_every_alert_finds_what_it_asks_for(
    shop: Stack, prometheus: str, http: aiohttp.ClientSession
) -> None:
    await a_days_work(Shopper(http, shop), shop)
    queries = {
        target["expr"].replace("$__rate_interval", "1m").replace("$process", ".*")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    # An alert that is quiet gives nothing: what it looks at has to be there.
    queries |= {series for rule in RULES for series in series_of(rule["expr"])}
    for _ in range(PATIENCE_S):
        answers = {query: await asked(http, prometheus, "query", query=query) for query in queries}
        queries = {query for query, found in answers.items() if not found["result"]}
        if not queries:
            break
        await asyncio.sleep(1)
    assert not queries
    [group] = (await asked(http, prometheus, "rules"))["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert {rule["name"] for rule in group["rules"] if rule["state"] == "firing"} <= {"KeepsakeRestarting"}


def series_of(expression: str) -> set[str]:
    """Return the metrics that an alert looks at, each with the labels that it asks for, whatever their values."""
    selectors = re.findall(r"\b(?:(?:keepsake|process)_\w+|up\b)(?:{.*?})?", expression)
    return {re.sub(r'(\w+)(?:=~|!~|!=|=)"[^"]*"', r'\1!=""', selector) for selector in selectors}


async def test_one_more_of_each_is_counted_as_one_more(shop: Stack, http: aiohttp.ClientSession) -> None:
    shopper = Shopper(http, shop)
    before = await counted(http, shop)
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    await shopper.ask("POST", "/api/checkout/embedded-session", json={"imageId": image_id})
    await shopper.ask("GET", f"/api/temp-image-retrieve?imageId={image_id}")
    image_id = (await shopper.send("/api/temp-image-upload", "image"))["imageId"]
    await shopper.ask("GET", f"{shop.url('temp-image')}/api/temp-image-retrieve?imageId={image_id}")
    await shopper.send("/store-image", "image", image=pictures.avif())
    order = (await shopper.send("/api/images/upload", "files", headers=shopper.authorization))["order_metadata"]
    path = f"/api/admin/orders/{order['order_id']}/photo-requests"
    body = {"filename": order["files"][0]["filename"], "reason": "small"}
    await shopper.ask("POST", path, json=body, headers=shopper.authorization, status=201)
    expected = {
        'keepsake_claims_settled_total{end="confirm"}': 2,
        'keepsake_payments_total{state="creating"}': 1,
        'keepsake_payments_total{state="open"}': 1,
        'keepsake_payments_total{state="paid"}': 0,
        'keepsake_images_converted_total{what="avif"}': 1,
        'keepsake_order_photo_changes_total{what="requested"}': 1,
    }
    after = await counted(http, shop)
    while {
        name: after[name] - before[name] for name in expected
    } != expected:  # a delivery is settled behind its answer
        await asyncio.sleep(0.2)
        after = await counted(http, shop)
    summary = await shopper.ask("GET", "/api/admin/summary", headers=shopper.authorization)
    expected = {
        "keepsake_photo_requests_open": summary["photo_requests"],
        'keepsake_orders_by_status{status="pending"}': summary["orders"]["pending"],
        'keepsake_order_webhooks_waiting{state="failed"}': summary["deliveries"]["failed"],
    }
    while {name: after.get(name) for name in expected} != expected:  # read from the database every ten seconds
        await asyncio.sleep(0.2)
        after = await counted(http, shop)


async def counted(http: aiohttp.ClientSession, shop: Stack) -> dict[str, float]:
    """Return what all processes show."""
    found: dict[str, float] = {}
    for process in ("gateway", "temp-image", "media-store", "checkout", "planter-orders"):
        async with http.get(f"{shop.url(process)}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith("keepsake_"):
                    name, value = line.rsplit(" ", 1)
                    found[name] = found.get(name, 0) + float(value)
    return found


def test_every_alert_is_explained_and_tried() -> None:
    explained = (ROOT / "docs" / "operations.md").read_text()
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried = [(test["alertname"], bool(test["exp_alerts"])) for case in cases for test in case["alert_rule_test"]]
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert f"`{rule['alert']}`" in explained
        assert {(rule["alert"], True), (rule["alert"], False)} <= set(tried)
    assert {alert for alert, _ in tried} == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("command", ["check config prometheus.yml", "test rules alerts_test.yml"])
def test_promtool_agrees(command: str) -> None:
    done = subprocess.run(["promtool", *command.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_can_be_read_by_grafana() -> None:
    dashboard = DASHBOARD
    assert dashboard["uid"] == "keepsake"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
