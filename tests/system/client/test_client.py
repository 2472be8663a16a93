"""The JavaScript client in Node against the whole stack: what each call gives, and what refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import pictures
from tests.support.stack import Stack
from tests.system.client.conftest import Script
from tests.unit.services.media_store.store import bucket_settings_of, open_store


async def test_a_photo_is_uploaded_with_its_progress_and_retrieved_once(script: Script) -> None:
    image = pictures.of_bytes(1_000_000)
    said = await script(
        """
        const seen = [];
        const { imageId } = await keepsake.tempImages.upload(photo, { onProgress: (at) => seen.push(at) });
        const [one, two] = await Promise.all([keepsake.tempImages.retrieve(imageId), keepsake.tempImages.retrieve(imageId)]);
        const equal = Buffer.from(await one.arrayBuffer()).equals(await readFile(given.photo));
        const later = await keepsake.tempImages.retrieve(imageId);
        const elsewhere = createKeepsake({ baseUrl: given.url });
        return { seen, equal, type: one.type, same: one === two && one === later,
                 again: await refused(elsewhere.tempImages.retrieve(imageId)) };
        """,
        image=image,
    )
    assert (said["equal"], said["same"], said["type"]) == (True, True, "image/jpeg")
    loaded = [step["loaded"] for step in said["seen"]]
    assert loaded == sorted(loaded)
    assert loaded[-1] == said["seen"][-1]["total"] > len(image)
    assert said["again"]["status"] == 404
    assert said["again"]["detail"] == "Image not found or expired"
    assert said["again"]["requestId"]


async def test_who_stops_waiting_for_an_image_takes_it_from_nobody(script: Script) -> None:
    said = await script(
        """
        const { imageId } = await keepsake.tempImages.upload(photo);
        const first = new AbortController();
        const left = keepsake.tempImages.retrieve(imageId, { signal: first.signal }).catch((error) => error.name);
        first.abort();
        const image = await keepsake.tempImages.retrieve(imageId);
        return { left: await left, size: image.size, sent: photo.size };
        """
    )
    assert said["left"] == "AbortError"
    assert said["size"] == said["sent"]


async def test_an_aborted_upload_is_an_abort_and_not_tried_again(script: Script) -> None:
    said = await script(
        """
        const seen = listen("/api/temp-image-upload");
        const control = new AbortController();
        const upload = keepsake.tempImages.upload(photo, { signal: control.signal, onProgress: () => control.abort() });
        return { name: await upload.catch((error) => error.name), tries: seen.length };
        """,
        image=pictures.of_bytes(2_000_000),
    )
    assert said == {"name": "AbortError", "tries": 1}


async def test_an_effect_and_its_original_are_stored_for_good(script: Script) -> None:
    said = await script(
        """
        const original = await keepsake.images.store(photo, { sessionId: "s1" });
        const comic = await keepsake.images.store(photo, { purpose: "processed_comic", sessionId: "s1", effect: "comic" });
        return { original, comic, status: (await fetch(comic.url)).status };
        """
    )
    assert said["original"]["key"].startswith("pet-images/s1_original_")
    assert said["comic"]["key"].startswith("pet-images/s1_processed_comic_")
    assert said["status"] == 200


async def test_a_refusal_has_its_code_status_sentence_and_request_id(script: Script) -> None:
    said = await script(
        """
        const page = new File(["<html>"], "cat.html", { type: "text/html" });
        const login = { username: "nobody", password: "wrong" };
        return [await refused(keepsake.images.store(page)), await refused(keepsake.auth.login(login)),
                await refused(keepsake.images.store(photo, { purpose: "framed" }))];
        """
    )
    unsupported, unauthorized, purpose = said
    assert unsupported["status"] == 415
    assert unauthorized["status"] == 401
    assert purpose["status"] == 400
    for error in said:
        assert error["code"]
        assert error["detail"].endswith(".")
        assert error["requestId"]


async def test_profile_pictures_are_uploaded_listed_chosen_and_removed(script: Script) -> None:
    said = await script(
        """
        const username = await newcomer();
        const first = await keepsake.userImages.upload(photo, {
          username, imageType: "profile", isPrimary: true, caption: "A < B",
        });
        const second = await keepsake.userImages.upload(photo, { username, imageType: "profile" });
        await keepsake.userImages.setPrimary(second.image.id);
        const both = await keepsake.userImages.list(username);
        await keepsake.userImages.remove(first.image.id);
        const one = await keepsake.userImages.list(username, { imageType: "profile", limit: 5 });
        return { first: first.image, second: second.image.id, both, one };
        """
    )
    assert said["first"]["is_primary"]
    assert said["first"]["caption"] == "A < B"
    assert [image["is_primary"] for image in said["both"]["images"]] == [True, False]
    assert [image["id"] for image in said["one"]["images"]] == [said["second"]]


async def test_a_member_uploads_for_an_organisation_and_promotes_it(script: Script) -> None:
    said = await script(
        """
        await newcomer();
        const { id } = await keepsake.organizations.create("Events");
        const seen = [];
        const uploaded = await keepsake.organizations(id).upload(photo, { onProgress: (at) => seen.push(at) });
        const shown = await fetch(uploaded.publicUrl);
        const nameless = await keepsake.organizations(id).upload(new Blob([photo]));
        return { id, uploaded, seen, nameless, shown: shown.status, promoted: await keepsake.organizations(id).promote(uploaded),
                 members: await keepsake.organizations(id).members(), list: await keepsake.organizations.list() };
        """
    )
    assert said["uploaded"]["publicUrl"] == said["uploaded"]["public_url"]
    assert said["shown"] == 200
    assert said["promoted"]["key"].startswith(f"events/{said['id']}/")
    assert said["nameless"]["s3_key"].endswith("-photo.jpg")
    assert said["seen"][-1]["loaded"] == said["seen"][-1]["total"]
    assert [member["role"] for member in said["members"]["members"]] == ["owner"]
    assert [organization["id"] for organization in said["list"]["organizations"]] == [said["id"]]


@pytest.mark.parametrize("fields", ['{ petName: "Max" }', '{ pet_name: "Max" }'])
async def test_an_order_is_placed_read_and_removed(script: Script, fields: str) -> None:
    said = await script(
        f"""
        await newcomer();
        const seen = [];
        const placed = await keepsake.orders.create([photo, photo], {fields}, {{ onProgress: (at) => seen.push(at) }});
        const id = placed.order_id;
        const {{ order }} = await keepsake.orders.get(id);
        const image = await keepsake.orders.photo(id, order.files[0].filename);
        const thumbnail = await keepsake.orders.photo(id, order.files[0].filename, {{ size: "thumb" }}); // once it is made
        const list = await keepsake.orders.list({{ status: "pending" }});
        await keepsake.orders.remove(id);
        const gone = await refused(keepsake.orders.get(id));
        return {{ order, list, seen, gone, thumbnail: thumbnail.type, size: image.size, sent: photo.size }};
        """
    )
    assert said["order"]["pet_name"] == "Max"
    assert said["thumbnail"] == "image/webp"
    assert said["list"]["count"] == 1
    assert said["size"] == said["sent"]
    assert said["seen"]
    assert said["gone"]["status"] == 404


async def test_a_photo_is_bought_and_stays_with_the_session(script: Script, stack: Stack) -> None:
    opened = await script(
        """
        const { imageId } = await keepsake.tempImages.upload(photo);
        const session = await keepsake.checkout.open({ imageId, quantity: 2 });
        return { ...session, early: await refused(keepsake.checkout.image(session.session_id)) };
        """
    )
    assert opened["early"]["code"] == "not_paid"
    pay = f"{stack.url('stripe-sandbox')}/pay/{opened['session_id']}"
    async with aiohttp.ClientSession() as http, http.post(pay, data={"action": "pay"}, allow_redirects=False):
        pass
    said = await script(
        """
        const status = await keepsake.checkout.status(given.session);
        return { status, size: (await keepsake.checkout.image(given.session)).size, sent: photo.size };
        """,
        session=opened["session_id"],
    )
    assert (said["status"]["status"], said["status"]["amount_total"]) == ("complete", 400)
    assert said["size"] == said["sent"]


async def test_a_file_goes_straight_to_the_bucket_with_its_progress(script: Script, s3: Any, tmp_path: Path) -> None:
    async with open_store(bucket_settings_of(tmp_path, s3)) as store:
        said = await script(
            """
            const api = await serve([200, { "Content-Type": "application/json" }, JSON.stringify(given.signed)]);
            const seen = [];
            const { publicUrl } = await createKeepsake({ baseUrl: api.url })
              .organizations("o1").upload(photo, { onProgress: (at) => seen.push(at) });
            return { publicUrl, seen };
            """,
            signed=(await store.sign()).json,
        )
        assert said["seen"][-1]["loaded"] == said["seen"][-1]["total"]
        assert (await store.call("GET", said["publicUrl"])).body == pictures.jpeg()
