// One order: its photos large, what is said about them, its way so far, and the moves that are left.

import { showPlaceholder } from "/client/placeholder.js";
import { findPayment } from "./payments.js";
import { attempt, badge, ask, button, choice, field, h, money, say, state, when } from "./ui.js";

const MOVES = {
  pending: ["paid", "cancelled"], awaiting_payment: ["paid", "cancelled"], paid: ["in_production", "refunded"],
  in_production: ["shipped", "refunded"], shipped: ["delivered", "refunded"], delivered: ["refunded"], cancelled: [], refunded: [],
};
const OPEN = ["pending", "awaiting_payment", "paid", "in_production"]; // a better photo may be asked for until it is shipped
const REASONS = [["small", "It is too small"], ["blurred", "It is blurred"], ["duplicate", "It is the same as another one"], ["cropped", "Something is cut off"], ["other", "Another reason"]];
const SAID = { near_duplicate: "nearly the same as another" };
const HOUR_MS = 3_600_000;
const GRACE_MS = 4000; // a move that can be taken back is sent when this has passed

export async function order({ keepsake, admin, element, signal, id, onConnection }) {
  const head = h("div", { class: "row apart" });
  const moves = h("div", { class: "row", role: "group", "aria-label": "Moves" });
  const photos = h("ul", { class: "photos" });
  const facts = h("dl", { class: "facts" });
  const timeline = h("ol", { class: "timeline", "aria-label": "Timeline" });
  const payment = h("div", { class: "card", hidden: true });
  const cards = h("div", { class: "stack beside" }, h("section", { class: "card" }, h("h2", {}, "Order"), facts), h("section", { class: "card" }, h("h2", {}, "Timeline"), timeline), payment);
  let shown;
  let moving = null; // the status that is shown already and not sent yet
  let settle; // sends it at once

  async function refresh() {
    const answer = await keepsake.orders.get(id, { signal });
    shown = moving ? { ...answer.order, status: moving } : answer.order;
    draw();
  }

  function draw() {
    const { pet_name, pet_type, notes, status, user_id, upload_timestamp, files, photos_zip } = shown;
    head.replaceChildren(
      h("div", { class: "row" }, h("h1", {}, pet_name || "Order without a name"), state(status)),
      h("div", { class: "row" }, button("Look closely", () => zoom(files)), h("a", { class: "button", href: photos_zip, download: "" }, "Photos as ZIP")));
    moves.replaceChildren(...MOVES[status].map((target) => button(`Mark as ${target}`, (event) => move(event.target, target), { class: target === "refunded" || target === "cancelled" ? "danger" : "primary" })));
    if (!MOVES[status].length) moves.append(h("p", { class: "quiet" }, `An order that is ${status} stays as it is.`));
    photos.replaceChildren(...files.map(photo));
    const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
    facts.replaceChildren(...fact("Pet", pet_type || "–"), ...fact("Notes", notes || "–"), ...fact("Customer", h("a", { href: `/admin/orders?user_id=${encodeURIComponent(user_id)}` }, user_id)), ...fact("Ordered", when(upload_timestamp)), ...fact("Number", id));
  }

  function photo(file) {
    const { filename, original_filename, width, height, links, quality, request, replaces, placeholder } = file;
    const image = h("img", { src: links.photo, alt: `Photo ${original_filename}`, loading: "lazy" });
    showPlaceholder(image, placeholder);
    image.addEventListener("error", () => { image.src = "/pages/icon.svg"; }, { once: true });
    return h("li", { class: "card" },
      h("button", { class: "look", type: "button", "aria-label": `Look closely at ${original_filename}`, onclick: () => zoom(shown.files) }, image),
      h("p", {}, original_filename, h("br"), h("span", { class: "quiet small" }, `${width} × ${height}`, replaces ? " · in the place of an earlier one" : "")),
      h("p", { class: "row" }, quality === null ? badge("being looked at") : quality.ok ? badge("good photo", "good") : quality.warnings.map((warning) => badge(SAID[warning] ?? warning, "warn"))),
      request
        ? h("p", { class: "note warn row apart" }, h("span", {}, `Asked for a better one: ${request.reason}${request.note ? `, “${request.note}”` : ""}`), button("Take back", (event) => withdraw(event.target, filename), { class: "small" }))
        : OPEN.includes(shown.status) && button("Ask for another photo", (event) => requestPhoto(event.target, file)));
  }

  // --- moves ---------------------------------------------------------------------------------------------------------

  async function move(control, target) {
    if (["refunded", "cancelled"].includes(target)) {
      const text = target === "refunded" ? "This marks the order and moves no money: refund the payment first, under Payment below." : "The customer will see it at once.";
      if (!(await ask(`Mark this order as ${target}?`, { text, yes: `Mark as ${target}` }))) return;
      if (await attempt(control, () => admin.orders.move(id, target, { signal }))) say(`The order is ${target}.`);
      return refresh();
    }
    // No move leads back, so it waits a moment before it is sent: until then it can be undone.
    const before = shown.status;
    const showAs = (status) => {
      moving = status === before ? null : status;
      shown = { ...shown, status };
      draw();
    };
    showAs(target);
    let decided = false;
    let token;
    keepsake.auth.token().then((given) => (token = given), () => {});
    // What a page that is closed asks for by itself may outlive it; there is no time to wait for an answer.
    const sendLast = () => {
      decided = true;
      clearTimeout(timer);
      moving = null;
      say("");
      fetch(`/api/admin/orders/${encodeURIComponent(id)}`, {
        method: "PATCH", keepalive: true, body: JSON.stringify({ status: target }),
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      }).catch(() => {});
    };
    const send = async () => {
      clearTimeout(timer);
      if (decided) return;
      decided = true;
      const done = await attempt(null, () => admin.orders.move(id, target));
      removeEventListener("pagehide", sendLast);
      moving = null;
      if (signal.aborted) return;
      if (done) say(`The order is ${target}.`);
      else say("");
      await refresh();
    };
    const timer = setTimeout(send, GRACE_MS);
    settle = send;
    addEventListener("pagehide", sendLast, { once: true }); // until the answer is there: the same move again is only refused
    signal.addEventListener("abort", send, { once: true }); // whoever goes on to the next order has decided
    say(`The order becomes ${target}.`, async () => {
      decided = true;
      clearTimeout(timer);
      removeEventListener("pagehide", sendLast);
      showAs(before);
    });
  }

  async function requestPhoto(control, { filename, original_filename, quality }) {
    const likely = REASONS.find(([reason]) => quality?.warnings.some((warning) => warning.endsWith(reason)))?.[0];
    const answer = await ask(`Ask for another photo instead of ${original_filename}?`, {
      text: "The customer sees the reason and your note, and can send another one.",
      fields: [field("Reason", choice("reason", REASONS, likely)), field("Note", h("textarea", { name: "note", maxlength: 500 }))],
      yes: "Ask for it", danger: false,
    });
    if (!answer) return;
    await attempt(control, async () => {
      await admin.orders.requestPhoto(id, { filename, reason: answer.reason, note: answer.note || undefined });
      say("The customer is asked for another photo.", () => admin.orders.withdrawRequest(id, filename).then(refresh));
      await refresh();
    });
  }

  const withdraw = (control, filename) => attempt(control, async () => {
    await admin.orders.withdrawRequest(id, filename);
    say("The request is taken back.");
    await refresh();
  });

  // --- money ---------------------------------------------------------------------------------------------------------

  async function showPayment() {
    const since = Date.parse(shown.upload_timestamp) - HOUR_MS; // clocks differ
    const own = await findPayment(admin, ({ order_id, payment_status }) => order_id === id && payment_status === "paid", { since, signal });
    payment.hidden = own === undefined;
    if (own === null) {
      const refund = button("Refund", () => refundByOrder(refund), { class: "danger" });
      payment.replaceChildren(h("h2", {}, "Payment"), h("p", {}, "It is older than the payments that were looked through."), h("p", {}, refund));
    }
    if (own) payment.replaceChildren(h("h2", {}, "Payment"), h("p", {}, `${money(own.amount_total, own.currency)} paid`, own.amount_refunded ? `, ${money(own.amount_refunded, own.currency)} given back` : ""), h("a", { class: "button", href: `/admin/payments?session_id=${encodeURIComponent(own.session_id)}` }, "Refund, or more about it"));
  }

  async function refundByOrder(control) {
    if (!(await ask("Refund this order?", { text: "All that is left of what was paid is given back. This cannot be undone.", yes: "Refund" }))) return;
    await attempt(control, async () => {
      const { amount, currency } = await admin.payments.refund({ orderId: id });
      say(`${money(amount, currency)} is given back.`);
    });
  }

  try {
    await refresh();
  } catch (error) {
    if (error.status !== 404) throw error;
    element.append(h("h1", {}, "There is no such order"), h("p", {}, h("a", { href: "/admin/orders" }, "Back to Orders")));
    return {};
  }
  element.append(head, moves, photos, cards);

  let newer;
  const onEvent = (event) => {
    timeline.append(h("li", {}, event.type === "photo" ? `photo ${event.what}` : event.status, " · ", h("span", { class: "quiet small" }, when(event.at), event.note ? ` · ${event.note}` : "")));
    clearTimeout(newer); // many events at once are one look
    newer = setTimeout(() => signal.aborted || refresh().catch(() => {}), 100);
  };
  (async () => {
    for await (const event of keepsake.orders.events(id, { lastEventId: "0", signal, onConnection })) onEvent(event);
  })().catch(() => signal.aborted || onConnection("lost"));
  showPayment().catch(() => {});
  return { keys: { m: () => moves.querySelector("button")?.focus(), z: () => zoom(shown.files) }, settle: () => settle?.() };
}

/** All photos side by side, as large as the screen; a click shows each pixel. */
function zoom(files) {
  const dialog = h("dialog", { class: "zoom", "aria-label": "Photos" },
    h("div", { class: "row apart" }, h("h2", {}, "Photos"), h("div", { class: "row" }, button("Every pixel", (event) => {
      const close = dialog.classList.toggle("close-up");
      event.target.setAttribute("aria-pressed", close);
    }, { "aria-pressed": "false" }), button("Close", () => dialog.close()))),
    h("div", { class: "side" }, files.map(({ links, original_filename, width, height }) => h("figure", {}, h("div", { class: "pane", tabindex: 0 }, h("img", { src: links.photo, alt: original_filename })), h("figcaption", { class: "small" }, `${original_filename}, ${width} × ${height}`)))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
