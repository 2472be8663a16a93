"""The fixtures of the outside systems, each started when the first test asks for it, and which tests are the long ones."""

from __future__ import annotations

import gc

import hypothesis
import pytest

gc.disable()  # until all tests are there

# No example has to be quick: a busy machine would make it a failure.
hypothesis.settings.register_profile("keepsake", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("keepsake")

pytest_plugins = [
    "tests.support.decoders",
    "tests.support.postgres",
    "tests.support.migrations",
    "tests.support.redis",
    "tests.support.s3",
    "tests.support.stack",
    "tests.support.serving",
    "tests.support.stripe_sandbox",
]

# `make test` leaves these out: they need a server beside Python. What starts processes of ours, or takes its time, is marked
# `long` where it stands.
SERVERS = frozenset({"redis_server_url", "postgres_server_url", "s3_server"})
BACKENDS = frozenset({"redis", "postgres", "s3", "r2", "servers"})
LONG_SUITES = ("tests/system/", "tests/browser/")

# They kill, cut and starve processes by the clock, or have PostgreSQL answer many at once within seconds, so a busy machine can
# make one fail that is in order. Each gets two more tries, is listed as RERUN, and is counted at the end. All others have one.
NEED_LUCK = (
    "tests/browser/",  # each waits for a real Chromium, which shares the processors with the whole stack
    "tests/system/attacks/test_races.py",
    "tests/system/attacks/test_slow_clients.py",
    "tests/system/client/test_connections.py",
    "tests/system/faults/",  # each kills, stops or slows down a process or what it depends on, in the middle of a load
    "tests/system/proxies/",  # each puts nginx in front of the whole stack, and the time limits of both run at once
    "tests/system/replicas/",  # each asks two stacks on two cores the same thing at the same moment
    "tests/unit/services/checkout/test_crashes.py",
    "tests/unit/services/checkout/test_decisions.py",
    "tests/unit/services/checkout/test_killed.py",
    "tests/unit/services/checkout/test_sessions.py::test_of_fifty_at_once_all_get_one_session[postgres]",
    "tests/unit/services/media_store/test_cancelled.py",
    "tests/unit/services/media_store/test_faults.py",
    "tests/unit/services/planter_orders/test_photos.py::TestRequests::test_from_shipped_on_nobody_can_ask[servers]",
    "tests/unit/services/planter_orders/test_processes.py",
    "tests/unit/services/temp_image/test_faults.py",
    "tests/unit/services/temp_image/test_process.py",
    "tests/unit/services/temp_image/test_upload_keys.py::test_after_the_images_hour_the_key_is_free_and_nothing_is_left",
    "tests/unit/shared/images/test_workers.py",
    "tests/unit/shared/objects/test_bucket_faults.py",
    "tests/unit/shared/test_engine.py::TestInserts::test_rows_and_transactions_at_once_all_get_their_turn[postgres]",
)


def _is_long(item: pytest.Function) -> bool:
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        item.get_closest_marker("long") is not None
        or item.nodeid.startswith(LONG_SUITES)
        or not SERVERS.isdisjoint(item.fixturenames)
        or any(not BACKENDS.isdisjoint(value.split("-")) for value in params if isinstance(value, str))
    )


def pytest_collection_finish() -> None:
    """Let the collector look through what tests make, and not each time through all that was loaded: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses among them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _is_long(item):
            item.add_marker("long")
        if item.nodeid.startswith(NEED_LUCK):
            item.add_marker(pytest.mark.flaky(reruns=2))
