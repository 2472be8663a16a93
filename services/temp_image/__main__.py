"""`python -m services.temp_image`: one temp-image service."""

from __future__ import annotations

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from shared.app.server import run
from shared.settings import load_settings
from shared.settings.command import require_no_arguments

if __name__ == "__main__":
    require_no_arguments("services.temp_image")
    run("temp-image", load_settings(TempImageSettings), build_app)
