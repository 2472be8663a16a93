"""An upload that is sent again with its key is the same upload."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import pictures
from tests.unit.services.media_store.store import Answer, Store, bearer, form

PHOTO, OTHER = pictures.jpeg(), pictures.png()
CALLS = {
    "/store-image": {"session_id": "s"},
    "/api/upload_user_image/": {"username": "ann", "image_type": "gallery"},
}


async def send(
    store: Store, path: str, image: bytes = PHOTO, *, key: str = "k", user: str = "ann", **fields: str
) -> Answer:
    headers = {"Idempotency-Key": key, **bearer(user)}
    return await store.call("POST", path, data=form(image, **{**CALLS[path], **fields}), headers=headers)


@pytest.mark.parametrize("path", CALLS)
class TestEither:
    async def test_the_same_again_gives_the_first_answer(self, store: Store, path: str) -> None:
        first, again = await send(store, path), await send(store, path)
        assert (first.status, again.status) == (200, 200)
        assert again.json == first.json
        assert len(await store.object_keys()) == 1

    async def test_other_content_is_refused(self, local: Store, path: str) -> None:
        assert (await send(local, path)).status == 200
        changed: dict[str, Any] = {"/store-image": {"session_id": "t"}, "/api/upload_user_image/": {"caption": "x"}}[
            path
        ]
        for answer in (await send(local, path, OTHER), await send(local, path, **changed)):
            assert (answer.status, answer.json["code"]) == (422, "idempotency_key_reused")
        assert len(await local.object_keys()) == 1

    async def test_of_many_at_once_one_is_kept(self, store: Store, path: str) -> None:
        answers = await asyncio.gather(*(send(store, path) for _ in range(6)))
        assert {answer.status for answer in answers} <= {200, 409}
        assert len({answer.body for answer in answers if answer.status == 200}) == 1
        assert len(await store.object_keys()) == 1

    async def test_a_refusal_comes_again_and_leaves_nothing(self, local: Store, path: str) -> None:
        for _ in range(2):
            assert (await send(local, path, b"no image")).status == 415
        assert await local.everything() == ([], [], [])

    async def test_a_malformed_key_is_refused(self, local: Store, path: str) -> None:
        assert (await send(local, path, key="k" * 256)).status == 422


async def test_a_key_is_its_callers_own(local: Store) -> None:
    assert (await send(local, "/store-image", user="ann")).status == 200
    assert (await send(local, "/store-image", OTHER, user="bob")).status == 200
    assert len(await local.object_keys()) == 2
