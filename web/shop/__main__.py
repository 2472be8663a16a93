"""`python -m web.shop`: serve the demo shop at `FRONTEND_URL` until it is told to stop."""

from __future__ import annotations

from shared.app.server import run
from shared.settings import load_settings
from shared.settings.command import require_no_arguments
from web.shop.app import create_app
from web.shop.settings import ShopSettings

if __name__ == "__main__":
    require_no_arguments("web.shop")
    run("demo-shop", load_settings(ShopSettings), create_app)
