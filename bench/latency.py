"""How long calls take while the machine works: those of 64 connections, while 12-megapixel photos come in without end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bench import servers
from bench.bodies import FORM_TYPE, form
from bench.client import Load
from bench.comparisons import data_folder, stores, uploads
from bench.load import ask, loading, require, told
from bench.machine import BOTH_CORES
from bench.servers import SECRET, bearer
from tests.support import pictures

CONNECTIONS = 64
A_SECOND = 100
STRAIGHT_A_SECOND = 300
STRAIGHT = "retrieve of 50 KB, on the service's port"
LEAD_S = 4.0  # until the workers are up, and all of it is under way; and as long again at the end
PHOTOS_AT_ONCE = 4
NAME = "visitor"
SERVICES = ("auth-verify", "temp-image", "media-store", "checkout", "stripe-sandbox", "gateway")
PICTURE = form(pictures.jpeg(200, 150), {"username": NAME, "image_type": "gallery"})


def _calls(port: int) -> Mapping[str, Load]:
    """Make what is asked for: twenty images, and a checkout session; return the calls by name, all through the gateway."""
    user = bearer(NAME)
    for _ in range(20):
        status, body = ask(port, "POST", "/api/upload_user_image/", PICTURE, {**user, "Content-Type": FORM_TYPE})
        require(status == 200, f"an image was answered {status}: {body[:200]!r}")
    as_json = {"Content-Type": "application/json"}
    status, body = ask(port, "POST", "/api/checkout/embedded-session", b"{}", as_json)
    require(status == 200, f"a checkout session was answered {status}: {body[:200]!r}")
    session = json.loads(body)["session_id"]
    return {
        "retrieve of 50 KB": uploads(port, "50 KB", retrieved=True),
        "page of 20 images": Load(port, f"/api/user_images/{NAME}/?limit=20", headers=user, expected='"count":20'),
        "status of a checkout": Load(port, f"/api/checkout/session-status?session_id={session}", expected='"status"'),
    }


def _under_way(call: Load, photos: Load, seconds: float) -> dict[str, Any]:
    asked = partial(loading, replace(call, connections=CONNECTIONS, seconds=seconds), BOTH_CORES)
    with asked() as client:
        idle = told(client)
    with loading(replace(photos, seconds=seconds + LEAD_S), BOTH_CORES) as flood:
        time.sleep(LEAD_S / 2)
        with asked() as client:
            busy = told(client)
        kept = told(flood)
    return {
        "idle_ms": [idle.median_ms, idle.p99_ms],
        "busy_ms": [busy.median_ms, busy.p99_ms],
        "photos": kept.good / kept.seconds,
        "a_second": busy.good / busy.seconds,
    }


def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Return each call's median and 99th percentile in milliseconds, idle and under load, and how many photos were kept."""
    settings = {"JWT_SECRET_KEY": SECRET}
    with data_folder() as folder, servers.keepsake(folder, *SERVICES, cores=BOTH_CORES, settings=settings) as ours:
        found = {}
        straight = replace(uploads(ours["temp-image"].port, "50 KB", retrieved=True), a_second=STRAIGHT_A_SECOND)
        calls = {STRAIGHT: (straight, ours["media-store"].port)}
        for name, call in _calls(ours["gateway"].port).items():
            calls[name] = replace(call, a_second=A_SECOND), ours["gateway"].port
        for name, (call, port) in calls.items():
            found[name] = _under_way(call, stores(port, "12 MP", connections=PHOTOS_AT_ONCE), seconds)
            ours["media-store"].empty()
    return found
