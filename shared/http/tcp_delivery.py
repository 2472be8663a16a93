"""Whether the bytes of an answer have reached the peer: what the kernel still holds, and how little it may hold."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import time

from shared.http.connection import Connection

SEND_BUFFER_BYTES = 64 * 1024
DELIVERY_WAIT_S = 2.0
FIRST_LOOK_S = 0.001
LONGEST_PAUSE_S = 0.02
SIOCOUTQ = 0x5411  # Linux, tcp(7): bytes in the send queue that the peer has not acknowledged; the number TIOCOUTQ has
TCP_STATE = struct.Struct("B")
# tcpi_state of struct tcp_info, in the states where what was sent may still arrive or has arrived (include/net/tcp_states.h).
OPEN_STATES = frozenset({1, 4, 5, 8, 9})  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK


def _socket_of(transport: asyncio.BaseTransport) -> socket.socket | None:
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock if sock is not None and sock.fileno() >= 0 else None


def limit_send_buffer(transport: asyncio.WriteTransport, size_bytes: int = SEND_BUFFER_BYTES) -> None:
    """Keep at most about `size_bytes` between the application and the wire, so that a broken transfer is noticed.

    Measured: after a reset at 1 KB, 300 KB to 2.5 MB looked complete with the system's buffers. Call before sending.
    A client that closes after its last byte no longer takes the connection with it before `wait_delivered` has looked.
    """
    connection = transport.get_protocol()
    if isinstance(connection, Connection):
        connection.stay_half_open()
    sock = _socket_of(transport)
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size_bytes)
    transport.set_write_buffer_limits(high=size_bytes // 4)


def unacknowledged_bytes(transport: asyncio.WriteTransport) -> int:
    """Count what the peer has not acknowledged; where the system cannot tell, what has not left the process."""
    return _unacknowledged(transport, _socket_of(transport))


def _unacknowledged(transport: asyncio.WriteTransport, sock: socket.socket | None) -> int:
    held = transport.get_write_buffer_size()
    if sock is None or sys.platform != "linux":
        return held
    queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, b"\0" * 4))[0]
    return held + queued


def _is_open(transport: asyncio.WriteTransport, sock: socket.socket | None) -> bool:
    """Tell whether the connection still stands: a reset empties the send queue too, but delivers nothing."""
    if sock is None or transport.is_closing():
        return False
    if sys.platform != "linux":
        return True
    state = TCP_STATE.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_STATE.size))[0]
    return state in OPEN_STATES


async def wait_delivered(transport: asyncio.WriteTransport | None, timeout_s: float = DELIVERY_WAIT_S) -> bool:
    """Wait until the peer has acknowledged all that was sent; False where it reset the connection.

    False as well where for `timeout_s` seconds it acknowledged nothing more: a slow reader has its time, a dead one has not.
    """
    least, deadline, pause_s = sys.maxsize, 0.0, FIRST_LOOK_S
    while transport is not None:
        try:
            sock = _socket_of(transport)
            unsent = _unacknowledged(transport, sock)
            if not _is_open(transport, sock):
                return False
        except OSError:
            return False
        if not unsent:
            return True
        now = time.monotonic()
        if unsent < least:
            least, deadline = unsent, now + timeout_s
        if now >= deadline:
            return False
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    return False
