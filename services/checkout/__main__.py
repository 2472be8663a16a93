"""`python -m services.checkout` runs the service.

Its commands list payments that do not match their images, and decide about payments in review.
"""

from __future__ import annotations

import argparse
import getpass

from services.checkout.app import NAME, build_app, reconcile, resolve
from services.checkout.model.payments import Action
from services.checkout.settings import CheckoutSettings
from shared.app.server import run
from shared.log import configure_logging
from shared.settings import load_settings
from shared.settings.command import run_command

DOWN = 3  # the status where Stripe, the database or the storage does not answer


def _reconcile(settings: CheckoutSettings) -> None:
    work = reconcile(settings, lambda finding: print(finding, flush=True))  # noqa: T201 - its output
    count = run_command(work, down_status=DOWN)
    print(f"{count} found")  # noqa: T201 - its output
    raise SystemExit(1 if count else 0)


def _resolve(settings: CheckoutSettings, given: argparse.Namespace) -> None:
    action = Action(given.action)
    work = resolve(settings, given.session_id, action, note=given.note, by=f"command:{getpass.getuser()}")
    run_command(work, down_status=DOWN)
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
    if given.command:
        configure_logging(NAME)
    if given.command == "reconcile":
        _reconcile(settings)
    elif given.command == "resolve":
        _resolve(settings, given)
    else:
        run(NAME, settings, build_app)


if __name__ == "__main__":
    main()
