from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import MODULES, ROOT

PRODUCTION = {
    "ENVIRONMENT": "production",
    "PUBLIC_URL": "https://shop.example",
    "FRONTEND_URL": "https://shop.example",
    "JWT_SECRET_KEY": "j0" * 20,
    "INTERNAL_SECRET": "i1" * 20,
    "STRIPE_SECRET_KEY": "sk_live_x",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_x",
    "STRIPE_WEBHOOK_SECRET": "whsec_x",
}
EVERY_PROCESS = [name for name in MODULES if name != "stripe-sandbox"]


def start(name: str, folder: Path, **changes: str) -> tuple[int, str]:
    """Start a process that is to end at once; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", MODULES[name]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **PRODUCTION, **changes},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("JWT_SECRET_KEY", ""),
        ("JWT_SECRET_KEY", "short"),
        ("INTERNAL_SECRET", "x" * 31),
        ("INTERNAL_SECRET", PRODUCTION["JWT_SECRET_KEY"]),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://shop.example,*"),
        ("PUBLIC_URL", "http://shop.example"),
    ],
)
def test_no_process_starts_with_what_is_not_safe(tmp_path: Path, setting: str, value: str) -> None:
    code, said = start("gateway", tmp_path, **{setting: value})
    assert code == 2
    assert said.startswith("keepsake: ")
    assert setting in said
    assert said.count("\n") == 1
    assert value not in said or len(value) < 6


@pytest.mark.parametrize("name", EVERY_PROCESS)
def test_every_process_looks_at_it(tmp_path: Path, name: str) -> None:
    code, said = start(name, tmp_path, INTERNAL_SECRET="short")
    assert (code, said.count("\n")) == (2, 1)
    assert "INTERNAL_SECRET" in said


@pytest.mark.parametrize("setting", ["STRIPE_SECRET_KEY", "STRIPE_API_BASE"])
def test_checkout_does_not_sell_for_pretend_money(tmp_path: Path, setting: str) -> None:
    value = {"STRIPE_SECRET_KEY": "", "STRIPE_API_BASE": "http://127.0.0.1:8009"}[setting]
    code, said = start("checkout", tmp_path, **{setting: value})
    assert code == 2
    assert setting in said


def test_without_aiohttps_compiled_parser_nothing_starts(tmp_path: Path) -> None:
    code, said = start("temp-image", tmp_path, AIOHTTP_NO_EXTENSIONS="1")
    assert code == 2
    assert "parser" in said
