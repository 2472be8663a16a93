"""Answers that break off behind a service: nobody gets half an image for a whole one, and none is lost."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests import pictures
from tests.faults.calls import LARGE, Customer
from tests.faults.conftest import ToxicSite
from tests.plugins.toxic import PASS, Manner

FOUND_AGAIN_WITHIN_S = 10


@pytest.mark.parametrize("cut_after", [1, 500_000])
async def test_an_image_whose_claim_got_no_answer_is_given_back(
    site: ToxicSite, customer: Customer, http: aiohttp.ClientSession, cut_after: int
) -> None:
    image_id = (await customer.upload(http, LARGE)).json["imageId"]
    site.proxies["redis"].manner = Manner(cut_after=cut_after)
    refused = await customer.retrieve(http, image_id)
    assert (refused.status, refused.json["code"]) == (503, "redis_unavailable")
    site.proxies["redis"].manner = PASS
    async with asyncio.timeout(FOUND_AGAIN_WITHIN_S):
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
