"""What can be known before anything starts: that every process's settings are in order, and its port free."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.settings import GatewaySettings
from services.auth_verify.settings import AuthVerifySettings
from services.checkout.settings import CheckoutSettings
from services.media_store.settings import MediaStoreSettings
from services.planter_orders.settings import PlanterOrdersSettings
from services.temp_image.settings import TempImageSettings
from shared.app.server import open_sockets
from shared.settings import LOOPBACK_HOSTS, ServerSettings, load_settings, read_settings, refuse_start
from stripe_sandbox.settings import SandboxSettings
from web.shop.settings import ShopSettings

PROCESSES: dict[str, type[ServerSettings]] = {
    "auth-verify": AuthVerifySettings,
    "temp-image": TempImageSettings,
    "media-store": MediaStoreSettings,
    "checkout": CheckoutSettings,
    "planter-orders": PlanterOrdersSettings,
    "gateway": GatewaySettings,
    "stripe-sandbox": SandboxSettings,
}


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the stack: its name and its settings, read and found in order."""

    name: str
    settings: ServerSettings


def load_processes() -> tuple[Process, ...]:
    """Read the settings of every process that is to run; end with status 2 and a line for each that is wrong."""
    processes, problems = read_processes()
    if problems:
        refuse_start(problems)
    return processes


def read_processes() -> tuple[tuple[Process, ...], list[str]]:
    """Read the settings of every process that is to run; return those in order, and all that is wrong in a line each.

    The Stripe sandbox is one of them where checkout's `STRIPE_API_BASE` is its own address.
    """
    read = {name: read_settings(model) for name, model in PROCESSES.items() if name != "stripe-sandbox"}
    checkout = read["checkout"][0]
    if isinstance(checkout, CheckoutSettings) and is_sandbox(checkout):
        read["stripe-sandbox"] = read_settings(SandboxSettings)
    processes = tuple(Process(name, settings) for name, (settings, _) in read.items() if settings is not None)
    lines = [line for _, found in read.values() for line in found]
    return processes, list(dict.fromkeys([*lines, *_shared_ports(processes)]))


def is_sandbox(checkout: CheckoutSettings) -> bool:
    """Tell whether `STRIPE_API_BASE` is the address of the Stripe sandbox on this machine."""
    base = urlsplit(checkout.stripe_api_base)
    return base.hostname in LOOPBACK_HOSTS and base.port == checkout.stripe_sandbox_port


def _shared_ports(processes: Iterable[Process]) -> Iterator[str]:
    """Name the processes that want the same port."""
    seen: dict[int, str] = {}
    for process in processes:
        other = seen.setdefault(process.settings.port, process.name)
        if other != process.name:
            yield f"{process.name} and {other} are both set to port {process.settings.port}."


def check_ports(processes: Iterable[Process]) -> None:
    """End with status 1 and one sentence where a port is taken."""
    for process in processes:
        for sock in open_sockets(process.settings.host, process.settings.port, shared=False):
            sock.close()


def shop_runs(processes: Iterable[Process]) -> bool:
    """Tell whether the demo shop is to run; where it is wanted and its port is not free, say so and go on without."""
    shop = load_settings(ShopSettings)
    if not shop.is_wanted:
        return False
    own = Process("the demo shop", shop)
    try:
        sys.stderr.writelines(taken := [f"keepsake: {line}\n" for line in _shared_ports((*processes, own))])
        check_ports([own])
    except SystemExit:
        taken = [""]
    if taken:
        sys.stderr.write("keepsake: the demo shop does not run; everything else does.\n")
        return False
    sys.stdout.write(f"The demo shop is at {shop.frontend_url}.\n")
    return True
