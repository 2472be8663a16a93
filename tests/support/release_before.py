"""The release before this one, taken from the history of the repository, and its processes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.stack import ROOT, Stack

COMMIT = "2602f7e2d57cb3a441507f1fff55d3312e7b3710"
FIXTURE = ROOT / "tests/system/upgrade/fixture"
# What its data was written with, and is read with. One-time images are kept for ten years, since a fixture grows old.
SETTINGS = {
    "JWT_SECRET_KEY": "signs-what-the-fixtures-users-carry-0123456789",
    "INTERNAL_SECRET": "seals-what-the-fixtures-services-keep-0123456789",
    "STRIPE_WEBHOOK_SECRET": "whsec_ZmlfdHVyZXMtb2YtdGhlLXJlbGVhc2UtYmVmb3Jl",
    "TEMP_IMAGE_TTL_S": str(10 * 365 * 24 * 3600),
}
RECORDER = Path(__file__).with_name("recorder")


def unpack(folder: Path) -> Path:
    """Unpack that release's files into the folder, and return it; a shallow clone does not have them."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=archive)
    return folder


class StackBefore(Stack):
    """Processes of that release, run with today's libraries; `statements` is where their SQL is written."""

    def __init__(
        self, folder: Path, code: Path, settings: Mapping[str, str] | None = None, statements: Path | None = None
    ) -> None:
        super().__init__(folder, settings)
        self._code = code
        self._statements = statements

    def environment(self) -> dict[str, str]:
        """Return the environment of every process."""
        found = {**super().environment(), "PYTHONPATH": str(self._code)}
        if self._statements is not None:
            found |= {"PYTHONPATH": f"{RECORDER}:{self._code}", "RECORD_STATEMENTS": str(self._statements)}
        return found

    def command(self, name: str) -> list[str]:
        """Return the command of a process."""
        return [word.replace("stripe_sandbox", "services.checkout.sandbox") for word in super().command(name)]
