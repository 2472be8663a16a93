"""`python -m services.auth_verify`: runs the service until SIGTERM or SIGINT, or with arguments one of its commands."""

from __future__ import annotations

import sys

from services.auth_verify.app import NAME, build_app
from services.auth_verify.commands import main
from services.auth_verify.settings import AuthVerifySettings
from shared.app.server import run
from shared.settings import load_settings

if __name__ == "__main__":
    if arguments := sys.argv[1:]:
        sys.exit(main(arguments))
    run(NAME, load_settings(AuthVerifySettings), build_app)
