"""`python -m gateway`: serve the gateway until it is told to stop."""

from __future__ import annotations

from gateway.app import create_app
from gateway.settings import GatewaySettings
from shared.app.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    run("gateway", load_settings(GatewaySettings), create_app)
