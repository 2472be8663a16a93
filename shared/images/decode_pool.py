"""Processes that decode images: bounded in memory and time, so that a hostile file costs one task and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from shared.concurrency.waiting import to_its_end
from shared.errors import StorageFull, Unavailable
from shared.images import decode_worker
from shared.images.formats.header import damaged
from shared.images.photo_quality import PhotoFacts, PreparedPhoto, Rendition
from shared.images.validation import ImageLimits, PreparedImage
from shared.metrics import IMAGE_WAIT_SECONDS, IMAGE_WORK_SECONDS, IMAGES_CONVERTED, IMAGES_WAITING, begin_at_zero
from shared.tracing import span

_Result = TypeVar("_Result")
begin_at_zero(IMAGES_CONVERTED, "avif", "heic", "rewritten")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_START_S = 30  # for a worker to come up on a busy machine
_MAIN = "from shared.images.worker_process import serve; serve()"
_LENGTH_BYTES = 4
_TRIES = 3


class ImageWorkers:
    """Image work in other processes, by path; but small new images travel there themselves.

    Every method raises `NotAllowedValue` (`image_damaged`) where the image cannot be decoded, takes too long or takes
    its worker down with it, `Unavailable` (`image_workers_busy`) where too many wait already, and `StorageFull`.
    Cancelling a call ends its work. A target that could not be made is not left behind.
    """

    def __init__(self, *, processes: int, memory_bytes: int, timeout_s: float, queue_limit: int) -> None:
        """Start nothing yet: each worker starts when it is first needed."""
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._room = processes + queue_limit
        self._turns = asyncio.Semaphore(processes)
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

        See `decode_worker.prepare`. Where this raises, the file may have been placed, but for what refuses the image itself.
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
            with span("image-worker", work.func.__name__):
                with IMAGES_WAITING.track_inprogress(), IMAGE_WAIT_SECONDS.time():
                    await self._turns.acquire()
                try:
                    with IMAGE_WORK_SECONDS.labels(work.func.__name__).time():
                        answer = await self._ask(work)
                finally:
                    self._turns.release()
        finally:
            self._room += 1
        result: _Result
        result, failure = pickle.loads(answer)  # noqa: S301 - our own process wrote it
        if failure is None:
            return result
        if isinstance(failure, OSError) and failure.errno in _NO_ROOM:
            raise StorageFull from failure
        raise failure

    async def _ask(self, work: Callable[[], object]) -> bytes:
        """Have a worker do it. One that does not answer is ended; one that was dying resets the connection: then another."""
        request = pickle.dumps(work)
        for _ in range(_TRIES):
            worker = await self._free_worker()
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await worker.ask(request)
            except ConnectionError:
                await self._end(worker)
            except (TimeoutError, EOFError) as error:
                await self._end(worker)
                raise (Unavailable() if self._closed else damaged()) from error
            except BaseException:
                await self._end(worker)
                raise
            else:
                self._idle.append(worker)
                return answer
        raise Unavailable(code="image_workers_busy")

    async def _free_worker(self) -> WorkerProcess:
        """Return one that works: the one that worked last, or a new one."""
        while self._idle and not self._closed:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            await self._end(worker)  # it died between two tasks
        if self._closed:
            raise Unavailable
        try:
            worker = WorkerProcess(self._memory_bytes, self._timeout_s)
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


class WorkerProcess:
    """A worker of its own session, so that Ctrl-C is the parent's affair; it ends by itself where the parent dies.

    `started` comes first, then one `ask` at a time, and `end` last. A worker that died is told by EOFError or ConnectionError.
    """

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        """Start the process. Raises OSError where the system has no room for one more."""
        self._socket, theirs = socket.socketpair()
        self._close = self._socket.close  # once there are streams, theirs
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this program itself
                    [sys.executable, "-P", "-c", _MAIN, *map(str, (theirs.fileno(), memory_bytes, int(timeout_s) + 2))],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                )
        except BaseException:
            self._socket.close()
            raise

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def started(self) -> None:
        """Wait until it can be asked."""
        await self._open()
        await self._answers.readexactly(1)

    async def _open(self) -> None:
        self._answers, self._requests = await asyncio.open_unix_connection(sock=self._socket)
        self._close = self._requests.close

    async def ask(self, request: bytes) -> bytes:
        """Send a pickled request, and return the pickled answer."""
        self._requests.write(request)
        length = await self._answers.readexactly(_LENGTH_BYTES)
        return await self._answers.readexactly(int.from_bytes(length, "big"))

    def kill(self) -> None:
        """End the process; whoever asks it something is told so."""
        self._process.kill()

    async def end(self) -> None:
        """End the process, and wait until the system has taken it away."""
        self.kill()
        self._close()
        await self.gone()

    async def gone(self) -> None:
        """Wait until the system has taken a killed process away."""
        await to_its_end(asyncio.get_running_loop().run_in_executor(None, self._process.wait))


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
