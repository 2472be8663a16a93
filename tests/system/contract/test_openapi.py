"""The whole API as one OpenAPI document, and every operation of it tried with generated requests."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from gateway.route_table import build_table
from gateway.settings import GatewaySettings
from shared.app.openapi import public_path
from tests.support.stack import Stack

EXAMPLES = 5
EVENTS = "/api/images/orders/{order_id}/events"
CONFIG = Path(__file__).with_name("schemathesis.toml")
METHODS = {"get", "put", "post", "delete", "patch", "head"}


async def _document(stack: Stack) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(stack.url("gateway") + "/openapi.json") as answer:
        document: dict[str, Any] = await answer.json()
        return document


async def test_the_gateway_describes_every_row_of_its_table(stack: Stack) -> None:
    paths = (await _document(stack))["paths"]
    described = {(method.upper(), path.rstrip("/")) for path in paths for method in paths[path] if method in METHODS}
    settings = GatewaySettings(_env_file=None, jwt_secret_key="x" * 32, internal_secret="y" * 32)
    table = {(route.method, public_path(route.path).rstrip("/")) for route in build_table(settings)}
    assert {route for route in table if route[0] != "HEAD"} <= described


async def test_the_document_is_valid_openapi(stack: Stack) -> None:
    validate(await _document(stack))


async def test_every_call_that_needs_something_has_an_example_of_it(stack: Stack) -> None:
    document = await _document(stack)
    without = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if any(
                "example" not in parameter for parameter in operation.get("parameters", ()) if parameter["required"]
            ) or any(
                content[kind].get("schema") and "example" not in content[kind] for kind in content if "json" in kind
            ):
                without.append((method, path))
    assert without == []


async def _token(stack: Stack) -> str:
    user = {"username": "schemathesis", "email": "s@example.com", "password": "correct horse battery"}
    async with aiohttp.ClientSession() as http:
        async with http.post(stack.url("auth-verify") + "/api/auth/register", json=user) as answer:
            assert answer.status in {201, 409}
        async with http.post(stack.url("auth-verify") + "/api/auth/login", json=user) as answer:
            return str((await answer.json())["access_token"])


@pytest.mark.timeout(600)
async def test_no_generated_request_breaks_an_operation(stack: Stack, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(await _document(stack)))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(document),
        f"--url={stack.url('gateway')}",
        f"--max-examples={EXAMPLES}",
        "--checks=all",
        "--seed=1",
        "--continue-on-failure",
        "--no-color",
    ]
    # At once, because wrong sign-ins are slowed down, and the waits overlap. The stream of an order's events never ends, so
    # its operation is tried by a caller who has no order.
    header = f"--header=Authorization: Bearer {await _token(stack)}"
    # Not "stateful": it would find its way from an upload to the order's events, and wait for their end. Nobody is mostly
    # answered 401, of which a schema's every corner shows nothing new.
    phases = "--phases=examples,coverage,fuzzing"
    callers = {
        "nobody": ["--phases=examples,fuzzing"],
        "somebody": [phases, header, f"--exclude-path={EVENTS}"],
        "somebody without orders": [phases, header, f"--include-path={EVENTS}"],
    }
    runs = {}
    for who, choices in callers.items():
        output = tmp_path / f"{who}.txt"
        folder = tmp_path / who
        folder.mkdir()
        shutil.copy(CONFIG, folder)
        with output.open("w") as file:
            runs[output] = subprocess.Popen([*command, *choices], cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    codes = {output: await asyncio.to_thread(run.wait) for output, run in runs.items()}
    failed = [f"{output.stem}: {output.read_text()[-20000:]}" for output, code in codes.items() if code]
    assert not failed, "\n".join(failed)
