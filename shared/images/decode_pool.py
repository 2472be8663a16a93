"""Processes that decode images: bounded in memory and time, so that a hostile file costs one task and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from shared.errors import StorageFull, Unavailable
from shared.images import decode_worker
from shared.images.formats.header import damaged
from shared.images.photo_quality import PhotoFacts, PreparedPhoto, Rendition
from shared.images.validation import ImageLimits, PreparedImage
from shared.images.worker_process import Sent, WorkerProcess
from shared.metrics import IMAGE_WAIT_SECONDS, IMAGE_WORK_SECONDS, IMAGES_CONVERTED, IMAGES_WAITING, begin_at_zero
from shared.tracing import span

_Result = TypeVar("_Result")
begin_at_zero(IMAGES_CONVERTED, "avif", "heic", "rewritten")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_START_S = 30  # for a worker to come up on a busy machine
_TRIES = 3


class ImageWorkers:
    """Image work in other processes: images go there by path, small uploads as bytes.

    Every method raises `NotAllowedValue` (`image_damaged`) where the image cannot be decoded, takes too long or takes
    its worker down with it, `Unavailable` (`image_workers_busy`) where too many wait already or the system killed its worker,
    and `StorageFull`.
    Cancelling a call kills its worker. A target that could not be made is not left behind.
    """

    def __init__(self, *, processes: int, memory_bytes: int, timeout_s: float, queue_limit: int) -> None:
        """Start nothing yet: each worker starts when it is first needed."""
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._room = processes + queue_limit
        self._free_turns = processes
        self._waiting: deque[tuple[bytes, asyncio.Future[Sent | None]]] = deque()
        self._closed = False
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []

    async def prepare(
        self,
        source: bytes | Path,
        file: Path | None,
        declared_type: str | None,
        limits: ImageLimits,
        *,
        strip: bool = True,
        place: Callable[[Path, str], str | None] | None = None,
    ) -> PreparedImage:
        """Do all that an image needs before its row: decode all of it, make the file to be stored, and place it.

        See `decode_worker.prepare`. Where this raises, the file may have its key already, unless the image itself was refused.
        """
        work = partial(decode_worker.prepare, source, file, declared_type, limits, strip=strip, place=place)
        prepared = await self._run(work)
        if what := prepared.converted_from or (prepared.rewritten and "rewritten"):
            IMAGES_CONVERTED.labels(what).inc()
        return prepared

    async def prepare_photo(
        self, file: Path, data: bytes | None, limits: ImageLimits, *, place: Callable[[Path, str], str | None] | None
    ) -> PreparedPhoto:
        """Do so for a photo that is kept as it was sent, and look at it. See `decode_worker.prepare_photo`."""
        return await self._run(partial(decode_worker.prepare_photo, file, data, limits, place))

    async def rendition(
        self, source: Path, target: Path, *, max_width: int, image_format: Literal["webp", "jpeg"], quality: int = 80
    ) -> Rendition:
        """Write to `target` an upright copy of the first frame, at most `max_width` pixels wide, never enlarged.

        It is in sRGB and carries no metadata; a JPEG of a transparent image is on white.
        """
        work = partial(
            decode_worker.rendition, source, target, max_width=max_width, image_format=image_format, quality=quality
        )
        return await self._make(target, work)

    async def thumbnail(self, source: Path, target: Path, *, max_side: int = 400) -> Rendition:
        """Write to `target` an upright WebP of the first frame, its sides at most `max_side` pixels."""
        return await self._make(target, partial(decode_worker.thumbnail, source, target, max_side=max_side))

    async def inspect(self, source: Path) -> PhotoFacts:
        return await self._run(partial(decode_worker.inspect, source))

    async def thumbnail_and_inspect(
        self, source: Path, target: Path, *, max_side: int = 400
    ) -> tuple[Rendition, PhotoFacts]:
        return await self._make(target, partial(decode_worker.thumbnail_and_inspect, source, target, max_side=max_side))

    async def close(self) -> None:
        """End the processes; what runs or waits is refused with Unavailable."""
        self._closed = True
        workers = tuple(self._workers)
        for worker in workers:
            worker.kill()
        while self._idle:
            await self._end(self._idle.pop())
        for worker in workers:  # what gives way to all others also takes its time to die
            await worker.gone()

    async def _make(self, target: Path, work: partial[_Result]) -> _Result:
        try:
            target.touch()  # noqa: ASYNC240 - a name, no bytes
            return await self._run(work)
        except BaseException as error:
            target.unlink(missing_ok=True)  # noqa: ASYNC240
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise StorageFull from error
            raise

    async def _run(self, work: partial[_Result]) -> _Result:
        if not self._room:
            raise Unavailable("Too many images are being worked on. Please try again.", code="image_workers_busy")
        self._room -= 1
        try:
            request = pickle.dumps(work)
            with span("image-worker", work.func.__name__):
                with IMAGES_WAITING.track_inprogress(), IMAGE_WAIT_SECONDS.time():
                    sent = await self._turn(request)
                with IMAGE_WORK_SECONDS.labels(work.func.__name__).time():
                    answer = await self._ask(request, sent)
        finally:
            self._room += 1
        result: _Result
        result, failure = pickle.loads(answer)  # noqa: S301 - our own process wrote it
        if failure is None:
            return result
        if isinstance(failure, OSError) and failure.errno in _NO_ROOM:
            raise StorageFull from failure
        raise failure

    async def _turn(self, request: bytes) -> Sent | None:
        """Wait for a turn, first come, first served; return the request that `_give_turn` has sent, else None: send it then."""
        if self._free_turns:
            self._free_turns -= 1
            return None
        turn: asyncio.Future[Sent | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came in the same moment
                await self._give_up(turn.result())
            raise

    def _give_turn(self, worker: WorkerProcess | None) -> None:
        """Let the next have the turn, and the worker at once, before whoever waits for the turn has been woken."""
        while self._waiting:
            request, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker.send(request) if worker is not None else None)
                return
        self._free_turns += 1
        if worker is not None:
            self._idle.append(worker)

    async def _ask(self, request: bytes, sent: Sent | None) -> bytes:
        """Return a worker's answer, whose arrival passes the turn on.

        A worker that does not answer is ended. One that was dying resets the connection: then another is asked. One that the
        system kills while it works may have placed its image: then the client is asked to come again.
        """
        try:
            for _ in range(_TRIES):
                sent = sent or (await self._free_worker()).send(request)
                try:
                    async with asyncio.timeout(self._timeout_s):
                        return await sent.answer
                except ConnectionError:
                    await self._end(sent.worker)
                    sent = None
                except (TimeoutError, EOFError) as error:
                    if self._closed:
                        raise Unavailable from error
                    if isinstance(error, EOFError) and await sent.worker.exit_code() == -signal.SIGKILL:
                        break  # ended from outside, perhaps for want of memory: nothing is said of the image
                    raise damaged() from error
            raise Unavailable(code="image_workers_busy")  # noqa: TRY301 - as whatever else ends it
        except BaseException:
            await self._give_up(sent)
            raise

    async def _give_up(self, sent: Sent | None) -> None:
        """End the worker that was asked, and pass the turn on; once it has answered, both is done."""
        if sent is not None and sent.is_answered:
            return
        try:
            if sent is not None:
                sent.answer.cancel()
                await self._end(sent.worker)
        finally:
            self._give_turn(None)

    async def _free_worker(self) -> WorkerProcess:
        """Return one that works: the one that worked last, or a new one."""
        while self._idle and not self._closed:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            await self._end(worker)  # it died between two tasks
        if self._closed:
            raise Unavailable
        try:
            worker = WorkerProcess(self._memory_bytes, self._timeout_s, self._give_turn)
        except OSError as error:
            raise Unavailable(code="image_workers_busy") from error
        self._workers.add(worker)
        try:
            async with asyncio.timeout(_START_S):
                await worker.started()
        except (TimeoutError, EOFError, ConnectionError) as error:
            await self._end(worker)
            raise Unavailable(code="image_workers_busy") from error
        except BaseException:
            await self._end(worker)
            raise
        return worker

    async def _end(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        await worker.end()


@asynccontextmanager
async def open_image_workers(
    *, processes: int = 2, memory_bytes: int = 2**30, timeout_s: float = 20, queue_limit: int = 32
) -> AsyncIterator[ImageWorkers]:
    """Open up to `processes` workers, never more than there are cores for this process.

    `queue_limit` calls may wait for one beyond those that are being worked on.
    """
    processes = min(processes, len(os.sched_getaffinity(0)))
    workers = ImageWorkers(processes=processes, memory_bytes=memory_bytes, timeout_s=timeout_s, queue_limit=queue_limit)
    try:
        yield workers
    finally:
        await workers.close()
