"""`python -m gateway`: serve the gateway until it is told to stop."""

from __future__ import annotations

from gateway.app import create_app
from gateway.settings import GatewaySettings
from shared.app.server import run
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(GatewaySettings)
    run("gateway", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
