"""The fixtures of the outside systems; each starts its server when the first test asks for it."""

from __future__ import annotations

pytest_plugins = [
    "tests.plugins.postgres",
    "tests.plugins.redis",
    "tests.plugins.s3",
    "tests.plugins.stack",
    "tests.plugins.serving",
    "tests.plugins.stripe_sandbox",
    "tests.plugins.tally",
]
