"""Waits until every service is healthy through the gateway, and says so once, with the time it took."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE_S = 120.0


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own gateway's http address
            return bool(json.load(answer)["status"] == "healthy")
    except (OSError, ValueError, urllib.error.URLError):
        return False


def main() -> None:
    """Ask the gateway's /health until every service is healthy, then say so; a service that stays ill says why in its log."""
    gateway = os.environ["KEEPSAKE_GATEWAY"]
    started = float(os.environ["KEEPSAKE_STARTED"])
    while time.time() - started < PATIENCE_S:
        if _healthy(f"{gateway}/health"):
            sys.stdout.write(f"Keepsake is ready at {gateway} after {time.time() - started:.1f} s. Ctrl-C stops it.\n")
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
