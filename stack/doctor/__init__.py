"""`python -m stack doctor [--json]`: asks all that can be asked from outside, and says what is wrong and how to mend it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

from gateway.settings import GatewaySettings
from services.checkout.settings import CheckoutSettings
from services.media_store.settings import MediaStoreSettings
from services.planter_orders.settings import PlanterOrdersSettings
from stack.checks import Process, read_processes
from stack.doctor.bucket import check_browsers, check_cloudinary, check_storage
from stack.doctor.findings import Check, Finding, run_checks, unknown
from stack.doctor.machine import check_ports, check_room, check_secrets, check_settings
from stack.doctor.outside import Outside
from stack.doctor.payments import check_stripe
from stack.doctor.receivers import check_collector, check_receiver
from stack.doctor.services import check_addresses
from stack.doctor.stores import check_redis, check_tables

ENV_FILE = Path(".env")
NOT_LOOKED_AT = {
    "auth-verify": ("tables of auth-verify",),
    "temp-image": (),
    "media-store": ("tables of media-store", "storage", "uploads", "cloudinary"),
    "checkout": ("tables of checkout", "stripe"),
    "planter-orders": ("tables of planter-orders", "order webhooks"),
    "gateway": ("addresses", "PUBLIC_URL", "traces"),
}


def checks_of(processes: Sequence[Process], problems: Sequence[str]) -> dict[str, Check]:
    """Return the checks that fit the settings; one of a process whose settings cannot be read is named as left out."""
    caches = {getattr(process.settings, "redis_url", "") for process in processes} - {""}
    folders = {name: folder for process in processes for name, folder in process.settings.folders.items()}
    checks: dict[str, Check] = {
        "settings": partial(check_settings, problems),
        "secrets": partial(check_secrets, ENV_FILE),
        "ports": partial(check_ports, processes),
        "room": partial(check_room, folders),
        "left out": partial(left_out, processes),
        **checks_of_tables(processes),
    }
    for url in caches:  # one address at most: all processes read the same setting
        checks["redis"] = partial(check_redis, url)
    for process in processes:
        if isinstance(process.settings, MediaStoreSettings):
            checks["storage"] = partial(check_storage, process.settings)
            if process.settings.storage_backend != "local":
                checks["uploads"] = partial(check_browsers, process.settings, process.settings.cors_origins)
            if process.settings.cloudinary_url:
                checks["cloudinary"] = partial(check_cloudinary, process.settings)
        elif isinstance(process.settings, GatewaySettings):
            checks["addresses"] = partial(check_addresses, process.settings)
            checks["outside"] = Outside(process.settings).check
            if process.settings.otel_exporter_otlp_endpoint:
                checks["traces"] = partial(check_collector, process.settings.otel_exporter_otlp_endpoint)
        elif isinstance(process.settings, CheckoutSettings):
            checks["stripe"] = partial(check_stripe, process.settings)
        elif isinstance(process.settings, PlanterOrdersSettings) and process.settings.order_webhook_url:
            checks["order webhooks"] = partial(check_receiver, process.settings.order_webhook_url)
    return checks


def checks_of_tables(processes: Sequence[Process]) -> dict[str, Check]:
    """Return a check for each database, so that one which fails hides no other."""
    return {
        f"tables of {process.name}": partial(
            check_tables, process.name, process.settings.database_url, process.settings.data_dir
        )
        for process in processes
        if hasattr(process.settings, "database_url")
    }


async def left_out(processes: Sequence[Process]) -> AsyncIterator[Finding]:
    """Name what is not looked at, since settings of the process that it is about are wrong."""
    read = {process.name for process in processes}
    for name, checks in NOT_LOOKED_AT.items():
        for what in (f"port of {name}", *checks) if name not in read else ():
            yield unknown(what, f"not looked at, since settings of {name} are wrong.")


def main(*, as_json: bool) -> int:
    """Print the report, and return the exit status: 1 where something is wrong."""
    findings = asyncio.run(run_checks(checks_of(*read_processes())))
    sys.stdout.write(_as_json(findings) if as_json else _as_text(findings))
    return int(any(finding.state == "wrong" for finding in findings))


def _as_json(findings: Sequence[Finding]) -> str:
    is_right = all(finding.state != "wrong" for finding in findings)
    return json.dumps({"right": is_right, "findings": [finding.as_json() for finding in findings]}, indent=2) + "\n"


def _as_text(findings: Sequence[Finding]) -> str:
    count = sum(finding.state == "wrong" for finding in findings)
    return "".join(f"{finding.line()}\n" for finding in findings) + (
        f"{count} of {len(findings)} are wrong.\n" if count else f"Nothing of {len(findings)} is wrong.\n"
    )
