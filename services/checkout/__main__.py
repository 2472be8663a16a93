"""`python -m services.checkout` runs the service; with `reconcile` it lists what does not fit together."""

from __future__ import annotations

import argparse
import asyncio
import sys

from services.checkout.adapters.toml import CatalogueInvalid, read_catalogue
from services.checkout.app import NAME, build_app, reconcile
from services.checkout.settings import CheckoutSettings
from shared.app.server import run
from shared.errors import KeepsakeError
from shared.log import configure_logging
from shared.settings import load_settings


def _serve(settings: CheckoutSettings) -> None:
    try:
        read_catalogue(settings.catalogue_file)
    except CatalogueInvalid as error:
        sys.stderr.write(f"keepsake: CATALOGUE_FILE: {error}.\n")
        raise SystemExit(2) from None
    run(NAME, settings, lambda: build_app(settings))


def _reconcile(settings: CheckoutSettings) -> None:
    configure_logging(NAME)
    try:
        count = asyncio.run(reconcile(settings, lambda finding: print(finding, flush=True)))  # noqa: T201 - its output
    except KeepsakeError as error:
        sys.stderr.write(f"keepsake: {error.sentence}\n")
        raise SystemExit(3) from None
    print(f"{count} found")  # noqa: T201 - its output
    raise SystemExit(1 if count else 0)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m services.checkout")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser(
        "reconcile", help="list paid sessions without image, and images without payment (status 1: some)"
    )
    command = parser.parse_args().command
    settings = load_settings(CheckoutSettings)
    (_reconcile if command == "reconcile" else _serve)(settings)


if __name__ == "__main__":
    main()
