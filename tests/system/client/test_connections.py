"""The JavaScript client where connections break, tokens end and streams are cut."""

from __future__ import annotations

import time

import jwt

from tests.support import pictures
from tests.support.stack import Stack
from tests.system.client.conftest import Script, admin_token


async def test_an_order_whose_answer_was_lost_is_asked_for_again_and_placed_once(script: Script) -> None:
    said = await script(
        """
        await newcomer();
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url, getToken: keepsake.auth.token });
        const seen = listen("/api/images/upload");
        line.answers = 1;
        const placed = await shop.orders.create([photo], { petName: "Max" }, { onProgress: () => {} });
        const { orders } = await keepsake.orders.list();
        const keys = seen.map(({ headers }) => headers["Idempotency-Key"]);
        return { placed: placed.order_id, orders: orders.map((order) => order.order_id), keys };
        """
    )
    assert said["orders"] == [said["placed"]]
    assert len(said["keys"]) == 2
    assert len(set(said["keys"])) == 1


async def test_images_whose_answer_was_lost_are_kept_once(script: Script, stack: Stack) -> None:
    said = await script(
        """
        const username = await newcomer();
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url, getToken: keepsake.auth.token });
        line.answers = 1;
        const stored = await shop.images.store(photo, { sessionId: username });
        line.cut();
        line.answers = 1;
        const { image } = await shop.userImages.upload(photo, { username, imageType: "cover" });
        const boss = createAdmin(createKeepsake({ baseUrl: given.url, getToken: () => given.token }));
        const { images } = await boss.images.list({ kind: "stored", limit: 100 });
        const kept = images.map(({ key }) => key).filter((key) => key.includes(username));
        const listed = (await shop.userImages.list(username)).images.map(({ id }) => id);
        return { stored: stored.key, kept, image: image.id, listed };
        """,
        token=admin_token(stack),
    )
    assert said["kept"] == [said["stored"]]
    assert said["listed"] == [said["image"]]


async def test_an_upload_goes_on_when_the_server_can_be_reached_again(script: Script) -> None:
    said = await script(
        """
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url });
        line.answers = 2;
        const { imageId } = await shop.tempImages.upload(photo, { onProgress: () => {} });
        return { imageId, connections: line.connections };
        """
    )
    assert len(said["imageId"]) == 32
    assert said["connections"] == 3


async def test_a_server_that_is_nowhere_is_a_failed_connection(script: Script) -> None:
    said = await script(
        """
        const nowhere = createKeepsake({ baseUrl: "http://127.0.0.1:9" });
        return refused(nowhere.auth.login({ username: "sam", password: "correct horse battery" }));
        """
    )
    assert (said["code"], said["status"]) == ("connection_failed", 0)


async def test_what_passes_by_itself_is_waited_for_and_nothing_else(script: Script) -> None:
    said = await script(
        """
        const away = [503, { "Retry-After": "1" }, JSON.stringify({ code: "service_unavailable", detail: "Away." })];
        const running = [409, {}, JSON.stringify({ code: "idempotency_in_progress", detail: "It runs." })];
        const full = [503, { "Retry-After": "1" }, JSON.stringify({ code: "storage_full", detail: "The disk is full." })];
        const kept = [200, { "Content-Type": "application/json" }, '{"imageId": "1"}'];
        const busy = await serve(away, running, kept);
        const broken = await serve(full);
        const store = (server) => createKeepsake({ baseUrl: server.url }).images.store(photo);
        return { kept: await store(busy), asked: busy.asked, full: await refused(store(broken)), once: broken.asked.length };
        """
    )
    assert said["kept"] == {"imageId": "1"}
    assert len(said["asked"]) == 3
    assert len({request["key"] for request in said["asked"]}) == 1
    assert (said["full"]["code"], said["full"]["retryAfter"], said["once"]) == ("storage_full", 1, 1)


async def test_a_change_without_a_key_is_sent_once(script: Script) -> None:
    said = await script(
        """
        const server = await serve([503, {}, "{}"]);
        const shop = createKeepsake({ baseUrl: server.url });
        return { error: await refused(shop.userImages.remove("1")), asked: server.asked };
        """
    )
    assert said["error"]["status"] == 503
    assert [request["path"] for request in said["asked"]] == ["/api/user_image/1/delete/"]


async def test_whoever_refuses_it_is_an_error_with_a_sentence(script: Script) -> None:
    given = [
        (
            413,
            "<html><h1>413 Request Entity Too Large</h1></html>",
            "http_error",
            "The server answered with status 413.",
        ),
        (403, "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", "access_denied", "No."),
        (400, '"text"', "http_error", "The server answered with status 400."),
        (400, "null", "http_error", "The server answered with status 400."),
        (400, '{"error": "One sentence."}', "http_error", "One sentence."),
        (422, '{"detail": [{"msg": "No."}], "error": "No."}', "http_error", "No."),
        (400, "", "http_error", "The server answered with status 400."),
    ]
    said = await script(
        """
        const server = await serve(...given.answers.map(([status, text]) => [status, {}, text]));
        const shop = createKeepsake({ baseUrl: server.url });
        const errors = [];
        for (const _ of given.answers) errors.push(await refused(shop.tempImages.upload(photo)));
        return errors;
        """,
        answers=given,
    )
    assert [(error["status"], error["code"], error["detail"]) for error in said] == [
        (status, code, detail) for status, _, code, detail in given
    ]


async def test_an_image_whose_transfer_broke_is_retrieved_after_all(script: Script) -> None:
    said = await script(
        """
        const { imageId } = await keepsake.tempImages.upload(photo);
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url });
        line.answers = 1;
        return { size: (await shop.tempImages.retrieve(imageId)).size, sent: photo.size };
        """,
        image=pictures.of_bytes(3_000_000),
    )
    assert said["size"] == said["sent"]


async def test_a_token_is_renewed_once_for_all_who_wait(script: Script) -> None:
    said = await script(
        """
        const storage = memory();
        const before = createKeepsake({ baseUrl: given.url, storage });
        const username = await newcomer(before);
        const seen = listen("/api/auth/refresh");
        const after = createKeepsake({ baseUrl: given.url, storage });
        const changes = [];
        after.auth.onChange((signedIn) => changes.push(signedIn));
        const asked = await Promise.all(Array.from({ length: 10 }, () => after.auth.me()));
        const renewals = seen.length;
        await after.auth.logout();
        return { username, names: asked.map((user) => user.username), renewals, changes, signedIn: after.auth.signedIn,
                 left: await refused(after.auth.me()), stored: storage.getItem("keepsake.refresh_token") };
        """
    )
    assert said["names"] == [said["username"]] * 10
    assert said["renewals"] == 1
    assert said["left"]["status"] == 401
    assert (said["signedIn"], said["stored"], said["changes"]) == (False, None, [False])


async def test_the_next_page_needs_no_new_token_where_the_access_token_is_stored(script: Script) -> None:
    said = await script(
        """
        const storage = memory();
        const page = () => createKeepsake({ baseUrl: given.url, storage, storeAccessToken: true });
        const username = await newcomer(page());
        const seen = listen("/api/auth/refresh");
        const names = [];
        for (let count = 0; count < 3; count++) names.push((await page().auth.me()).username);
        const renewals = [seen.length];
        const [, token] = storage.getItem("keepsake.access_token").split(" ");
        for (const stored of [`1 ${token}`, `${Date.now() + 60_000} x.y.z`, "x"]) { // ended, refused, somebody else's
          storage.setItem("keepsake.access_token", stored);
          names.push((await page().auth.me()).username);
          renewals.push(seen.length);
        }
        await page().auth.logout();
        return { username, names, renewals, stored: storage.getItem("keepsake.access_token"), signedIn: page().auth.signedIn };
        """
    )
    assert said["names"] == [said["username"]] * 6
    assert said["renewals"] == [0, 1, 2, 3]
    assert (said["stored"], said["signedIn"]) == (None, False)


async def test_an_access_token_is_in_memory_alone_where_nobody_asked_for_more(script: Script) -> None:
    said = await script(
        """
        const kept = {};
        const storage = { ...memory(), setItem: (name, value) => { kept[name] = value; } };
        await newcomer(createKeepsake({ baseUrl: given.url, storage }));
        return Object.keys(kept);
        """
    )
    assert said == ["keepsake.refresh_token"]


async def test_a_renewal_among_too_many_waits_as_long_as_it_is_told(script: Script) -> None:
    said = await script(
        """
        const full = [429, { "Retry-After": "1" }, JSON.stringify({ code: "rate_limited", detail: "Too many requests." })];
        const tokens = { access_token: "new", refresh_token: "next", expires_in: 900 };
        const server = await serve(full, [200, {}, JSON.stringify(tokens)], [200, {}, '{"username": "sam"}']);
        const shop = createKeepsake({ baseUrl: server.url, storage: memory({ "keepsake.refresh_token": "old" }) });
        return { me: await shop.auth.me(), asked: server.asked.map(({ path }) => path), signedIn: shop.auth.signedIn };
        """
    )
    assert said["me"] == {"username": "sam"}
    assert said["asked"] == ["/api/auth/refresh", "/api/auth/refresh", "/api/auth/me"]
    assert said["signedIn"]


async def test_a_token_that_is_refused_is_renewed_once_and_the_calls_go_through(script: Script) -> None:
    said = await script(
        """
        await newcomer();
        const spoil = (init, count) => count <= 5 && (init.headers = { ...init.headers, Authorization: "Bearer x.y.z" });
        const asked = listen("/api/images/orders", spoil);
        const seen = listen("/api/auth/refresh");
        const lists = await Promise.all(Array.from({ length: 5 }, () => keepsake.orders.list()));
        return { renewals: seen.length, asked: asked.length, counts: lists.map((list) => list.count) };
        """
    )
    assert said == {"renewals": 1, "asked": 10, "counts": [0] * 5}


async def test_a_session_that_has_ended_is_said_once_and_what_is_public_goes_on(script: Script) -> None:
    said = await script(
        """
        const storage = memory({ "keepsake.refresh_token": "x".repeat(43) });
        const shop = createKeepsake({ baseUrl: given.url, storage });
        const changes = [];
        shop.auth.onChange((signedIn) => changes.push(signedIn));
        const stored = await shop.images.store(photo);
        return { stored: stored.success, changes, me: await refused(shop.auth.me()) };
        """
    )
    assert said["stored"]
    assert said["changes"] == [False]
    assert said["me"]["status"] == 401


async def test_a_lost_answer_to_a_renewal_ends_no_session(script: Script) -> None:
    said = await script(
        """
        const storage = memory();
        const username = await newcomer(createKeepsake({ baseUrl: given.url, storage }));
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url, storage });
        line.answers = 1;
        return { username, me: (await shop.auth.me()).username, again: (await shop.auth.me()).username };
        """
    )
    assert said["me"] == said["again"] == said["username"]


async def test_somebody_elses_tokens_are_asked_for_again_when_one_is_refused(script: Script, stack: Stack) -> None:
    said = await script(
        """
        const asked = [];
        const getToken = (why) => { asked.push(why?.refused ?? null); return why?.refused ? given.token : "x.y.z"; };
        const shop = createKeepsake({ baseUrl: given.url, getToken });
        return { orders: await shop.orders.list(), asked };
        """,
        token=jwt.encode({"sub": "theirs", "exp": int(time.time()) + 600}, stack.settings["JWT_SECRET_KEY"], "HS256"),
    )
    assert said["orders"]["count"] == 0
    assert said["asked"] == [None, "x.y.z"]


async def test_events_go_on_where_the_stream_was_cut(script: Script, stack: Stack) -> None:
    said = await script(
        """
        await newcomer();
        const { order_id: id } = await keepsake.orders.create([photo]);
        const boss = createAdmin(createKeepsake({ baseUrl: given.url, getToken: () => given.token }));
        const line = await wire(given.url);
        const shop = createKeepsake({ baseUrl: line.url, getToken: keepsake.auth.token });
        const statuses = [], connection = [], ids = [];
        const seen = listen("/events");
        for await (const event of shop.orders.events(id, { onConnection: (state) => connection.push(state) })) {
          if (event.type !== "status") continue;
          statuses.push(event.status);
          ids.push(Number(event.id));
          if (statuses.length === 1) {
            line.cut();
            await boss.orders.move(id, "paid");
          }
          if (event.status === "paid") {
            line.cut();
            await boss.orders.move(id, "in_production", { note: "On the printer" });
          }
          if (event.status === "in_production") break;
        }
        return { statuses, ids, connection, last: seen.map(({ headers }) => headers["Last-Event-ID"] ?? null) };
        """,
        token=admin_token(stack),
    )
    assert said["statuses"] == ["pending", "paid", "in_production"]
    assert said["ids"] == sorted(said["ids"])
    assert said["connection"][:3] == ["open", "lost", "open"]
    assert said["last"][0] is None
    assert all(said["last"][1:])


async def test_events_end_when_asked_to_and_a_strangers_order_has_none(script: Script) -> None:
    said = await script(
        """
        await newcomer();
        const { order_id: id } = await keepsake.orders.create([photo]);
        const control = new AbortController();
        let count = 0;
        for await (const event of keepsake.orders.events(id, { signal: control.signal })) {
          count++;
          control.abort();
        }
        const stranger = createKeepsake({ baseUrl: given.url });
        await newcomer(stranger);
        return { count, stranger: await refused(stranger.orders.events(id).next()) };
        """
    )
    assert said["count"] >= 1
    assert said["stranger"]["status"] == 404
