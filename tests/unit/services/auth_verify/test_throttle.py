from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count

import aiohttp
import pytest

from services.auth_verify.adapters.memory import MAX_ENTRIES, MemoryFailedLogins
from services.auth_verify.adapters.redis import open_redis_failed_logins
from services.auth_verify.app import build_app
from services.auth_verify.model import Failures
from services.auth_verify.ports import FailedLogins
from services.auth_verify.service.throttle import MAX_WAITING, MAX_WAITING_PER_PAIR, LoginThrottle
from services.auth_verify.settings import AuthVerifySettings
from shared.auth.access_tokens import sign_service_token
from shared.errors import TooManyRequests
from tests.support.processes import free_port
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, PASSWORD, Api

HOME, AWAY = "192.0.2.1", "198.51.100.7"


@pytest.fixture(params=["memory", "redis"])
async def failures(request: pytest.FixtureRequest) -> AsyncIterator[FailedLogins]:
    if request.param == "memory":
        yield MemoryFailedLogins()
        return
    async with open_redis_failed_logins(request.getfixturevalue("redis_url")) as opened:
        yield opened


class TestCounting:
    async def test_failures_count_for_the_address_and_the_account(self, failures: FailedLogins) -> None:
        for _ in range(3):
            await failures.add("alice", HOME)
        await failures.add("alice", AWAY)
        assert await failures.count("alice", HOME) == Failures(here=3, anywhere=4)
        assert await failures.count("alice", AWAY) == Failures(here=1, anywhere=4)
        assert await failures.count("bob", HOME) == Failures()

    async def test_a_success_forgets_its_own_address(self, failures: FailedLogins) -> None:
        await failures.add("alice", HOME)
        await failures.add("alice", AWAY)
        await failures.forget("alice", HOME)
        assert await failures.count("alice", HOME) == Failures(here=0, anywhere=2)
        assert (await failures.count("alice", AWAY)).here == 1

    async def test_memory_is_bounded(self) -> None:
        failures = MemoryFailedLogins()
        for number in range(MAX_ENTRIES):
            await failures.add(f"user{number}", HOME)
        assert await failures.count("user0", HOME) == Failures()
        assert (await failures.count(f"user{MAX_ENTRIES - 1}", HOME)).here == 1

    async def test_without_redis_each_process_counts_for_itself(self) -> None:
        async with open_redis_failed_logins(f"redis://127.0.0.1:{free_port()}") as failures:
            for _ in range(4):
                await failures.add("alice", HOME)
            assert await failures.count("alice", HOME) == Failures(here=4, anywhere=4)
            await failures.forget("alice", HOME)
            assert (await failures.count("alice", HOME)).here == 0


class Sleeper:
    """Notes how long it was asked to sleep, and sleeps until it is let go."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.wake = asyncio.Event()
        self.wake.set()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.wake.wait()

    def was_asked_more_than(self, times: int) -> bool:
        return len(self.asked) > times


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is a list that somebody fills
        await asyncio.sleep(0)


async def fail(throttle: LoginThrottle, times: int, address: str = HOME) -> None:
    for _ in range(times):
        await throttle.note("alice", address, success=False)


class TestWaiting:
    @pytest.fixture
    def sleeper(self) -> Sleeper:
        return Sleeper()

    @pytest.fixture
    def throttle(self, sleeper: Sleeper) -> LoginThrottle:
        return LoginThrottle(MemoryFailedLogins(), sleep=sleeper)

    async def test_each_failure_beyond_the_third_doubles_the_wait_up_to_five_seconds(
        self, throttle: LoginThrottle, sleeper: Sleeper
    ) -> None:
        for _ in range(12):
            await throttle.wait_turn("alice", HOME)
            await fail(throttle, 1)
        assert sleeper.asked == [0.5, 1, 2, 4, 5, 5, 5, 5, 5]

    async def test_the_owner_elsewhere_does_not_wait_for_it(self, throttle: LoginThrottle, sleeper: Sleeper) -> None:
        await fail(throttle, 10)
        await throttle.wait_turn("alice", AWAY)
        assert sleeper.asked == []

    async def test_an_account_that_many_try_is_slow_for_all_but_never_closed(
        self, throttle: LoginThrottle, sleeper: Sleeper
    ) -> None:
        for number in range(500):
            await throttle.note("alice", f"203.0.113.{number}", success=False)
        await throttle.wait_turn("ALICE", AWAY)
        assert sleeper.asked == [2.0]

    async def test_a_success_ends_the_wait_for_its_address(self, throttle: LoginThrottle, sleeper: Sleeper) -> None:
        await fail(throttle, 10)
        await throttle.note("alice", HOME, success=True)
        await throttle.wait_turn("alice", HOME)
        assert sleeper.asked == []

    async def test_of_those_who_guess_only_some_wait_and_the_others_are_told_when(
        self, throttle: LoginThrottle, sleeper: Sleeper
    ) -> None:
        await fail(throttle, 10)
        sleeper.wake.clear()
        waiting = [asyncio.create_task(throttle.wait_turn("alice", HOME)) for _ in range(MAX_WAITING_PER_PAIR)]
        await until(lambda: len(sleeper.asked) == len(waiting))
        with pytest.raises(TooManyRequests) as refused:
            await throttle.wait_turn("alice", HOME)
        assert refused.value.headers["Retry-After"] == "5"
        assert {"RateLimit", "RateLimit-Policy"} <= set(refused.value.headers)
        sleeper.wake.set()
        await asyncio.gather(*waiting)
        await throttle.wait_turn("alice", HOME)

    async def test_a_crowd_of_guessers_does_not_keep_the_owner_out(
        self, throttle: LoginThrottle, sleeper: Sleeper
    ) -> None:
        sleeper.wake.clear()
        addresses = [f"203.0.113.{number}" for number in range(MAX_WAITING // MAX_WAITING_PER_PAIR)]
        for address in addresses:
            await fail(throttle, 5, address)
        waits: list[Awaitable[None]] = [
            asyncio.create_task(throttle.wait_turn("alice", address))
            for address in addresses
            for _ in range(MAX_WAITING_PER_PAIR)
        ]
        await until(lambda: len(sleeper.asked) == MAX_WAITING)
        with pytest.raises(TooManyRequests):
            await throttle.wait_turn("alice", addresses[0])
        await throttle.wait_turn("alice", AWAY)
        sleeper.wake.set()
        await asyncio.gather(*waits)

    async def test_who_hangs_up_makes_room(self, throttle: LoginThrottle, sleeper: Sleeper) -> None:
        await fail(throttle, 10)
        for _ in range(3 * MAX_WAITING_PER_PAIR):
            sleeper.wake.clear()
            waiting = asyncio.create_task(throttle.wait_turn("alice", HOME))
            await until(partial(sleeper.was_asked_more_than, len(sleeper.asked)))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


class TestOverHttp:
    async def test_the_address_is_the_one_the_gateway_vouches_for(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession
    ) -> None:
        api = Api(http, await serve_app(build_app(settings)))
        await api.register("alice")
        addresses = count(1)

        async def attempt(password: str, addr: str) -> int:
            token = sign_service_token(INTERNAL_SECRET, caller="gateway", audience="auth-verify", addr=addr)
            reply = await api.call(
                "POST",
                "/api/auth/login",
                json={"username": "alice", "password": password},
                headers={"X-Keepsake-Gateway": token},
            )
            return reply.status

        # Each from another address: were they counted as one, the last of them would wait for minutes.
        guesses = (attempt("not the password", f"203.0.113.{next(addresses)}") for _ in range(19))
        assert set(await asyncio.gather(*guesses)) == {401}
        assert await attempt(PASSWORD, HOME) == 200

    async def test_nobody_else_may_vouch(self, api: Api) -> None:
        for token in ("rubbish", sign_service_token("x" * 32, caller="gateway", audience="auth-verify", addr=HOME)):
            body = {"username": "alice", "password": PASSWORD}
            reply = await api.call("POST", "/api/auth/login", json=body, headers={"X-Keepsake-Gateway": token})
            assert reply.status == 401

    async def test_the_owner_gets_in_after_many_failures(self, api: Api) -> None:
        await api.register("alice")
        for _ in range(4):
            assert (await api.login("alice", "not the password")).status == 401
        assert (await api.login("alice")).status == 200
