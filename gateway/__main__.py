"""`python -m gateway`: serve the gateway until it is told to stop."""

from __future__ import annotations

from gateway.app import create_app
from gateway.settings import GatewaySettings
from shared.app.server import run
from shared.settings import load_settings
from shared.settings.command import require_no_arguments

if __name__ == "__main__":
    require_no_arguments("gateway")
    run("gateway", load_settings(GatewaySettings), create_app)
