// Webhooks: what was sent to the shop's own address, how it went, and once more.

import { attempt, button, choice, field, filters, growing, h, say, state, table, when } from "./ui.js";

const STATES = [["", "every"], ["pending", "pending"], ["delivered", "delivered"], ["failed", "failed"]];

export async function webhooks({ admin, element, signal, params, go }) {
  const { body, row } = table("Outgoing webhooks, newest first", ["When", "What", "State", "Last try", "To do"]);
  const { first, element: grown } = growing(body, {
    load: async (cursor) => {
      const answer = await admin.deliveries.list({ state: params.get("state") || undefined, limit: 50, cursor, signal });
      return { items: answer.deliveries, next: answer.next_cursor };
    },
    show: (delivery) => {
      const { id, type, order_id, created_at, attempts, tried_at, next_try_at, last_status, last_error } = delivery;
      return row(
        when(created_at),
        h("span", { class: "stack tight" }, type, h("a", { class: "small", href: `/admin/orders/${encodeURIComponent(order_id)}` }, "its order")),
        state(delivery.state),
        h("span", { class: "small" }, attempts ? [`${attempts} ${attempts === 1 ? "try" : "tries"}, `, when(tried_at), `: ${last_status ?? last_error ?? "–"}`] : "not tried yet", next_try_at ? [h("br"), "again ", when(next_try_at)] : ""),
        button("Send again", (event) => attempt(event.target, async () => {
          await admin.deliveries.resend(id);
          say("It is on its way again.");
          go(location.pathname + location.search, { replace: true });
        }), { class: "small" }),
      );
    },
    empty: "No webhook fits. They are sent where ORDER_WEBHOOK_URL is set.",
    signal,
  });
  element.append(h("h1", {}, "Webhooks"), filters(params, [field("State", choice("state", STATES, params.get("state") ?? ""))], go), grown);
  await first();
}
