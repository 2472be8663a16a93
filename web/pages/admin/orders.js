// Orders: found by status, pet, customer, open requests and warnings; one line each, however many there are.

import { placeholderDataURL, showPlaceholder } from "/client/placeholder.js";
import { attempt, badge, button, choice, field, filters, growing, h, state, when, words } from "./ui.js";

export const STATUSES = ["pending", "awaiting_payment", "paid", "in_production", "shipped", "delivered", "cancelled", "refunded"];

export async function orders({ admin, element, signal, params, go }) {
  const query = Object.fromEntries(params);
  const list = h("ol", { class: "orders" });
  const text = (name, label) => field(label, h("input", { name, value: query[name] ?? "", type: "search" }));
  const day = (name, label, end) => field(label, h("input", { name, type: "date", value: (query[name] ?? "").slice(0, 10), "data-end": end }));
  const wanted = () => ({
    ...query,
    since: query.since && `${query.since}T00:00:00Z`,
    until: query.until && `${query.until}T23:59:59Z`,
  });

  const csv = button("Download as CSV", () => attempt(csv, async () => {
    const { pathname: _, ...all } = wanted();
    const blob = await admin.orders.csv({ ...all, signal });
    const link = h("a", { href: URL.createObjectURL(blob), download: "orders.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }));

  const { first, element: grown } = growing(list, {
    load: async (cursor) => {
      const answer = await admin.orders.list({ ...wanted(), limit: 50, cursor, signal });
      return { items: answer.orders, next: answer.next_cursor };
    },
    show: (each) => h("li", {}, line(each)),
    empty: "No order fits. Take a filter away to see more.",
    signal,
  });

  element.append(
    h("div", { class: "row apart" }, h("h1", {}, "Orders"), csv),
    filters(params, [
      field("Status", choice("status", [["", "every"], ...STATUSES.map((name) => [name, words(name)])], query.status)),
      text("pet_name", "Pet"),
      text("user_id", "Customer id"),
      field("Photos", choice("quality", [["", "every"], ["warned", "with warnings"]], query.quality)),
      field("Requests", choice("photo_requests", [["", "every"], ["open", "open"]], query.photo_requests)),
      day("since", "From"),
      day("until", "To"),
    ], go),
    grown,
  );
  await first();
  return { keys: { j: () => step(list, 1), k: () => step(list, -1) } };
}

function line({ order_id, pet_name, status, upload_timestamp, files }) {
  const warned = files.some((file) => file.quality?.ok === false);
  const asked = files.some((file) => file.request);
  const [first] = files;
  const blurred = first?.placeholder ? placeholderDataURL(first.placeholder) : "/pages/icon.svg";
  const thumbnail = h("img", { class: "thumb", alt: "", loading: "lazy", src: first?.quality ? first.links.thumbnail : blurred });
  showPlaceholder(thumbnail, first?.placeholder);
  return h("a", { href: `/admin/orders/${encodeURIComponent(order_id)}` },
    thumbnail,
    h("span", { class: "stack tight" }, h("strong", {}, pet_name || "No name given"), h("span", { class: "quiet small" }, when(upload_timestamp), ` · ${files.length} photo${files.length === 1 ? "" : "s"}`)),
    h("span", { class: "stack tight" }, state(status), warned && badge("warnings", "warn"), asked && badge("photo asked for", "warn")));
}

function step(list, by) {
  const links = [...list.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}
