"""`python -m services.planter_orders` runs the service until SIGTERM or SIGINT."""

from __future__ import annotations

from services.planter_orders.app import NAME, build_app
from services.planter_orders.settings import PlanterOrdersSettings
from shared.app.server import run
from shared.settings import load_settings
from shared.settings.command import require_no_arguments

if __name__ == "__main__":
    require_no_arguments("services.planter_orders")
    run(NAME, load_settings(PlanterOrdersSettings), build_app)
