// Payments: found by state, given back in full or in part, and decided where they need review.

import { ask, attempt, badge, button, choice, field, filters, growing, h, money, say, state, table, when } from "./ui.js";

const STATES = ["creating", "open", "processing", "expired", "failed", "abandoned", "needs_review", "paid", "refunded"];

const NAMES = { "hero-me-board": "Hero Me Feelings board", "pet-planter": "Custom Pet Planter" }; // of the built-in catalogue
const MOST_PAGES = 200; // of 100 payments each

/** The newest payment for which `fits` is true, none older than `since`; undefined where there is none, null where not all were looked through. */
export async function findPayment(admin, fits, { since = 0, signal }) {
  let cursor;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const { payments, next_cursor } = await admin.payments.list({ limit: 100, cursor, signal });
    const found = payments.find(fits);
    if (found || !next_cursor || new Date(payments.at(-1).created_at) < since) return found;
    cursor = next_cursor;
  }
  return null;
}

export async function payments({ admin, element, signal, params, go }) {
  const { body, row } = table("Payments, newest first", ["When", "Amount", "What", "State", "To do"]);
  const only = params.get("session_id");
  const { first, element: grown } = growing(body, {
    load: async (cursor) => {
      if (only) return { items: [await findPayment(admin, ({ session_id }) => session_id === only, { signal })].filter(Boolean), next: null };
      const answer = await admin.payments.list({ state: params.get("state") ?? undefined, limit: 50, cursor, signal });
      return { items: answer.payments, next: answer.next_cursor };
    },
    show: entry,
    empty: "No payment fits.",
    signal,
  });
  element.append(h("h1", {}, "Payments"), filters(params, [field("State", choice("state", [["", "every"], ...STATES.map((name) => [name, name])], params.get("state") ?? ""))], go), grown);
  await first();

  function entry(payment) {
    const { session_id, amount_total, amount_refunded, currency, sku, quantity, order_id, created_at, paid_at, review_reason, resolutions = [] } = payment;
    const left = amount_total - amount_refunded;
    const todo = h("div", { class: "row" });
    if (payment.state === "needs_review") todo.append(button("Fulfil", (event) => resolve(event.target, payment, "fulfil"), { class: "small" }), button("Give back", (event) => resolve(event.target, payment, "refund"), { class: "small danger" }));
    else if (payment.payment_status === "paid" && left > 0) todo.append(button("Refund", (event) => refund(event.target, payment, left), { class: "small danger" }));
    return row(
      when(paid_at ?? created_at),
      h("span", {}, money(amount_total, currency), amount_refunded ? h("span", { class: "quiet small" }, ` · ${money(amount_refunded, currency)} given back`) : ""),
      order_id ? h("a", { href: `/admin/orders/${encodeURIComponent(order_id)}` }, "an order") : `${quantity} × ${NAMES[sku] ?? sku}`,
      h("span", { class: "stack tight" }, state(payment.state, payment.state === "paid" ? "good" : undefined), review_reason && h("span", { class: "small" }, review_reason), resolutions.map(({ action, by, at, note }) => h("span", { class: "quiet small" }, `${action} by ${by}, `, when(at), note ? `: ${note}` : ""))),
      h("div", { class: "stack tight" }, todo, h("code", { class: "quiet small" }, session_id)),
    );
  }

  async function resolve(control, { session_id, review_reason }, action) {
    const answer = await ask(action === "fulfil" ? "Fulfil this payment?" : "Give this payment back?", {
      text: review_reason ?? "", fields: [field("Note", h("textarea", { name: "note", maxlength: 500, required: true }))],
      yes: action === "fulfil" ? "Fulfil" : "Give back", danger: action !== "fulfil",
    });
    if (!answer) return;
    if (await attempt(control, () => admin.payments.resolve(session_id, action, answer.note))) say("Decided, and written down.");
    again();
  }

  async function refund(control, { session_id, currency }, left) {
    const digits = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
    const amount = h("input", { name: "amount", type: "number", min: 10 ** -digits, max: left / 10 ** digits, step: 10 ** -digits, value: (left / 10 ** digits).toFixed(digits), required: true });
    const answer = await ask("Refund this payment?", {
      text: `${money(left, currency)} can be given back. This cannot be undone.`,
      fields: [field(`Amount in ${currency.toUpperCase()}`, amount), field("Reason", h("input", { name: "reason", maxlength: 500 }))],
      yes: "Refund",
    });
    if (!answer) return;
    const minor = Math.round(Number(answer.amount) * 10 ** digits);
    if (await attempt(control, () => admin.payments.refund({ sessionId: session_id, amount: minor, reason: answer.reason || undefined }))) say(`${money(minor, currency)} is given back.`);
    again();
  }

  const again = () => { body.replaceChildren(); go(location.pathname + location.search, { replace: true }); };
}
