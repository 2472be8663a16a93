"""`python -m services.planter_orders` runs the service."""

from __future__ import annotations

from services.planter_orders.app import NAME, build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.server import run
from shared.settings import load_settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(PlanterOrdersSettings)
    run(NAME, settings, lambda: build_app(settings))


if __name__ == "__main__":
    main()
