"""One process that does image work: asked over a socket that the event loop drives, and ended at any moment."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

from shared.concurrency.waiting import to_its_end

_MAIN = "from shared.images.decode_worker import serve; serve()"
_LENGTH_BYTES = 4
_READ_BYTES = 64 * 1024


class WorkerProcess:
    """A worker of its own session, so that Ctrl-C is the parent's affair; it ends by itself where the parent dies.

    `started` comes first, then one `ask` at a time, and `end` last. A worker that died is told by EOFError or ConnectionError.
    """

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        """Start the process. Raises OSError where the system has no room for one more."""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this program itself
                    [
                        sys.executable,
                        "-P",
                        "-c",
                        _MAIN,
                        str(theirs.fileno()),
                        str(memory_bytes),
                        str(int(timeout_s) + 2),
                    ],
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
        """Whether the process runs."""
        return self._process.poll() is None

    async def started(self) -> None:
        """Wait until it can be asked."""
        if not await asyncio.get_running_loop().sock_recv(self._socket, 1):
            raise EOFError

    async def ask(self, request: bytes) -> bytes:
        """Send a pickled request, and return the pickled answer."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, request)
        answer, length = bytearray(), _LENGTH_BYTES
        while len(answer) < length:
            piece = await loop.sock_recv(self._socket, _READ_BYTES)
            if not piece:
                raise EOFError
            answer += piece
            if len(answer) >= _LENGTH_BYTES:
                length = _LENGTH_BYTES + int.from_bytes(answer[:_LENGTH_BYTES], "big")
        return bytes(answer[_LENGTH_BYTES:])

    def kill(self) -> None:
        """End the process; whoever asks it something is told so."""
        self._process.kill()

    async def end(self) -> None:
        """End the process, and wait until the system has taken it away."""
        self.kill()
        self._socket.close()
        await to_its_end(asyncio.get_running_loop().run_in_executor(None, self._process.wait))
