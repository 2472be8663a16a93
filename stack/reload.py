"""`make dev`: whenever the code changes, end the other processes of this supervisor, which starts them again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WATCHED = ("gateway", "services", "shared", "stripe_sandbox", "web")
PAUSE_S = 0.5


def newest_change(root: Path) -> float:
    """Return when a watched Python file was changed last, in seconds since the epoch; 0 where there is none."""
    files = (file for folder in WATCHED for file in (root / folder).rglob("*.py"))
    return max((file.stat().st_mtime for file in files), default=0.0)


def _siblings() -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(os.getppid())], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return [int(pid) for pid in listed.stdout.split() if int(pid) != os.getpid()]


def main() -> None:
    """Look twice a second, until the supervisor ends this process too."""
    seen = newest_change(ROOT)
    while True:
        time.sleep(PAUSE_S)
        if (changed := newest_change(ROOT)) > seen:
            seen = changed
            for pid in _siblings():
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
