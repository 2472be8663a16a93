"""What `python -m services.media_store` does: serve, or with a word after it one piece of its maintenance."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from services.media_store.app import NAME, build_app, open_store
from services.media_store.settings import MediaStoreSettings
from shared.app.server import run
from shared.log import configure_logging
from shared.settings import load_settings
from shared.settings.command import run_command

GRACE_S = 3600


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.media_store", description="Images kept for good.")
    commands = parser.add_subparsers(dest="command")
    reconcile = commands.add_parser("reconcile", help="list rows without objects and objects without rows")
    reconcile.add_argument("--apply", action="store_true", help="remove what is listed")
    reconcile.add_argument(
        "--grace-s", type=int, default=GRACE_S, metavar="SECONDS", help="leave alone what is younger (%(default)s)"
    )
    commands.add_parser("sweep", help="clear away what has had its time")
    return parser.parse_args()


async def _reconcile(settings: MediaStoreSettings, *, grace: timedelta, apply: bool) -> None:
    verb, count = ("removed" if apply else "would remove"), 0
    async with open_store(settings) as store:
        async for finding in store.maintenance.reconcile(grace=grace, apply=apply):
            sys.stdout.write(f"{verb} {finding.what}: {finding.key}\n")
            count += 1
    sys.stdout.write(f"{verb} {count} in all\n")


async def _sweep(settings: MediaStoreSettings) -> None:
    async with open_store(settings) as store:
        swept = await store.maintenance.sweep(whole=True)
    sys.stdout.write(
        f"cleared {swept.spool_files} spool files, finished {swept.deletions} deletions, "
        f"deleted {swept.stored} expired images and {swept.temporary} temporary uploads\n"
    )


def main() -> None:
    arguments, settings = _arguments(), load_settings(MediaStoreSettings)
    if arguments.command is None:
        run(NAME, settings, build_app)
        return
    configure_logging(NAME)
    if arguments.command == "sweep":
        run_command(_sweep(settings))
    else:
        run_command(_reconcile(settings, grace=timedelta(seconds=arguments.grace_s), apply=arguments.apply))
