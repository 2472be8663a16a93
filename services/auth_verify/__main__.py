"""`python -m services.auth_verify`: runs the service, or with arguments one of its commands."""

from __future__ import annotations

import sys

from services.auth_verify.app import NAME, build_app
from services.auth_verify.commands import run_command
from services.auth_verify.settings import AuthVerifySettings
from shared.app.server import run
from shared.settings import load_settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    if arguments := sys.argv[1:]:
        sys.exit(run_command(arguments))
    settings = load_settings(AuthVerifySettings)
    run(NAME, settings, lambda: build_app(settings))


if __name__ == "__main__":
    main()
