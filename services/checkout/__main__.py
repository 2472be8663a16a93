"""`python -m services.checkout` runs the service; with `reconcile` it lists what does not fit together."""

from __future__ import annotations

import sys

from services.checkout.adapters.toml import CatalogueInvalid, read_catalogue
from services.checkout.app import NAME, build_app
from services.checkout.settings import CheckoutSettings
from shared.server import run
from shared.settings import load_settings


def main() -> None:
    """Read the settings and the catalogue, or end with status 2 and one sentence; then serve."""
    settings = load_settings(CheckoutSettings)
    try:
        read_catalogue(settings.catalogue_file)
    except CatalogueInvalid as error:
        sys.stderr.write(f"keepsake: CATALOGUE_FILE: {error}.\n")
        raise SystemExit(2) from None
    run(NAME, settings, lambda: build_app(settings))


if __name__ == "__main__":
    main()
