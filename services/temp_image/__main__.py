"""`python -m services.temp_image`: one temp-image service."""

from __future__ import annotations

from services.temp_image.app import build_app
from services.temp_image.settings import TempImageSettings
from shared.app.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    run("temp-image", load_settings(TempImageSettings), build_app)
