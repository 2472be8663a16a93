"""What a check finds: what it looked at, whether that is right, and how to mend it where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Literal

import aiohttp
from yarl import URL

from shared.errors import KeepsakeError

# A bucket or a proxy that does not answer must not keep the others waiting for long.
CHECK_TIMEOUT_S = 30.0
UNREACHED = "see whether it runs, and can be reached from here."
REFUSED = "see that its address, user and password or keys are set right, and what they may do."


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `mend` is empty where nothing is wrong."""

    what: str
    state: Literal["right", "wrong", "unknown"]
    says: str
    mend: str = ""

    def line(self) -> str:
        mark = {"right": "  ok ", "wrong": "WRONG", "unknown": "  ?  "}[self.state]
        return f"{mark}  {self.what}: {self.says}" + (f" To mend it: {self.mend}" if self.mend else "")

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def right(what: str, says: str) -> Finding:
    return Finding(what, "right", says)


def unknown(what: str, says: str) -> Finding:
    """Return a finding that could not be checked; it does not count as wrong."""
    return Finding(what, "unknown", says)


def wrong(what: str, says: str, mend: str) -> Finding:
    """Return a finding that is wrong, and how to mend it."""
    return Finding(what, "wrong", says, mend)


def shown(url: str | URL) -> str:
    """Return an address as it may be printed: without the user and password in it."""
    return str(URL(url).with_user(None))


def failure(what: str, error: BaseException) -> Finding:
    """Say what an error comes from: the driver's own words are for operators, the sentence of a 503 is for customers."""
    cause = error
    while not isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, TimeoutError):
        return wrong(what, "it did not answer in time.", UNREACHED)
    if isinstance(cause, (OSError, aiohttp.ClientError)):
        return wrong(what, f"it cannot be reached ({type(cause).__name__}).", UNREACHED)
    said = "" if isinstance(cause, KeepsakeError) else (str(cause).splitlines() or [type(cause).__name__])[0]
    return wrong(what, f"it refuses what we ask{said and ': '}{said.rstrip('.')}.", REFUSED)


Check = Callable[[], AsyncIterator[Finding]]


async def run_checks(checks: dict[str, Check]) -> list[Finding]:
    """Run the checks one after another, since one that computes would let another's answer seem late.

    One that fails or does not end is a finding, too.
    """

    async def run(what: str, check: Check) -> list[Finding]:
        found: list[Finding] = []
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                async for finding in check():
                    found.append(finding)  # noqa: PERF401 - what was found before a failure stays
        except (KeepsakeError, aiohttp.ClientError, OSError) as error:
            found.append(failure(what, error))
        except Exception as error:  # noqa: BLE001 - the report must be whole, whatever one check meets
            found.append(wrong(what, f"it could not be checked ({type(error).__name__}).", "look at its settings."))
        return found

    return [finding for what, check in checks.items() for finding in await run(what, check)]
