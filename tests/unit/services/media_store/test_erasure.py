from __future__ import annotations

import itertools
import json
from typing import Any

from services.media_store.adapters.sql.images import SqlImages
from services.media_store.service.erasure import BATCH, PersonEraser
from shared.app.erasure import PATH, ErasureRequest
from shared.auth.access_tokens import sign_service_token
from shared.persistence.engine import open_database
from tests.support import pictures
from tests.support.dying import Death, Killed
from tests.unit.services.media_store.store import INTERNAL_SECRET, Store, bearer, form


async def erase(store: Store, user_id: str, username: str, caller: str = "auth-verify") -> Any:
    headers = {"Authorization": f"Bearer {sign_service_token(INTERNAL_SECRET, caller=caller, audience='media-store')}"}
    return await store.call("POST", PATH, json={"user_id": user_id, "username": username}, headers=headers)


async def upload(store: Store, headers: dict[str, str], username: str) -> None:
    data = form(pictures.png(), username=username, image_type="gallery", is_primary="true")
    assert (await store.call("POST", "/api/upload_user_image/", data=data, headers=headers)).status == 200


async def test_all_images_and_the_name_go_and_nobody_elses(store: Store) -> None:
    own = bearer("id-1", username="Sam")
    for username in ("Sam", "sam"):
        await upload(store, own, username)
    listed = (await store.listed("sam"))["images"]
    assert (await store.call("GET", f"/api/user_image/{listed[0]['id']}/serve/?w=160")).status == 200
    await upload(store, bearer("root", admin=True), "sam")
    await upload(store, bearer("id-2", username="ann"), "ann")
    await store.store(pictures.png())
    while not (answer := await erase(store, "id-1", "SAM")).json["done"]:
        assert answer.status == 200
    assert (await store.listed("sam"))["images"] == []
    assert (await store.listed("ann"))["count"] == 1
    objects, rows, _ = await store.everything()
    assert (len(objects), len(rows)) == (2, 3)
    assert "sam" not in repr((objects, rows)).lower()
    await upload(store, bearer("id-3", username="sam"), "sam")  # the name is free again


async def test_what_an_admin_uploaded_for_somebody_goes_and_another_persons_name_stays(store: Store) -> None:
    await upload(store, bearer("root", admin=True), "sam")
    await upload(store, bearer("id-2", username="ann"), "ann")
    for _ in range(3):
        assert (await erase(store, "id-1", "sam")).status == 200
        assert (await erase(store, "id-1", "ann")).status == 200
        assert (await erase(store, "nobody", "")).json == {"done": True}
    assert (await store.listed("sam"))["count"] == 0
    assert (await store.listed("ann"))["count"] == 1


async def test_without_a_name_only_what_the_person_owns_goes(store: Store) -> None:
    await upload(store, bearer("id-1", username="sam"), "sam")
    while not (await erase(store, "id-1", "sam")).json["done"]:
        pass
    await upload(store, bearer("root", admin=True), "sam")  # for the next sam
    await upload(store, bearer("id-1", username="sammy"), "sammy")  # what was under way
    while not (await erase(store, "id-1", "")).json["done"]:
        pass
    assert (await store.listed("sam"))["count"] == 1
    assert (await store.listed("sammy"))["count"] == 0


async def test_it_is_for_services_alone(local: Store) -> None:
    body = json.dumps({"user_id": "id-1", "username": "sam"})
    for headers in ({}, bearer("root", admin=True)):
        typed = {**headers, "Content-Type": "application/json"}
        assert (await local.call("POST", PATH, data=body, headers=typed)).status == 401


async def test_whoever_dies_at_any_step_the_next_call_goes_on_to_the_end(store: Store) -> None:
    async with open_database(store.settings.database_url, store.settings.data_dir, "media-store") as database:
        images = SqlImages(database)
        for step in itertools.count():
            death, who = Death(step), ErasureRequest(user_id="id-1", username="sam")
            for _ in range(2):
                await upload(store, bearer("id-1", username="sam"), "sam")
            try:
                await PersonEraser(death.to(images), death.to(store.service)).erase(who)
                await PersonEraser(death.to(images), death.to(store.service)).erase(who)
                break
            except Killed:
                while not (await erase(store, "id-1", "sam")).json["done"]:
                    pass
                assert await store.everything() == ([], [], [])
        assert step > 8
        assert await store.everything() == ([], [], [])


async def test_many_images_go_a_part_at_a_time(local: Store) -> None:
    for _ in range(BATCH + 1):
        await upload(local, bearer("id-1", username="sam"), "sam")
    done = [(await erase(local, "id-1", "sam")).json["done"] for _ in range(3)]
    assert done == [False, False, True]
