"""Redis, PostgreSQL, S3, auth-verify and Stripe stopped, silent, slow or cut off in the middle, and well again."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from dataclasses import replace

import aiohttp
import pytest

from tests.support import pictures
from tests.support.toxic import BLACK_HOLE, CUT, PASS, REFUSE, TRICKLE, Manner, ToxicProxy
from tests.system.faults.calls import CALLS, LARGE, Answer, Call, Customer, sign_in
from tests.system.faults.conftest import ToxicSite

# Twice what each is promised to take, for machines that do other things at the same time.
ANSWERED_WITHIN_S = 6
PAYMENT_ANSWERED_WITHIN_S = 20
WELL_AGAIN_WITHIN_S = 10
AT_ONCE = 4

CODES = {
    "redis": {"redis_unavailable"},
    "database": {"database_unavailable", "auth_verify_unavailable"},  # the second where auth-verify is asked
    "storage": {"storage_unavailable"},
    "auth-verify": {"auth_verify_unavailable"},
    "stripe": {"payment_provider_unavailable"},
}
# Silent ones take their time before they are given up: those that no call needs together are silent together.
TOGETHER = [("redis",), ("database",), ("storage", "auth-verify", "stripe")]
CASES = [
    *(pytest.param((name,), REFUSE, id=f"{name}, stopped") for name in CODES),
    *(pytest.param((name,), CUT, id=f"{name}, cut in the middle") for name in CODES),
    *(pytest.param(names, BLACK_HOLE, id=f"{' and '.join(names)}, a black hole") for names in TOGETHER),
    *(pytest.param(names, TRICKLE, id=f"{' and '.join(names)}, slow") for names in TOGETHER),
]


def affected_by(dependency: str) -> list[str]:
    # What auth-verify answers itself is not here: the gateway's words for a service that is away are in tests/unit/gateway.
    return [name for name, call in CALLS.items() if dependency in call.needs and dependency != call.service]


async def answered(call: Call, customer: Customer, http: aiohttp.ClientSession) -> Answer:
    async with asyncio.timeout(PAYMENT_ANSWERED_WITHIN_S if call.service == "checkout" else ANSWERED_WITHIN_S):
        return await call.send(customer, http)


def require_clear_refusal(answer: Answer, dependency: str) -> None:
    assert answer.status in ({502, 503} if dependency == "stripe" else {503})
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["status"] == answer.status
    assert answer.json["code"] in CODES[dependency]
    assert answer.json["error"] == answer.json["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


async def until_fine(name: str, customer: Customer, http: aiohttp.ClientSession) -> None:
    call = CALLS[name]
    async with asyncio.timeout(WELL_AGAIN_WITHIN_S):
        while (answer := await call.send(customer, http)).status != call.fine:
            assert answer.status in {502, 503}, (name, answer)
            await asyncio.sleep(0.1)


async def all_fine(customer: Customer, http: aiohttp.ClientSession) -> None:
    await asyncio.gather(*(until_fine(name, customer, http) for name in CALLS))


async def until_no_more_than(connections: int, proxy: ToxicProxy) -> None:
    """Wait for what goes on in the background to give up too."""
    async with asyncio.timeout(WELL_AGAIN_WITHIN_S):
        while proxy.connections > connections:  # noqa: ASYNC110 - the proxy's loop is another
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("away", "manner"), CASES)
async def test_what_needs_it_says_so_in_time_and_the_rest_goes_on_and_it_recovers_by_itself(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession, away: tuple[str, ...], manner: Manner
) -> None:
    affected = [(name, dependency) for dependency in away for name in affected_by(dependency)] * AT_ONCE
    others = [name for name, call in CALLS.items() if (call.needs | call.needs_at_times).isdisjoint(away)]
    before = {name: site.proxies[name].connections for name in away}

    for name in away:
        site.proxies[name].manner = manner
    answers = await asyncio.gather(
        *(answered(CALLS[name], customer, http) for name in [*(name for name, _ in affected), *others])
    )
    for (_, dependency), answer in zip(affected, answers, strict=False):
        require_clear_refusal(answer, dependency)
    for name, answer in zip(others, answers[len(affected) :], strict=True):
        assert answer.status == CALLS[name].fine, name
    for name, connections in before.items():
        await until_no_more_than(connections, site.proxies[name])

    for name in away:
        site.proxies[name].manner = PASS
    await all_fine(customer, http)


async def test_what_is_only_late_is_waited_for(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession
) -> None:
    for proxy in site.proxies.values():
        proxy.manner = Manner(delay_s=0.03)
    answers = await asyncio.gather(*(call.send(customer, http) for call in CALLS.values()))
    assert [answer.status for answer in answers] == [call.fine for call in CALLS.values()]


@pytest.mark.parametrize("manner", [REFUSE, BLACK_HOLE], ids=["stopped", "a black hole"])
async def test_tokens_are_verified_with_remembered_keys_while_auth_verify_is_away(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession, manner: Manner
) -> None:
    """With tokens that nobody has seen before, so that none of them is remembered itself."""
    tokens = [(await sign_in(http, customer.door, customer.username)).json["access_token"] for _ in range(2)]
    site.proxies["auth-verify"].manner = manner
    forged = [f"{tokens[0].rpartition('.')[0]}.{'A' * 86}", under_another_key(tokens[1])]

    async def ask(token: str) -> int:
        return (await replace(customer, token=token).call(http, "GET", "/api/images/orders")).status

    async with asyncio.timeout(ANSWERED_WITHIN_S):
        answers = await asyncio.gather(*(ask(token) for token in [*tokens, *forged]))
    assert answers == [200, 200, 401, 401]


def under_another_key(token: str) -> str:
    header = json.dumps({"alg": "EdDSA", "typ": "JWT", "kid": secrets.token_hex(8)}).encode()
    return f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.{token.partition('.')[2]}"


@pytest.mark.parametrize("cut_after", [1, 500_000])
async def test_an_image_whose_claim_got_no_answer_is_given_back(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession, cut_after: int
) -> None:
    image_id = (await customer.upload(http, LARGE)).json["imageId"]
    site.proxies["redis"].manner = Manner(cut_after=cut_after)
    refused = await customer.retrieve(http, image_id)
    assert (refused.status, refused.json["code"]) == (503, "redis_unavailable")
    site.proxies["redis"].manner = PASS
    async with asyncio.timeout(WELL_AGAIN_WITHIN_S):
        while (found := await customer.retrieve(http, image_id)).status != 200:
            assert found.status in {404, 503}
            await asyncio.sleep(0.1)
    assert found.body == LARGE
    assert (await customer.retrieve(http, image_id)).status == 404


async def test_an_object_that_breaks_off_never_looks_complete(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession
) -> None:
    stored = (await customer.store(http, pictures.saved(pictures.noise(600, 400), "PNG"))).json
    path = stored["url"].removeprefix(customer.door)
    site.proxies["storage"].manner = Manner(cut_after=stored["size"] // 2)
    with pytest.raises(aiohttp.ClientPayloadError):
        await customer.call(http, "GET", path)
    site.proxies["storage"].manner = PASS
    whole = await customer.call(http, "GET", path)
    assert (whole.status, len(whole.body)) == (200, stored["size"])


@pytest.mark.parametrize(
    "process", ["gateway", "auth-verify", "temp-image", "media-store", "checkout", "planter-orders"]
)
def test_no_failure_of_ours_was_among_them(site: ToxicSite, process: str) -> None:
    """Every refusal is one that was meant: no 500, and nothing that a library or the loop had to catch."""
    log = site.stack.log(process)
    assert '"event": "request_failed"' not in log
    assert [line for line in log.splitlines() if not line.startswith("{")] == []
