from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from services.temp_image.model import ClaimLapsed, ImageGone, new_secret
from shared.errors import UnsupportedMedia
from tests.support import pictures
from tests.unit.services.temp_image.stores import HOUR_S, Stores, keep

SMALL = pictures.jpeg()
LARGE = pictures.of_bytes(700_000, "PNG")


async def claims(stores: Stores, image_id: str) -> bool:
    """Tell whether the public can have the image; if so, it is given back at once."""
    claim = new_secret()
    try:
        await stores.store.claim(image_id, claim)
    except ImageGone:
        return False
    await stores.store.release(image_id, claim)
    return True


async def use_up(stores: Stores, image_id: str) -> None:
    claim = new_secret()
    await stores.store.claim(image_id, claim)
    await stores.store.confirm(image_id, claim)


async def is_held(stores: Stores, image_id: str, holder: str) -> bool:
    try:
        await stores.store.read_held(image_id, holder)
    except ImageGone:
        return False
    return True


class TestKeeping:
    @pytest.mark.parametrize(
        ("image", "content_type"), [(SMALL, "image/jpeg"), (LARGE, "image/png")], ids=["small", "large"]
    )
    async def test_the_exact_bytes_come_back_with_their_own_type(
        self, stores: Stores, image: bytes, content_type: str
    ) -> None:
        image_id = await keep(stores, image)
        kept = await stores.store.claim(image_id, new_secret())
        assert bytes(kept.content) == image
        assert kept.content_type == content_type

    @pytest.mark.parametrize(
        ("image", "content_type"), [(SMALL, "image/jpeg"), (LARGE, "image/png")], ids=["small", "large"]
    )
    async def test_describing_does_not_use_an_image_up(self, stores: Stores, image: bytes, content_type: str) -> None:
        image_id = await keep(stores, image)
        for _ in range(2):
            description = await stores.store.describe(image_id)
            assert (description.content_type, description.size) == (content_type, len(image))

    @pytest.mark.parametrize("refused", [b"no image", b"no image" * 100_000], ids=["small", "large"])
    async def test_nothing_remains_of_what_the_check_refuses(self, stores: Stores, refused: bytes) -> None:
        with pytest.raises(UnsupportedMedia):
            await keep(stores, refused)
        assert await stores.leftovers() == []

    async def test_an_id_that_was_never_given_out_is_gone(self, stores: Stores) -> None:
        assert not await claims(stores, uuid4().hex)
        with pytest.raises(ImageGone):
            await stores.store.describe(uuid4().hex)

    async def test_the_store_is_ready(self, stores: Stores) -> None:
        await stores.store.check()


class TestExpiry:
    async def test_an_image_is_there_until_its_hour_and_not_after(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.pass_time(HOUR_S - 5)
        assert await claims(stores, image_id)
        await stores.pass_time(6)
        assert not await claims(stores, image_id)
        with pytest.raises(ImageGone):
            await stores.store.describe(image_id)

    async def test_nothing_remains_of_an_expired_image(self, stores: Stores) -> None:
        await keep(stores, SMALL)
        await keep(stores, LARGE)
        await stores.pass_time(HOUR_S + 1)
        assert await stores.leftovers() == []

    async def test_an_image_that_expires_while_it_is_sent_can_be_confirmed(self, stores: Stores) -> None:
        image_id, claim = await keep(stores, SMALL, ttl_s=10), new_secret()
        await stores.store.claim(image_id, claim)
        await stores.pass_time(11)
        await stores.leftovers()
        await stores.store.confirm(image_id, claim)
        assert await stores.leftovers() == []


class TestClaiming:
    async def test_of_fifty_claims_at_once_one_succeeds(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        answers = await asyncio.gather(
            *(stores.store.claim(image_id, new_secret()) for _ in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, ImageGone) for answer in answers) == 49

    async def test_a_claimed_image_is_nobody_elses(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.claim(image_id, new_secret())
        assert not await claims(stores, image_id)
        with pytest.raises(ImageGone):
            await stores.store.describe(image_id)

    async def test_a_confirmed_image_is_gone_and_leaves_nothing(self, stores: Stores) -> None:
        image_id = await keep(stores, LARGE)
        await use_up(stores, image_id)
        assert not await claims(stores, image_id)
        assert await stores.leftovers() == []

    async def test_a_released_image_can_be_claimed_again(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        assert await claims(stores, image_id)
        assert await claims(stores, image_id)

    async def test_a_claim_lapses_after_thirty_seconds(self, stores: Stores) -> None:
        image_id, claim = await keep(stores, SMALL), new_secret()
        await stores.store.claim(image_id, claim)
        await stores.pass_time(25)
        assert not await claims(stores, image_id)
        await stores.pass_time(6)
        assert await claims(stores, image_id)
        for settle in (stores.store.confirm, stores.store.release, stores.store.renew):
            with pytest.raises(ClaimLapsed):
                await settle(image_id, claim)

    async def test_a_renewed_claim_stands_for_thirty_more_seconds(self, stores: Stores) -> None:
        image_id, claim = await keep(stores, SMALL), new_secret()
        await stores.store.claim(image_id, claim)
        for _ in range(3):
            await stores.pass_time(25)
            await stores.store.renew(image_id, claim)
        await stores.store.confirm(image_id, claim)
        assert not await claims(stores, image_id)

    async def test_a_late_confirmation_does_not_take_the_next_claim(self, stores: Stores) -> None:
        image_id, first, second = await keep(stores, SMALL), new_secret(), new_secret()
        await stores.store.claim(image_id, first)
        await stores.pass_time(31)
        await stores.store.claim(image_id, second)
        with pytest.raises(ClaimLapsed):
            await stores.store.confirm(image_id, first)
        await stores.store.release(image_id, second)
        assert await claims(stores, image_id)

    @pytest.mark.parametrize("settle", ["confirm", "release", "renew"])
    async def test_what_was_not_claimed_cannot_be_settled(self, stores: Stores, settle: str) -> None:
        for image_id in (await keep(stores, SMALL), uuid4().hex):
            with pytest.raises(ClaimLapsed):
                await getattr(stores.store, settle)(image_id, new_secret())


class TestHolding:
    async def test_a_held_image_stays_public_past_its_hour_until_the_hold_ends(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        held = await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        assert (held.content_type, held.size) == ("image/jpeg", len(SMALL))
        await stores.pass_time(HOUR_S + 60)
        await stores.leftovers()
        assert await claims(stores, image_id)
        await stores.pass_time(HOUR_S)
        assert not await claims(stores, image_id)
        assert not await is_held(stores, image_id, "cs_1")
        assert await stores.leftovers() == []

    @pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
    async def test_a_retrieve_leaves_the_held_bytes_to_the_holder_alone(self, stores: Stores, image: bytes) -> None:
        image_id = await keep(stores, image)
        await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        await use_up(stores, image_id)
        await stores.leftovers()
        assert not await claims(stores, image_id)
        with pytest.raises(ImageGone):
            await stores.store.describe(image_id)
        assert not await is_held(stores, image_id, "cs_2")
        assert bytes((await stores.store.read_held(image_id, "cs_1")).content) == image
        await stores.store.release_hold(image_id, "cs_1")
        assert await stores.leftovers() == []

    async def test_what_was_retrieved_can_be_held_on_by_its_holder_and_by_nobody_else(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 600)
        await use_up(stores, image_id)
        await stores.store.hold(image_id, "cs_1", stores.now() + 3 * HOUR_S)
        with pytest.raises(ImageGone):
            await stores.store.hold(image_id, "cs_2", stores.now() + 600)
        await stores.pass_time(2 * HOUR_S)
        assert await is_held(stores, image_id, "cs_1")
        await stores.pass_time(HOUR_S + 1)
        assert await stores.leftovers() == []

    async def test_an_image_that_is_let_go_lives_until_its_hour(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        await stores.pass_time(60)
        await stores.store.release_hold(image_id, "cs_1")
        assert not await is_held(stores, image_id, "cs_1")
        assert await claims(stores, image_id)
        await stores.pass_time(HOUR_S - 50)
        assert not await claims(stores, image_id)
        assert await stores.leftovers() == []

    async def test_an_image_that_is_let_go_past_its_hour_is_gone(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        await stores.pass_time(HOUR_S + 60)
        await stores.store.release_hold(image_id, "cs_1")
        assert not await claims(stores, image_id)
        assert await stores.leftovers() == []

    async def test_a_shorter_hold_does_not_shorten_the_hour(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 60)
        await stores.pass_time(120)
        assert not await is_held(stores, image_id, "cs_1")
        await stores.leftovers()
        assert await claims(stores, image_id)

    async def test_the_last_of_several_holders_decides(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        await stores.store.hold(image_id, "cs_2", stores.now() + 3 * HOUR_S)
        await use_up(stores, image_id)
        await stores.store.release_hold(image_id, "cs_2")
        assert await is_held(stores, image_id, "cs_1")
        await stores.pass_time(2 * HOUR_S + 1)
        assert not await is_held(stores, image_id, "cs_1")
        assert await stores.leftovers() == []

    async def test_a_claimed_image_cannot_be_held_anew_but_held_on(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.hold(image_id, "cs_1", stores.now() + 600)
        await stores.store.claim(image_id, new_secret())
        await stores.store.hold(image_id, "cs_1", stores.now() + 700)
        with pytest.raises(ImageGone):
            await stores.store.hold(image_id, "cs_2", stores.now() + 600)

    async def test_a_hold_let_go_during_a_delivery_leaves_the_delivery_alone(self, stores: Stores) -> None:
        image_id, claim = await keep(stores, LARGE), new_secret()
        await stores.store.hold(image_id, "cs_1", stores.now() + 2 * HOUR_S)
        await stores.pass_time(HOUR_S + 60)
        sent = await stores.store.claim(image_id, claim)
        await stores.store.release_hold(image_id, "cs_1")
        assert bytes(sent.content) == LARGE
        await stores.pass_time(31)
        assert await stores.leftovers() == []

    async def test_what_is_gone_cannot_be_held(self, stores: Stores) -> None:
        used = await keep(stores, SMALL)
        await use_up(stores, used)
        expired = await keep(stores, SMALL, ttl_s=10)
        await stores.pass_time(11)
        for image_id in (used, expired, uuid4().hex):
            with pytest.raises(ImageGone):
                await stores.store.hold(image_id, "cs_1", stores.now() + 600)

    async def test_letting_go_of_nothing_is_no_error(self, stores: Stores) -> None:
        image_id = await keep(stores, SMALL)
        await stores.store.release_hold(image_id, "cs_1")
        await stores.store.release_hold(uuid4().hex, "cs_1")
        assert await claims(stores, image_id)
