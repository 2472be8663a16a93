"""ministack, the S3 that checks signatures and POST policies, in a virtual environment of its own.

Beside aiobotocore pip would choose its version 1.4, which checks neither.
`python -m tests.support.ministack` installs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".ministack"
REQUIREMENTS = Path(__file__).with_name("ministack.txt")


def ensure_ministack() -> Path:
    """Return the Python that has ministack, installing it first where it is missing or another version.

    Several processes may ask at once, and one that was killed half-way leaves nothing that counts as installed.
    """
    HOME.mkdir(exist_ok=True)
    python, stamp = HOME / "bin" / "python", HOME / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    lock = os.open(HOME, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if stamp.is_file() and stamp.read_text() == wanted and python.exists():
            return python
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == wanted and python.exists()):
            _run([sys.executable, "-m", "venv", "--clear", HOME])
            _run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", REQUIREMENTS])
            partial = stamp.with_suffix(".partial")
            partial.write_text(wanted)
            partial.replace(stamp)
        return python
    finally:
        os.close(lock)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"ministack could not be installed: {done.stdout[-2000:]}")


if __name__ == "__main__":
    ensure_ministack()
