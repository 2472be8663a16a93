"""`python -m services.checkout` runs the service.

Its commands list payments that do not match their images, and decide about payments in review.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Coroutine
from typing import TypeVar

from services.checkout.app import NAME, build_app, reconcile, resolve
from services.checkout.model.payments import Action
from services.checkout.settings import CheckoutSettings
from shared.app.server import run
from shared.errors import KeepsakeError, UnusableDatabase
from shared.log import configure_logging
from shared.settings import load_settings, refuse_start

ResultT = TypeVar("ResultT")


def _run(work: Coroutine[None, None, ResultT]) -> ResultT:
    """Do what a command asks for.

    Ends with 3 where something that it needs is down, 2 where the tables cannot be used, 1 where it is refused.
    """
    configure_logging(NAME)
    try:
        return asyncio.run(work)
    except UnusableDatabase as error:
        refuse_start([error.detail])
    except KeepsakeError as error:
        sys.stderr.write(f"keepsake: {error.detail}\n")
        raise SystemExit(3 if error.status >= 500 else 1) from None


def _reconcile(settings: CheckoutSettings) -> None:
    count = _run(reconcile(settings, lambda finding: print(finding, flush=True)))  # noqa: T201 - its output
    print(f"{count} found")  # noqa: T201 - its output
    raise SystemExit(1 if count else 0)


def _resolve(settings: CheckoutSettings, given: argparse.Namespace) -> None:
    action = Action(given.action)
    _run(resolve(settings, given.session_id, action, note=given.note, by=f"command:{getpass.getuser()}"))
    print("fulfilled" if action is Action.FULFIL else "given back")  # noqa: T201 - its output


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.checkout")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser(
        "reconcile", help="list paid sessions without image, and images without payment (status 1: some)"
    )
    review = commands.add_parser("resolve", help="decide about a payment that needs review (status 1: refused)")
    review.add_argument("session_id")
    review.add_argument("action", choices=[str(action) for action in Action])
    review.add_argument("--note", default="", help="why, for whoever looks at it later")
    given = parser.parse_args()
    settings = load_settings(CheckoutSettings)
    if given.command == "reconcile":
        _reconcile(settings)
    elif given.command == "resolve":
        _resolve(settings, given)
    else:
        run(NAME, settings, build_app)


if __name__ == "__main__":
    main()
