"""What can be known before anything starts: that every process's settings are in order, and its port free."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.settings import GatewaySettings
from services.auth_verify.settings import Settings as AuthVerifySettings
from services.checkout.settings import CheckoutSettings
from services.media_store.settings import MediaStoreSettings
from services.planter_orders.settings import PlanterOrdersSettings
from services.temp_image.settings import TempImageSettings
from shared.app.server import open_socket
from shared.settings import LOOPBACK_HOSTS, ServerSettings, load_settings
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
    """Read the settings of every process that is to run; end with status 2 and one sentence at the first that is wrong.

    The Stripe sandbox is one of them where checkout's `STRIPE_API_BASE` is its own address.
    """
    checkout = load_settings(CheckoutSettings)
    base = urlsplit(checkout.stripe_api_base)
    sandbox = base.hostname in LOOPBACK_HOSTS and base.port == checkout.stripe_sandbox_port
    return tuple(
        Process(name, load_settings(model)) for name, model in PROCESSES.items() if name != "stripe-sandbox" or sandbox
    )


def check_ports(processes: Iterable[Process]) -> None:
    """End with status 1 and one sentence where a port is taken, or two processes want the same."""
    seen: dict[int, str] = {}
    for process in processes:
        port = process.settings.port
        if port in seen:
            sys.stderr.write(f"keepsake: {process.name} and {seen[port]} are both set to port {port}.\n")
            raise SystemExit(1)
        seen[port] = process.name
        open_socket(process.settings.host, port, shared=False).close()


def shop_runs(processes: Iterable[Process]) -> bool:
    """Tell whether the demo shop is to run; where it is wanted and its port is not free, say so and go on without."""
    shop = load_settings(ShopSettings)
    if not shop.is_wanted:
        return False
    try:
        check_ports((*processes, Process("the demo shop", shop)))
    except SystemExit:
        sys.stderr.write("keepsake: the demo shop does not run; everything else does.\n")
        return False
    return True
