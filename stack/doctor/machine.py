"""The machine that Keepsake runs on: settings, ports, and the room and rights of the folders."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

from shared.app.server import bind
from shared.settings import ServerSettings
from stack.checks import Process
from stack.doctor.findings import Finding, right, wrong
from stack.doctor.services import local_url, name_at, open_client

LEAST_FREE_BYTES = 512 * 2**20
# Webhooks are refused from 5 minutes on, signed uploads from 15; a clock that is this far off is on its way there.
MOST_SECONDS_OFF = 60


async def check_settings(problems: Sequence[str]) -> AsyncIterator[Finding]:
    for problem in problems:
        yield wrong("settings", problem, "change it in the environment or in .env.")
    if not problems:
        yield right("settings", "every process's settings are in order.")


async def check_secrets(env_file: Path) -> AsyncIterator[Finding]:
    try:
        mode = stat.S_IMODE(os.stat(env_file).st_mode)  # noqa: PTH116 - a look into the kernel's cache, not worth a thread
    except FileNotFoundError:
        return
    if mode & 0o077:
        yield wrong("secrets", f"{env_file.name} can be read by others on this machine.", f"chmod 600 {env_file.name}")
    else:
        yield right("secrets", f"{env_file.name} can be read by its owner alone.")


async def check_ports(processes: Sequence[Process]) -> AsyncIterator[Finding]:
    """See that each port is free, or that the process which belongs there answers."""
    async with open_client() as http:
        names = await asyncio.gather(*(name_at(http, local_url(process.settings)) for process in processes))
    for process, name in zip(processes, names, strict=True):
        what, port = f"port of {process.name}", process.settings.port
        if name == process.name:
            yield right(what, f"Keepsake answers on {port}.")
        elif problem := _cannot_bind(process.settings):
            yield wrong(
                what,
                f"{problem} {name} answers there." if name else problem,
                f"end the program that has it, or choose another {process.name.upper().replace('-', '_')}_PORT.",
            )
        else:
            yield right(what, f"{port} is free.")


def _cannot_bind(settings: ServerSettings) -> str:
    try:
        for sock in bind(settings.host, settings.port):
            sock.close()
    except OSError as error:
        return f"port {settings.port} on {settings.host} cannot be used: {error.strerror}."
    return ""


async def check_room(folders: dict[str, Path]) -> AsyncIterator[Finding]:
    """See how much room the folders have; that they can be written is a matter of the settings."""
    for name, folder in folders.items():
        there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        says = f"{free // 2**20} MiB are free in {folder}."
        if free < LEAST_FREE_BYTES:
            yield wrong(
                f"room of {name}", says, "make room, or set it to a larger disk: uploads are refused when it is full."
            )
        else:
            yield right(f"room of {name}", says)


def compare_clocks(whose: str, date: str, what_is_refused: str) -> Finding:
    """Compare this machine's clock with the `Date` (RFC 9110) of an answer."""
    what, off = "clock", time.time() - parsedate_to_datetime(date).timestamp()
    if abs(off) > MOST_SECONDS_OFF:
        where = "ahead" if off > 0 else "behind"
        says = f"this machine's clock is {abs(off):.0f} s {where}: {what_is_refused} will be refused."
        return wrong(what, says, "set it, and keep it by NTP.")
    return right(what, f"it agrees with {whose}'s.")
