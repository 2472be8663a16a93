"""The client's calls for whoever runs the shop."""

from __future__ import annotations

import aiohttp

from tests.support.stack import Stack
from tests.system.client.conftest import Script, admin_token

BOSS = """
const boss = createAdmin(createKeepsake({ baseUrl: given.url, getToken: () => given.token }));
"""


async def test_orders_are_found_moved_and_exported(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS
        + """
        await newcomer();
        const { order_id: id } = await keepsake.orders.create([photo], { petName: "Bello" });
        const moved = await boss.orders.move(id, "paid", { note: "Paid in the shop" });
        const illegal = await refused(boss.orders.move(id, "delivered"));
        const { orders } = await boss.orders.list({ status: "paid", limit: 50 });
        const csv = await (await boss.orders.csv({ status: "paid" })).text();
        return { id, moved, illegal, found: orders.some((order) => order.order_id === id), csv: csv.includes(id),
                 customer: await refused(createAdmin(keepsake).orders.list()) };
        """,
        token=admin_token(stack),
    )
    assert said["moved"]["order"]["status"] == "paid"
    assert said["illegal"]["status"] == 409
    assert (said["found"], said["csv"]) == (True, True)
    assert said["customer"]["status"] == 403


async def test_payments_are_listed_and_given_back(script: Script, stack: Stack) -> None:
    opened = await script("return keepsake.checkout.open({ sku: 'hero-me-board', quantity: 3 });")
    pay = f"{stack.url('stripe-sandbox')}/pay/{opened['session_id']}"
    async with aiohttp.ClientSession() as http, http.post(pay, data={"action": "pay"}, allow_redirects=False):
        pass
    said = await script(
        BOSS
        + """
        const status = await keepsake.checkout.status(given.session); // settles it, should the webhook still be on its way
        const refund = await boss.payments.refund({ sessionId: given.session, amount: 200, reason: "One was broken" });
        const { payments } = await boss.payments.list({ limit: 100 });
        return { refund, payment: payments.find((each) => each.session_id === given.session),
                 decided: await refused(boss.payments.resolve(given.session, "fulfil", "Looked at it")) };
        """,
        token=admin_token(stack),
        session=opened["session_id"],
    )
    assert said["refund"]["amount"] == 200
    assert said["payment"]["amount_total"] == 600
    assert said["payment"]["quantity"] == 3
    assert said["decided"]["status"] == 409


async def test_images_are_taken_down_by_key_and_by_id(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS
        + """
        const stored = await keepsake.images.store(photo);
        const username = await newcomer();
        await keepsake.userImages.upload(photo, { username, imageType: "gallery" });
        const { images: [image] } = await boss.images.list({ username, kind: "user" });
        await boss.images.remove({ key: stored.key, kind: "stored" });
        await boss.images.remove(image);
        return { stored: (await fetch(stored.url)).status, left: (await keepsake.userImages.list(username)).count };
        """,
        token=admin_token(stack),
    )
    assert said == {"stored": 404, "left": 0}


async def test_the_storage_is_described_and_probed(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS + "return { status: await boss.storage.status(), probe: await boss.storage.probe() };",
        token=admin_token(stack),
    )
    assert said["status"]["backend"] == "local"
    assert [step["step"] for step in said["probe"]["steps"]] == ["write", "read", "compare", "delete"]


async def test_users_are_found_and_shut_out(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS
        + """
        const username = await newcomer();
        const { users: [user] } = await boss.users.list({ query: username });
        const disabled = await boss.users.change(user.id, { disabled: true });
        const changes = [];
        keepsake.auth.onChange((signedIn) => changes.push(signedIn));
        return { username, user, disabled, out: await refused(keepsake.orders.list()), changes };
        """,
        token=admin_token(stack),
    )
    assert said["user"]["username"] == said["username"]
    assert said["disabled"]["disabled"]
    assert said["out"]["status"] == 401
    assert said["changes"] == [False]


async def test_a_better_photo_is_asked_for_and_sent_and_both_are_told(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS
        + """
        await newcomer();
        const { order_id: id, order_metadata } = await keepsake.orders.create([photo, photo], { petName: "Bello" });
        await boss.orders.move(id, "paid");
        const [{ filename }, { filename: other }] = order_metadata.files;
        const asked = await boss.orders.requestPhoto(id, { filename, reason: "blurred", note: "His ears, please" });
        await boss.orders.requestPhoto(id, { filename: other, reason: "small" });
        await boss.orders.withdrawRequest(id, other);
        const before = await boss.orders.summary();
        const { orders } = await boss.orders.list({ photoRequests: "open", limit: 100 });
        const told = [];
        const control = new AbortController();
        const following = (async () => {
          for await (const event of keepsake.orders.events(id, { signal: control.signal })) {
            if (event.type === "photo" && event.what === "replaced") return event;
          }
        })();
        const replaced = await keepsake.orders.replacePhoto(id, filename, photo, { onProgress: (at) => told.push(at) });
        const event = await following;
        const zip = await keepsake.orders.photos(id);
        return { filename, asked, replaced, event, before, after: await boss.orders.summary(), told: told.length, zip: zip.size,
                 open: orders.map((order) => order.order_id).includes(id), sent: photo.size,
                 fixed: await refused(keepsake.orders.replacePhoto(id, other, photo)) };
        """,
        token=admin_token(stack),
    )
    assert said["asked"]["request"]["note"] == "His ears, please"
    assert said["replaced"]["replaces"] == said["filename"]
    assert said["event"]["filename"] == said["replaced"]["filename"]
    assert said["before"]["photo_requests"] - said["after"]["photo_requests"] == 1
    assert said["told"] > 0
    assert said["zip"] > 2 * said["sent"]
    assert said["open"]
    assert said["fixed"]["code"] == "photo_fixed"


async def test_a_photo_whose_answer_was_lost_is_replaced_once_and_found(script: Script) -> None:
    said = await script(
        """
        await newcomer();
        const { order_id: id, order_metadata } = await keepsake.orders.create([photo]);
        const [{ filename }] = order_metadata.files;
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url, getToken: keepsake.auth.token });
        line.answers = 1;
        const replaced = await shop.orders.replacePhoto(id, filename, photo);
        const { order } = await keepsake.orders.get(id);
        return { filename, replaced, files: order.files };
        """
    )
    assert said["replaced"]["replaces"] == said["filename"]
    assert [file["filename"] for file in said["files"]] == [said["replaced"]["filename"]]


async def test_deliveries_are_listed_by_their_state(script: Script, stack: Stack) -> None:
    said = await script(
        BOSS
        + """
        const { deliveries } = await boss.deliveries.list({ state: "failed", limit: 10 });
        return { deliveries, off: await refused(boss.deliveries.resend("0")) };
        """,
        token=admin_token(stack),
    )
    assert said["deliveries"] == []
    assert said["off"]["status"] == 409  # nobody is to be told: ORDER_WEBHOOK_URL is not set
