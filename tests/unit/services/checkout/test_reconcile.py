from __future__ import annotations

import sqlalchemy as sa

from services.checkout.adapters.sql.tables import SESSIONS
from services.checkout.app import reconcile
from shared.persistence.engine import open_database
from tests.unit.services.checkout.shop import Shop


async def findings(shop: Shop) -> list[str]:
    found: list[str] = []
    assert await reconcile(shop.settings(), found.append) == len(found)
    return [finding.partition(":")[0] for finding in found]


async def test_what_fits_together_is_not_listed_and_what_does_not_is(shop: Shop) -> None:
    sessions = []
    for _ in range(4):
        session_id = await shop.session({"imageId": await shop.upload()})
        await shop.press(session_id)
        await shop.status(session_id)
        sessions.append(session_id)
    await shop.session({"imageId": await shop.upload()})
    await shop.until(lambda: len(shop.promoted()) == 4)
    assert await findings(shop) == []
    await shop.stop("checkout")
    settings = shop.settings()
    async with open_database(settings.database_url, settings.data_dir, "checkout") as database:
        for session_id, changes in (
            (sessions[0], {"image_state": "lost"}),
            (sessions[1], {"state": "expired"}),
            (sessions[2], {"review_reason": "Somebody is to look."}),
        ):
            async with database.begin() as connection:
                await connection.execute(
                    sa.update(SESSIONS).where(SESSIONS.c.session_id == session_id).values(**changes)
                )
    next(path for path in shop.promoted() if path.parent.name == sessions[3]).unlink()
    assert sorted(await findings(shop)) == [
        "image without payment",
        "needs review",
        "paid at Stripe, not recorded here",
        "paid without image",
        "paid without image",
    ]
    await shop.start("checkout")
