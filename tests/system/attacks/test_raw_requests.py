"""Of one request never two, and never an answer that belongs to another: bytes that no client library sends, at the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from tests.support.raw_http import RawAnswer, RawClient, connect
from tests.support.stack import URL_SETTINGS, running_stack
from tests.system.attacks.raw_requests import ATTACKS
from tests.system.attacks.recorder import Recorder, Seen, recording

AT_ONCE = 24
# How long an attack's connection may stay silent before it counts as answered; those that are refused are closed at once.
SILENCE_S = 1.5
REFUSALS = {400, 401, 404, 405, 408, 413, 415, 417, 431, 505}
VICTIMS = 4


@dataclass
class Outcome:
    """What became of an attack: the answers on its connection, and the requests behind the gateway."""

    answers: list[RawAnswer] = field(default_factory=list)
    arrived: list[Seen] = field(default_factory=list)


@dataclass
class Battle:
    """All attacks at once, and the ordinary customers among them."""

    recorder: Recorder
    outcomes: dict[str, Outcome]
    customers: list[tuple[str, str]]


async def read_answers(client: RawClient, methods: list[str]) -> list[RawAnswer]:
    answers: list[RawAnswer] = []
    with suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        async with asyncio.timeout(SILENCE_S):
            while True:
                method = methods[len(answers)] if len(answers) < len(methods) else "GET"
                answers.append(await client.answer(method))
    return answers


async def attack(gateway: str, name: str, number: int, gate: asyncio.Semaphore) -> list[RawAnswer]:
    data = ATTACKS[name].numbered(number).data
    async with gate, connect(gateway) as client:
        with suppress(ConnectionError):
            await client.send(data)
        return await read_answers(client, ["HEAD"] if data.startswith(b"HEAD") else [])


async def shop(gateway: str, number: int, over: asyncio.Event) -> list[tuple[str, str]]:
    """Ask for things of one's own, again and again on one connection, and note what was answered."""
    got: list[tuple[str, str]] = []
    while not over.is_set():
        async with connect(gateway) as client:
            for _ in range(20):
                wanted = f"/media/pet-images/customer-{number}-{len(got)}"
                await client.send(f"GET {wanted} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
                answer = await client.answer()
                got.append((wanted, json.loads(answer.body).get("target", f"{answer.status}")))
    return got


async def fight(gateway: str, recorder: Recorder) -> Battle:
    gate, over = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    customers = [asyncio.create_task(shop(gateway, number, over)) for number in range(VICTIMS)]
    answers = await asyncio.gather(*(attack(gateway, name, number, gate) for number, name in enumerate(ATTACKS)))
    over.set()
    served = [one for customer in customers for one in await customer]
    outcomes = {
        name: Outcome(answers[number], recorder.about(f"attack-{1000 + number}")) for number, name in enumerate(ATTACKS)
    }
    return Battle(recorder, outcomes, served)


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    """Behind the gateway every service is the recorder."""
    with recording() as recorder:
        services = dict.fromkeys(URL_SETTINGS.values(), recorder.url)
        with running_stack(tmp_path_factory.mktemp("raw"), services, "gateway") as stack:
            yield asyncio.run(fight(stack.url("gateway"), recorder))


@pytest.mark.parametrize("name", ATTACKS)
def test_one_request_is_one_request(battle: Battle, name: str) -> None:
    expected = ATTACKS[name].numbered(list(ATTACKS).index(name)).arrives
    outcome = battle.outcomes[name]
    complete = [seen.target for seen in outcome.arrived if seen.complete]
    assert complete == list(expected)
    assert len(outcome.arrived) <= max(1, len(expected))
    statuses = [answer.status for answer in outcome.answers]
    assert statuses[: len(expected)] == [200] * len(expected)
    assert set(statuses[len(expected) :]) <= REFUSALS
    assert len(statuses) <= len(expected) + 1
    assert expected or statuses
    for answer, target in zip(outcome.answers, expected, strict=False):
        if answer.body:
            assert json.loads(answer.body)["target"] == target
    for answer in outcome.answers[len(expected) :]:
        assert answer.headers["content-type"] == ["application/problem+json"]
        assert len(answer.headers["x-request-id"]) == 1


def test_what_is_hidden_in_a_request_never_becomes_one(battle: Battle) -> None:
    assert battle.recorder.about("smuggled") == []


def test_every_request_behind_the_gateway_is_readable_in_one_way(battle: Battle) -> None:
    assert battle.recorder.unreadable == []
    for seen in battle.recorder.seen:
        framing = seen.values("Content-Length") + seen.values("Transfer-Encoding")
        assert len(framing) <= 1
        assert framing or not seen.body
        assert len(seen.values("Host")) == 1
        assert seen.values("Host") == [urlsplit(battle.recorder.url).netloc]
        for name in ("Upgrade", "Connection", "TE", "Trailer", "Expect", "HTTP2-Settings"):
            assert seen.values(name) == []
        assert not any("_" in name for name, _ in seen.headers)


def test_trailers_reach_nobody(battle: Battle) -> None:
    for seen in [*battle.recorder.about("attack-"), *battle.recorder.about("customer-")]:
        assert seen.values("Authorization") == []
        assert seen.values("X-Forwarded-For") == ["127.0.0.1"]
        assert seen.values("Content-Length") != ["100"]


def test_each_customer_got_what_was_asked_for(battle: Battle) -> None:
    assert len(battle.customers) > VICTIMS
    assert [one for one in battle.customers if one[0] != one[1]] == []
