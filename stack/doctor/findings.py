"""What a check finds: what it looked at, whether that is right, and how to mend it where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Literal

import aiohttp

from shared.errors import KeepsakeError

# A bucket or a proxy that does not answer must not keep the others waiting for long.
CHECK_TIMEOUT_S = 30.0
UNREACHED = "see whether it runs, and can be reached from here."


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
        except TimeoutError:
            found.append(wrong(what, "it did not answer in time.", UNREACHED))
        except KeepsakeError as error:
            found.append(wrong(what, error.detail, UNREACHED))
        except (aiohttp.ClientError, OSError) as error:
            found.append(wrong(what, f"it cannot be reached ({type(error).__name__}).", UNREACHED))
        except Exception as error:  # noqa: BLE001 - the report must be whole, whatever one check meets
            found.append(wrong(what, f"it could not be checked ({type(error).__name__}).", "look at its settings."))
        return found

    return [finding for what, check in checks.items() for finding in await run(what, check)]
