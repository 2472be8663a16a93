from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from shared.concurrency.background_tasks import BackgroundTasks
from shared.concurrency.periodic import renewing, work_periodically, working
from shared.errors import DependencyDown

OFTEN_S = 0.001
NEVER_S = 3600.0


async def forever() -> None:
    """Wait for what nobody else knows of."""
    await asyncio.get_running_loop().create_future()


class Steps:
    """Counts what is done, and lets a test wait for it; `outcomes` are what the first steps return or raise."""

    def __init__(self, *outcomes: Any) -> None:
        self.done = 0
        self._outcomes = outcomes
        self._changed = asyncio.Condition()

    async def step(self) -> Any:
        async with self._changed:
            self.done += 1
            self._changed.notify_all()
        outcome = self._outcomes[self.done - 1] if self.done <= len(self._outcomes) else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def reach(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.done >= count)


class Interrupted:
    """Work that waits for ever, and tells when it began, and whether it was cut or came to its end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.end = ""

    async def work(self) -> None:
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # what it has to clear away
            self.end = "cut"
            raise
        self.end = "finished"


class TestBackgroundTasks:
    async def test_work_goes_on_when_who_began_it_is_cancelled(self) -> None:
        tasks, interrupted = BackgroundTasks(), Interrupted()

        async def call() -> None:
            await asyncio.wait([tasks.start(interrupted.work())])

        caller = asyncio.create_task(call())
        await interrupted.began.wait()
        caller.cancel()
        await asyncio.wait([caller])
        interrupted.may_end.set()
        await tasks.finish(NEVER_S)
        assert interrupted.end == "finished"

    async def test_a_task_that_nobody_else_holds_is_kept(self) -> None:
        tasks = BackgroundTasks()
        task = weakref.ref(tasks.start(forever()))
        await asyncio.sleep(0)
        gc.collect()
        assert task() is not None
        await tasks.cancel()

    async def test_a_task_that_is_done_is_let_go(self) -> None:
        tasks = BackgroundTasks()
        task = weakref.ref(tasks.start(asyncio.sleep(0)))
        await tasks.finish(NEVER_S)
        await asyncio.sleep(0)
        gc.collect()
        assert task() is None

    async def test_the_end_waits_for_what_is_under_way_but_not_for_ever(self) -> None:
        tasks, interrupted = BackgroundTasks(), Interrupted()
        await tasks.finish(NEVER_S)  # nothing is
        tasks.start(interrupted.work())
        await interrupted.began.wait()
        await tasks.finish(OFTEN_S)
        assert interrupted.end == ""
        await tasks.cancel()

    async def test_what_is_cancelled_has_cleared_away_when_that_returns(self) -> None:
        tasks, both = BackgroundTasks(), (Interrupted(), Interrupted())
        for one in both:
            tasks.start(one.work())
            await one.began.wait()
        await tasks.cancel()
        assert [one.end for one in both] == ["cut", "cut"]


class TestWorking:
    async def test_all_of_it_goes_on_until_the_block_ends(self) -> None:
        both = (Interrupted(), Interrupted())
        async with working(*(one.work for one in both)):
            for one in both:
                await one.began.wait()
            assert [one.end for one in both] == ["", ""]
        assert [one.end for one in both] == ["cut", "cut"]

    async def test_work_that_fails_leaves_the_block_and_the_other_work_alone(self) -> None:
        steps, interrupted = Steps(RuntimeError()), Interrupted()
        async with working(steps.step, interrupted.work):
            await steps.reach(1)
            await interrupted.began.wait()
        assert interrupted.end == "cut"


class TestRenewing:
    async def test_it_is_renewed_again_and_again_until_the_block_ends(self) -> None:
        steps = Steps()
        async with renewing(OFTEN_S, steps.step):
            await steps.reach(3)
        done = steps.done
        await asyncio.sleep(20 * OFTEN_S)
        assert steps.done == done

    async def test_a_block_that_is_short_needs_no_renewal(self) -> None:
        steps = Steps()
        async with renewing(NEVER_S, steps.step):
            await asyncio.sleep(0)
        assert steps.done == 0

    @pytest.mark.parametrize("error", [DependencyDown("database"), RuntimeError()])
    async def test_a_renewal_that_fails_is_made_up_for_by_the_next(self, error: Exception) -> None:
        steps = Steps(error, error)
        async with renewing(OFTEN_S, steps.step):
            await steps.reach(3)

    async def test_what_the_block_raises_comes_through_and_ends_the_renewals(self) -> None:
        interrupted = Interrupted()

        async def block() -> None:
            async with renewing(OFTEN_S, interrupted.work):
                await interrupted.began.wait()
                raise LookupError

        with pytest.raises(LookupError):
            await block()
        assert interrupted.end == "cut"


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


class TestPeriodicWork:
    async def test_it_is_done_at_once_and_whenever_it_is_woken(self) -> None:
        steps, wake = Steps(), asyncio.Event()
        task = asyncio.create_task(work_periodically("it", steps.step, NEVER_S, wake=wake))
        for count in (1, 2, 3):
            await steps.reach(count)
            wake.set()
        await stop(task)

    async def test_it_is_done_again_after_the_interval(self) -> None:
        steps = Steps()
        task = asyncio.create_task(work_periodically("it", steps.step, OFTEN_S))
        await steps.reach(3)
        await stop(task)

    async def test_it_is_done_again_at_once_while_more_is_due(self) -> None:
        steps = Steps(True, True)
        task = asyncio.create_task(work_periodically("it", steps.step, NEVER_S))
        await steps.reach(3)
        await asyncio.sleep(20 * OFTEN_S)
        assert steps.done == 3
        await stop(task)

    async def test_no_failure_ends_it(self) -> None:
        steps = Steps(DependencyDown("database"), RuntimeError())
        task = asyncio.create_task(work_periodically("it", steps.step, OFTEN_S))
        await steps.reach(3)
        await stop(task)

    async def test_what_is_being_done_when_it_ends_may_finish(self) -> None:
        interrupted = Interrupted()
        task = asyncio.create_task(work_periodically("it", interrupted.work, NEVER_S, grace_s=NEVER_S))
        await interrupted.began.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        interrupted.may_end.set()
        await asyncio.wait([task])
        assert (task.cancelled(), interrupted.end) == (True, "finished")

    async def test_what_does_not_finish_in_time_is_cut(self) -> None:
        interrupted = Interrupted()
        task = asyncio.create_task(work_periodically("it", interrupted.work, NEVER_S, grace_s=OFTEN_S))
        await interrupted.began.wait()
        await stop(task)
        assert interrupted.end == "cut"
