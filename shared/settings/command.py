"""How a command of a service begins and ends."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.errors import KeepsakeError, UnusableDatabase
from shared.settings.reading import refuse_start

ResultT = TypeVar("ResultT")


def require_no_arguments(module: str) -> None:
    """End the process with status 2, or 0 for `--help`, where it was given arguments."""
    words = "Runs until SIGTERM or SIGINT. The settings come from the environment and `.env`."
    argparse.ArgumentParser(prog=f"python -m {module}", description=words).parse_args()


def run_command(work: Coroutine[Any, Any, ResultT], *, down_status: int = 1) -> ResultT:
    """Do what a command asks for, and return what came of it.

    Ends the process with 2 where the tables cannot be used, `down_status` where something that it needs is down, 1 where it
    is refused.
    """
    try:
        return asyncio.run(work)
    except UnusableDatabase as error:
        refuse_start([error.detail])
    except KeepsakeError as error:
        sys.stderr.write(f"keepsake: {error.detail}\n")
        raise SystemExit(down_status if error.status >= 500 else 1) from None
