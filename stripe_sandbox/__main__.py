"""`python -m stripe_sandbox`: runs the sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from shared.app.server import run
from shared.settings import load_settings
from stripe_sandbox.app import create_app
from stripe_sandbox.settings import SandboxSettings


def main() -> None:
    """Read the settings, say what this is, and serve."""
    settings = load_settings(SandboxSettings)
    sys.stderr.write(
        f"Stripe sandbox: no real money moves. Pay at http://{settings.host}:{settings.port}/ (development only).\n"
    )
    sys.stderr.flush()
    one = settings.model_copy(update={"workers": 1})  # what is under way, it remembers in memory
    run("stripe-sandbox", one, lambda: create_app(one))


if __name__ == "__main__":
    main()
