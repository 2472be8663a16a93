from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from shared.concurrency import inline_io as module
from shared.concurrency.inline_io import LONGEST_REST_S, PROMPT_S, REST_PER_STALL, run_inline

HERE = threading.get_ident  # in a test: the event loop's thread


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the disk's promptness is measured with; it goes on by hand, from a time of no stall.

    `waits` and `worked_s` are what the system says that the thread did meanwhile.
    """
    clock = SimpleNamespace(seconds=1000.0, waits=0, worked_s=0.0)

    def getrusage(_who: int) -> SimpleNamespace:
        return SimpleNamespace(ru_nvcsw=clock.waits, ru_utime=clock.worked_s, ru_stime=0.0)

    monkeypatch.setattr(module, "resource", SimpleNamespace(getrusage=getrusage))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    monkeypatch.setattr(module._Disk, "threads_until", 0.0)
    return clock


@pytest.fixture
def work(clock: SimpleNamespace) -> Callable[[float], Callable[[], int]]:
    """Make work that takes so many seconds, and tells which thread did it."""

    def work(takes_s: float = 0.0) -> Callable[[], int]:
        def do() -> int:
            clock.seconds += takes_s
            clock.waits += 1
            return HERE()

        return do

    return work


async def test_what_is_prompt_is_done_in_place(clock, work):
    for _ in range(100):
        assert await run_inline(work(PROMPT_S / 2)) == HERE()


@pytest.mark.parametrize("stall_s", [PROMPT_S * 2, 60.0])
async def test_after_one_stall_all_goes_to_threads_for_a_hundred_times_as_long_or_five_seconds(clock, work, stall_s):
    assert await run_inline(work(stall_s)) == HERE()
    assert await run_inline(work()) != HERE()
    clock.seconds += min(stall_s * REST_PER_STALL, LONGEST_REST_S) - 0.1
    assert await run_inline(work()) != HERE()
    clock.seconds += 0.2
    assert await run_inline(work()) == HERE()


async def test_a_core_that_others_had_meanwhile_is_no_slow_disk(clock, work):
    def waits_for_its_turn() -> None:
        clock.seconds += PROMPT_S * 2

    await run_inline(waits_for_its_turn)
    assert await run_inline(work()) == HERE()


async def test_work_that_takes_the_core_for_long_is_a_stall_too(clock, work):
    def works() -> None:
        clock.seconds += PROMPT_S * 2
        clock.worked_s += PROMPT_S * 2

    await run_inline(works)
    assert await run_inline(work()) != HERE()


async def test_a_disk_that_stays_slow_stalls_the_loop_once_in_five_seconds(clock, work):
    in_place, started = 0, clock.seconds
    while clock.seconds < started + 60:
        in_place += await run_inline(work(0.1)) == HERE()
    assert in_place == 12


async def test_slow_work_in_a_thread_is_no_stall_of_the_loop(clock, work):
    await run_inline(work(PROMPT_S * 2))
    assert await run_inline(work(LONGEST_REST_S)) != HERE()
    clock.seconds += 0.1
    assert await run_inline(work()) == HERE()


async def test_what_would_block_is_done_again_patiently_in_a_thread(clock, work):
    def blocked() -> int:
        raise BlockingIOError

    assert await run_inline(blocked, work()) != HERE()
    assert await run_inline(work()) == HERE()


async def test_work_that_has_no_patient_form_is_done_again_as_it_is(clock):
    threads = []

    def blocked_here() -> str:
        threads.append(HERE())
        if len(threads) == 1:
            raise BlockingIOError
        return "done"

    assert await run_inline(blocked_here) == "done"
    assert threads[0] == HERE() != threads[1]


async def test_after_a_stall_the_patient_form_is_the_only_one_that_runs(clock, work):
    def never() -> int:
        raise AssertionError

    await run_inline(work(PROMPT_S * 2))
    assert await run_inline(never, work()) != HERE()


@pytest.mark.parametrize("stalled_s", [0.0, PROMPT_S * 2])
async def test_what_the_work_raises_comes_through_and_it_is_done_once(clock, work, stalled_s):
    calls = []

    def fails() -> int:
        calls.append(HERE())
        raise FileNotFoundError(2, "gone")

    await run_inline(work(stalled_s))
    with pytest.raises(FileNotFoundError, match="gone"):
        await run_inline(fails)
    assert len(calls) == 1


async def test_work_that_fails_slowly_is_a_stall_too(clock, work):
    def fails() -> int:
        clock.seconds += PROMPT_S * 2
        clock.waits += 1
        raise OSError(5, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        await run_inline(fails)
    assert await run_inline(work()) != HERE()


async def test_what_a_thread_finds_blocked_comes_through(clock, work):
    def blocked() -> int:
        raise BlockingIOError

    with pytest.raises(BlockingIOError):
        await run_inline(blocked)
