from __future__ import annotations

import asyncio

import pytest

from services.auth_verify.adapters.argon2 import MAX_WAITING, open_passwords
from shared.errors import Unavailable


@pytest.fixture
def cheap_hashes() -> None:
    """Here they cost what they cost."""


async def test_a_hash_costs_what_owasp_asks_for() -> None:
    async with open_passwords() as passwords:
        made = await passwords.hash("correct horse")
        assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert await passwords.verify("correct horse", made)
        assert not await passwords.verify("correct house", made)


async def test_nobodys_password_is_compared_too_and_never_right() -> None:
    async with open_passwords() as passwords:
        assert not await passwords.verify("correct horse", None)


async def test_who_comes_when_too_many_wait_is_told_to_come_again() -> None:
    async with open_passwords() as passwords:
        waiting = [asyncio.create_task(passwords.verify("x", None)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await passwords.hash("x")
        assert refused.value.code == "busy"
        for task in waiting:
            task.cancel()
