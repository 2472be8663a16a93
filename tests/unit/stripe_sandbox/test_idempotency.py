from __future__ import annotations

import asyncio
from typing import Any

import pytest
import stripe
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.support.stripe_sandbox import Sandbox, StartSandbox, line_item, session_params

KEY = {"idempotency_key": "one"}


async def count(sandbox: Sandbox) -> int:
    return len((await sandbox.client.v1.checkout.sessions.list_async()).data)


async def test_the_same_key_and_parameters_give_the_first_answer_again(sandbox: Sandbox) -> None:
    create = sandbox.client.v1.checkout.sessions.create_async
    first = await create(session_params(), KEY)
    await sandbox.client.v1.checkout.sessions.expire_async(first.id)
    again = await create(session_params(), KEY)
    assert (again.id, again.status) == (first.id, "open")
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert await count(sandbox) == 1


async def test_the_same_key_with_other_parameters_or_another_path_is_refused(sandbox: Sandbox) -> None:
    sessions = sandbox.client.v1.checkout.sessions
    first = await sessions.create_async(session_params(), KEY)
    with pytest.raises(stripe.IdempotencyError) as refused:
        await sessions.create_async(session_params(line_items=[line_item(300)]), KEY)
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        await sessions.expire_async(first.id, {}, KEY)


async def test_a_key_is_forgotten_after_a_day(sandbox: Sandbox) -> None:
    create = sandbox.client.v1.checkout.sessions.create_async
    first = await create(session_params(), KEY)
    sandbox.clock.ahead_s = 24 * 3600 + 1
    assert (await create(session_params(), KEY)).id != first.id


async def test_a_key_of_more_than_255_characters_is_refused(sandbox: Sandbox) -> None:
    create = sandbox.client.v1.checkout.sessions.create_async
    with pytest.raises(stripe.InvalidRequestError):
        await create(session_params(), {"idempotency_key": "k" * 256})
    await create(session_params(), {"idempotency_key": "k" * 255})


async def test_a_key_whose_first_request_still_runs_is_in_use(start_sandbox: StartSandbox) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_request: web.Request) -> None:
        begun.set()
        await go_on.wait()

    sandbox = await start_sandbox(interrupt=hold)
    create = sandbox.client.v1.checkout.sessions.create_async
    first = asyncio.create_task(create(session_params(), KEY))
    await begun.wait()
    with pytest.raises(stripe.APIError) as refused:
        await create(session_params(), KEY)
    assert refused.value.http_status == 409
    body: Any = refused.value.json_body
    assert body["error"]["code"] == "idempotency_key_in_use"
    go_on.set()
    assert (await first).status == "open"


async def test_what_was_refused_before_it_was_executed_is_not_remembered(sandbox: Sandbox) -> None:
    create = sandbox.client.v1.checkout.sessions.create_async
    with pytest.raises(stripe.InvalidRequestError):
        await create(session_params(ui_mode="embedded"), KEY)
    assert (await create(session_params(), KEY)).status == "open"


async def test_a_refusal_that_was_executed_is_replayed(sandbox: Sandbox) -> None:
    sessions = sandbox.client.v1.checkout.sessions
    session = await sandbox.create()
    await sessions.expire_async(session.id)
    answers: list[Any] = []
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await sessions.expire_async(session.id, {}, KEY)
        answers.append(refused.value)
    assert [error.headers.get("Idempotent-Replayed") for error in answers] == [None, "true"]
    assert answers[0].json_body == answers[1].json_body


async def test_an_injected_500_is_remembered_and_one_before_the_api_is_not(start_sandbox: StartSandbox) -> None:
    faults = ["inside"]

    async def fail_inside(_request: web.Request) -> web.Response | None:
        return web.json_response({"error": {"type": "api_error"}}, status=500) if faults.pop() == "inside" else None

    sandbox = await start_sandbox(interrupt=fail_inside)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            await sandbox.client.v1.checkout.sessions.create_async(session_params(), KEY)
        assert failed.value.http_status == 500
    assert failed.value.headers is not None
    assert failed.value.headers["Idempotent-Replayed"] == "true"


async def test_an_answer_that_was_lost_is_there_for_the_retry(start_sandbox: StartSandbox) -> None:
    lost = [True]

    @web.middleware
    async def lose(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        return web.json_response({"error": {"type": "api_error"}}, status=500) if lost and lost.pop() else answer

    sandbox = await start_sandbox(middlewares=[lose])
    create = sandbox.client.v1.checkout.sessions.create_async
    session = await create(session_params(), {"max_network_retries": 1})
    assert session.last_response.headers["Idempotent-Replayed"] == "true"
    assert await count(sandbox) == 1
