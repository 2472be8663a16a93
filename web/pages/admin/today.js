// Today: what there is to do, in numbers that lead to it.

import { h, when } from "./ui.js";

const EVERY_MS = 15_000;

export async function today({ admin, element, signal, onConnection }) {
  const figures = h("ul", { class: "figures" });
  const oldest = h("p", {});
  element.append(h("h1", {}, "Today"), figures, oldest);

  const figure = (count, text, href) => h("li", {}, h("a", { href }, h("strong", {}, String(count)), h("span", {}, text)));

  async function refresh() {
    const [{ orders, oldest_paid, photo_requests, deliveries }, { payments, next_cursor }] = await Promise.all([
      admin.orders.summary({ signal }),
      admin.payments.list({ state: "needs_review", limit: 100, signal }),
    ]);
    figures.replaceChildren(
      figure(orders.paid ?? 0, "paid, to be made", "/admin/orders?status=paid"),
      figure(orders.in_production ?? 0, "in production", "/admin/orders?status=in_production"),
      figure(orders.shipped ?? 0, "shipped", "/admin/orders?status=shipped"),
      figure((orders.pending ?? 0) + (orders.awaiting_payment ?? 0), "not paid yet", "/admin/orders?status=pending"),
      figure(`${payments.length}${next_cursor ? "+" : ""}`, "payments that need a decision", "/admin/payments?state=needs_review"),
      figure(photo_requests, "better photos asked for", "/admin/orders?photo_requests=open"),
      figure(deliveries.failed, "webhooks that failed", "/admin/webhooks?state=failed"),
      figure(deliveries.pending, "webhooks on their way", "/admin/webhooks?state=pending"),
    );
    oldest.replaceChildren(
      ...(oldest_paid
        ? ["Waiting longest: ", h("a", { href: `/admin/orders/${encodeURIComponent(oldest_paid.order_id)}` }, "the order paid on ", when(oldest_paid.at)), "."]
        : ["No paid order waits."]),
    );
  }

  await refresh();
  const timer = setInterval(() => {
    if (!document.hidden) refresh().then(() => onConnection("open"), () => signal.aborted || onConnection("lost"));
  }, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
