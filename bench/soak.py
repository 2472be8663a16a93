"""`make soak`: a mixed load for 20 minutes, and whether memory, file descriptors and tasks of each process stay flat.

Prints a Markdown table for docs/operations.md: medians of the second and of the last quarter, the first being warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.machine import memory_kib, session
from tests.support import pictures
from tests.support.stack import MODULES, Stack, running_stack

CUSTOMERS = 4
SAMPLE_EVERY_S = 5.0
PASSWORD = "correct horse battery"
PAUSE_S = 0.2  # between two journeys: a load that goes on, not one that saturates
PHOTO = pictures.jpeg(1200, 900)
Samples = dict[tuple[str, str], list[float]]


class Customer:
    """Does one thing after the other, as shops' visitors do; whatever is not answered as it should be is counted."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession, number: int, outcomes: Counter[str]) -> None:
        self._gateway, self._pay = stack.url("gateway"), stack.url("stripe-sandbox")
        self._http, self._name, self._outcomes = http, f"soak{number}", outcomes
        self._token = ""

    async def sign_in(self) -> None:
        """Sign in, after registering the first time; the token lives for 15 minutes."""
        user = {"username": self._name, "email": f"{self._name}@example.com", "password": PASSWORD}
        await self._ask("register", "POST", "/api/auth/register", {201, 409}, json=user)
        self._token = (await self._ask("login", "POST", "/api/auth/login", {200}, json=user))["access_token"]

    async def buy_a_photo(self) -> None:
        """Upload, pay, come back, fetch it."""
        image = await self._send("temp upload", "/api/temp-image-upload", "image")
        opened = await self._ask("session", "POST", "/api/checkout/embedded-session", {200}, json=image)
        pay = {"data": {"action": "pay"}, "allow_redirects": False}
        await self._ask("pay", "POST", f"{self._pay}/pay/{opened['session_id']}", {303}, **pay)
        about = f"?session_id={opened['session_id']}"
        await self._ask("status", "GET", f"/api/checkout/session-status{about}", {200})
        await self._ask("retrieve", "GET", f"/api/temp-image-retrieve?imageId={image['imageId']}", {200})

    async def keep_a_photo(self) -> None:
        """Store, look at it, look at it small."""
        stored = await self._send("store", "/store-image", "image")
        for more in ("", "?w=320"):
            await self._ask("serve", "GET", f"/media/{stored['key']}{more}", {200})

    async def change_the_profile(self) -> None:
        """Upload, list, delete."""
        fields = {"username": self._name, "image_type": "profile", "is_primary": "true"}
        image = (await self._send("user image", "/api/upload_user_image/", "image", **fields))["image"]
        await self._ask("user images", "GET", f"/api/user_images/{self._name}/", {200})
        await self._ask("delete image", "DELETE", f"/api/user_image/{image['id']}/delete/", {200})

    async def order_a_planter(self) -> None:
        """Order, hear of it, cancel."""
        order = await self._send("order", "/api/images/upload", "files", pet_name="Rex")
        path = f"/api/images/orders/{order['order_id']}"
        async with self._http.get(f"{self._gateway}{path}/events", headers=self._headers) as events:
            await events.content.readline()
        await self._ask("orders", "GET", "/api/images/orders?limit=10", {200})
        await self._ask("delete order", "DELETE", path, {200})

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    async def _send(self, what: str, path: str, field: str, **fields: str) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field(field, PHOTO, filename="photo.jpg", content_type="image/jpeg")
        for name, value in fields.items():
            form.add_field(name, value)
        return await self._ask(what, "POST", path, {200}, data=form)

    async def _ask(self, what: str, method: str, path: str, expected: set[int], **options: Any) -> dict[str, Any]:
        url = path if path.startswith("http") else self._gateway + path
        async with self._http.request(method, url, headers=self._headers, **options) as answer:
            right = answer.status in expected
            self._outcomes[what if right else f"{what}: {answer.status}"] += 1
            if not right:
                raise aiohttp.ClientPayloadError(what)
            is_json = answer.content_type == "application/json"
            return await answer.json() if is_json else {"read": len(await answer.read())}


async def _shop(customer: Customer, until: float) -> None:
    journeys: tuple[Callable[[], Awaitable[None]], ...] = (
        customer.buy_a_photo,
        customer.keep_a_photo,
        customer.change_the_profile,
        customer.order_a_planter,
    )
    signed_in = float("-inf")
    for turn in count():
        if time.monotonic() > until:
            return
        with suppress(aiohttp.ClientError):
            if time.monotonic() > signed_in + 600:
                await customer.sign_in()
                signed_in = time.monotonic()
            await journeys[turn % len(journeys)]()
        await asyncio.sleep(PAUSE_S)


async def _tasks(http: aiohttp.ClientSession, url: str) -> float:
    async with http.get(f"{url}/metrics") as answer:
        found = re.search(r"^keepsake_tasks (\S+)$", await answer.text(), re.MULTILINE)
    return float(found[1]) if found else float("nan")


async def _watch(stack: Stack, http: aiohttp.ClientSession, until: float) -> Samples:
    samples: Samples = defaultdict(list)
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_EVERY_S)
        for name in MODULES:
            pids = session(stack.pid(name))
            samples[name, "memory, MiB"].append(sum(memory_kib(pid, "VmRSS") for pid in pids) / 1024)
            samples[name, "files"].append(sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids))
            if name != "stripe-sandbox":
                samples[name, "tasks"].append(await _tasks(http, stack.url(name)))
    return samples


async def _soak(stack: Stack, minutes: float) -> tuple[Samples, Counter[str]]:
    until, outcomes = time.monotonic() + minutes * 60, Counter[str]()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http, asyncio.TaskGroup() as group:
        for number in range(CUSTOMERS):
            group.create_task(_shop(Customer(stack, http, number, outcomes), until))
        return await _watch(stack, http, until), outcomes


def main() -> int:
    """Run it; the exit code is 1 where anything was answered as it should not be."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=20.0)
    minutes = arguments.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        samples, outcomes = asyncio.run(_soak(stack, minutes))
    lines = [
        f"{sum(outcomes.values())} requests in {minutes:g} minutes, {CUSTOMERS} customers at a time",
        ", ".join(f"{what} {number}" for what, number in sorted(outcomes.items())),
        "",
        "| process | what | second quarter | last quarter | change |",
        "|---|---|---|---|---|",
    ]
    for (name, what), values in samples.items():
        quarter = max(1, len(values) // 4)
        early, late = (statistics.median(part) for part in (values[quarter : 2 * quarter] or values, values[-quarter:]))
        lines.append(f"| {name} | {what} | {early:.1f} | {late:.1f} | {late - early:+.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(":" in what for what in outcomes))


if __name__ == "__main__":
    sys.exit(main())
