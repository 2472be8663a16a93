"""The fixtures of the outside systems; each starts its server when the first test asks for it."""

from __future__ import annotations

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.redis",
    "tests.support.s3",
    "tests.support.stack",
    "tests.support.serving",
    "tests.support.stripe_sandbox",
]
