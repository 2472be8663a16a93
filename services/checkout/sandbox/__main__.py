"""`python -m services.checkout.sandbox`: runs the sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from aiohttp import web

from services.checkout.sandbox.app import create_app
from services.checkout.sandbox.settings import SandboxSettings
from shared.log import configure_logging
from shared.server import open_socket
from shared.settings import load_settings


def main() -> None:
    """Read the settings, say what this is, and serve."""
    settings = load_settings(SandboxSettings)
    configure_logging("stripe-sandbox")
    sys.stderr.write(
        f"Stripe sandbox: no real money moves. Pay at http://{settings.host}:{settings.port}/ (development only).\n"
    )
    sys.stderr.flush()
    sock = open_socket(settings.host, settings.port, shared=False)
    web.run_app(create_app(settings), sock=sock, access_log=None, print=None)


if __name__ == "__main__":
    main()
