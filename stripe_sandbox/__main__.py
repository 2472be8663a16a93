"""`python -m stripe_sandbox`: runs the sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from shared.app.server import run
from shared.settings import load_settings
from shared.settings.command import require_no_arguments
from stripe_sandbox.app import create_app
from stripe_sandbox.settings import SandboxSettings

if __name__ == "__main__":
    require_no_arguments("stripe_sandbox")
    # One process: what is under way, it remembers in memory.
    settings = load_settings(SandboxSettings).model_copy(update={"workers": 1})
    sys.stderr.write(
        f"Stripe sandbox: no real money moves. Pay at http://{settings.host}:{settings.port}/ (development only).\n"
    )
    sys.stderr.flush()
    run("stripe-sandbox", settings, create_app)
