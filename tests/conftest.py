"""The fixtures of the outside systems, each started when the first test asks for it, and which tests are the long ones."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.support.decoders",
    "tests.support.migrations",
    "tests.support.postgres",
    "tests.support.redis",
    "tests.support.s3",
    "tests.support.stack",
    "tests.support.serving",
    "tests.support.stripe_sandbox",
]

# `make test` leaves these out: they need a server beside Python, or they take their time.
SERVERS = frozenset({"redis_server_url", "postgres_server_url", "s3_server"})
BACKENDS = frozenset({"redis", "postgres", "s3", "r2", "servers"})
LONG_SUITES = ("tests/system/", "tests/browser/")

# They kill, cut and starve processes by the clock, or share real servers with other tests, so a busy machine can make one fail
# that is in order: each gets two more tries, is listed as RERUN, and is counted at the end. The others have one try.
NEED_LUCK = (
    "tests/system/",
    "tests/unit/services/checkout/",
    "tests/unit/services/media_store/test_cancelled.py",
    "tests/unit/services/media_store/test_faults.py",
    "tests/unit/services/planter_orders/test_processes.py",
    "tests/unit/services/temp_image/test_faults.py",
    "tests/unit/services/temp_image/test_process.py",
    "tests/unit/shared/images/test_workers.py",
    "tests/unit/stack/",
    "tests/unit/stripe_sandbox/",
)


def _is_long(item: pytest.Function) -> bool:
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        item.nodeid.startswith(LONG_SUITES)
        or not SERVERS.isdisjoint(item.fixturenames)
        or any(not BACKENDS.isdisjoint(value.split("-")) for value in params if isinstance(value, str))
    )


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses among them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_long = isinstance(item, pytest.Function) and _is_long(item)
        if is_long:
            item.add_marker("long")
        if is_long or item.nodeid.startswith(NEED_LUCK):
            item.add_marker(pytest.mark.flaky(reruns=2))
