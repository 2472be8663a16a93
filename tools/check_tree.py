"""`make check`: what holds for the tree as a whole.

A file over 400 lines becomes a package, nothing unfinished or misplaced is kept, log events are snake_case, and the files that
pages and the configuration name are there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 400
CODE = ("gateway/", "services/", "shared/", "stack/", "stripe_sandbox/")
DRAWERS = {"utils.py", "helpers.py", "common.py", "manager.py", "base.py", ".env"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT = re.compile(r"[a-z]+(_[a-z0-9]+)*")
NAMED = re.compile(r"`([a-z_]+/[\w./-]+\.(?:py|js|mjs|yml|yaml|json|conf))(?:::\w+)?`")
CONFIGURED = re.compile(r"(?<![\w./-])([a-z_]+/[\w./-]+\.(?:py|js|mjs|yml|yaml|json|conf|toml))\b")
WALK = " → "  # a line of `python -m tools.walk`, which is made and not written


def _logged(text: str) -> Iterator[str]:
    """Give what each call of the log is said to be about: the text between quotes, or the code where it is none."""
    for call in ast.walk(ast.parse(text)):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in LEVELS
            and ast.unparse(call.func.value) == "get_logger()"
        ):
            event = call.args[0]
            for branch in (event.body, event.orelse) if isinstance(event, ast.IfExp) else (event,):
                yield str(branch.value) if isinstance(branch, ast.Constant) else ast.unparse(branch)


def main() -> int:
    """Print each finding, and return 1 where there is any."""
    listing = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
    found = []
    for name in listing.stdout.splitlines():
        path = Path(name)
        if path.name in DRAWERS or path.suffix in {".db", ".sqlite", ".sqlite3"}:
            found.append(f"{name}: does not belong in the repository")
        if path.suffix == ".md" and path.exists():
            lines = [line for line in path.read_text().splitlines() if WALK not in line]
            named = {file for file in NAMED.findall("\n".join(lines)) if Path(file.split("/")[0]).is_dir()}
            found += [f"{name}: there is no {file}" for file in sorted(named) if not Path(file).exists()]
        if path.suffix in {".yml", ".yaml"} and path.parts[0] in {name, ".github"} and path.exists():
            named = {file for file in CONFIGURED.findall(path.read_text()) if Path(file.split("/")[0]).is_dir()}
            found += [f"{name}: there is no {file}" for file in sorted(named) if not Path(file).exists()]
        if name.startswith(CODE) and path.suffix == ".py" and path.exists():
            text = path.read_text()
            if (count := text.count("\n")) > MAX_LINES:
                found.append(f"{name}: {count} lines, over {MAX_LINES}")
            found += [f"{name}: {match[0]}" for match in UNFINISHED.finditer(text)]
            found += [
                f"{name}: the log event {event!r} is not snake_case"
                for event in _logged(text)
                if not EVENT.fullmatch(event)
            ]
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
