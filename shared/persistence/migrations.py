"""`python -m shared.persistence.migrations <service>…` brings tables up to date before new processes start."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import create_model

from shared.errors import KeepsakeError
from shared.persistence.engine import migrate, open_database
from shared.settings import DatabaseSettings, DatabaseUrl, ServerSettings, load_settings, per_service

SERVICES = Path(__file__).resolve().parents[2] / "services"
WITH_TABLES = sorted(path.parent.name.replace("_", "-") for path in SERVICES.glob("*/migrations"))


class MigrationSettings(ServerSettings, DatabaseSettings):
    """Where the tables are."""


def _settings_of(service: str) -> MigrationSettings:
    url = per_service("DATABASE_URL", service.upper().replace("-", "_"), "")
    return load_settings(create_model("MigrationSettings", __base__=MigrationSettings, database_url=(DatabaseUrl, url)))


async def _migrate(services: Sequence[str]) -> None:
    for service in services:
        settings = _settings_of(service)
        async with open_database(settings.database_url, settings.data_dir, service) as database:
            await migrate(database, SERVICES / service.replace("-", "_") / "migrations", service, settings.data_dir)
        sys.stdout.write(f"The tables of {service} are up to date.\n")


def main(arguments: Sequence[str]) -> int:
    """Migrate the services named, and return the exit status: 1 with one sentence where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m shared.persistence.migrations")
    parser.add_argument("services", nargs="+", choices=WITH_TABLES, metavar="service")
    try:
        asyncio.run(_migrate(parser.parse_args(arguments).services))
    except KeepsakeError as error:
        sys.stderr.write(f"keepsake: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
