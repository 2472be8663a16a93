"""Writing the first `.env`: the example with fresh random secrets in the places that are left empty for them."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

GENERATED: dict[str, Callable[[], str]] = {
    "JWT_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "INTERNAL_SECRET": lambda: secrets.token_urlsafe(48),
    "STRIPE_WEBHOOK_SECRET": lambda: f"whsec_{secrets.token_hex(24)}",
}


def write_env(example: Path, target: Path) -> bool:
    """Create `target`, readable by its owner alone, unless it exists; tell whether it was created."""
    text = example.read_text()
    for name, generate in GENERATED.items():
        text = re.sub(rf"^{name}=$", f"{name}={generate()}", text, flags=re.MULTILINE)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return True
