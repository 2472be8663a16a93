// The dashboard's few means: elements, words for people, questions, and lists that load by cursor.

export const $ = (id) => document.getElementById(id);

/** An element: `h("a", {href: "/x"}, "text", child)`. Text is always text; nothing here reads HTML. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);
export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

const KINDS = {
  paid: "warn", in_production: "warn", shipped: "good", delivered: "good", needs_review: "bad", failed: "bad", pending: "",
};
export const words = (name) => name.replaceAll("_", " ");
export const state = (name, kind = KINDS[name] ?? "") => badge(words(name), kind);

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const when = (text) => (text ? h("time", { datetime: text }, MOMENT.format(new Date(text))) : "–");

/** Minor units as the currency writes them: 4900 usd is $49.00, 490 jpy is ¥490. */
export function money(minor, currency) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

// --- what is said -----------------------------------------------------------------------------------------------------

/** Say what happened; with `act`, a button takes it back, or does what else it is called. */
export function say(text, act, name = "Undo") {
  $("status").replaceChildren(...(text ? [h("span", {}, text)] : []));
  if (act) {
    const acting = button(name, () => attempt(acting, async () => { say(""); await act(); }), { class: "small" });
    $("status").append(acting);
  }
}

export function refuse(text) {
  $("alert").textContent = text;
  if (text) $("alert").scrollIntoView({ block: "nearest" });
}

/** Do `work` while `control` waits; a refusal is said in the server's own sentence. Returns whether it was done. */
export async function attempt(control, work) {
  refuse("");
  if (control) control.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") refuse(error.detail ?? "Something went wrong on this page. Please load it again.");
    return false;
  } finally {
    if (control) control.disabled = false;
  }
}

/** Ask before what cannot be undone. Resolves to the form's fields, or null where the answer is no; `no: ""` leaves that button out. */
export function ask(title, { text = "", fields = [], yes, no = "Keep as it is", danger = true } = {}) {
  const dialog = $("question");
  return new Promise((resolve) => {
    const form = h(
      "form",
      { method: "dialog", class: "stack" },
      h("h2", { id: "question-title" }, title),
      text && h("p", {}, text),
      ...fields,
      h("div", { class: "row" },
        h("button", { value: "yes", class: danger ? "danger" : "primary" }, yes),
        no && h("button", { value: "no", formnovalidate: true }, no)),
    );
    dialog.replaceChildren(form);
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null);
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

export const field = (label, control) => {
  control.id ||= `field-${label.toLowerCase().replaceAll(" ", "-")}`;
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control);
};
export const choice = (name, options, chosen = "") =>
  h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));

// --- lists ------------------------------------------------------------------------------------------------------------

/** A list that grows as it is scrolled: `load(cursor)` gives {items, next}, `show(item)` an element for `target`. */
export function growing(target, { load, show, empty, signal }) {
  const more = button("Show more", () => attempt(more, next), { hidden: true });
  const nothing = h("p", { class: "empty", hidden: true }, empty);
  let cursor;
  let busy = false;

  async function next() {
    if (busy) return;
    busy = true;
    try {
      const { items, next: following } = await load(cursor);
      if (signal.aborted) return;
      target.append(...items.map(show));
      nothing.hidden = target.childElementCount > 0;
      cursor = following;
      more.hidden = !following;
    } finally {
      busy = false;
    }
  }

  const watcher = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && cursor) attempt(null, next); }, { rootMargin: "600px" });
  watcher.observe(more);
  signal.addEventListener("abort", () => watcher.disconnect(), { once: true });
  const box = target.closest("table") ?? target;
  return { first: next, element: h("div", { class: "stack" }, box, nothing, more) };
}

/** A table whose rows become blocks on a phone; `names` are its columns. */
export function table(caption, names) {
  const body = h("tbody");
  h("table", { class: "blocks" },
    h("caption", { class: "only-read" }, caption),
    h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    body);
  const row = (...cells) => h("tr", {}, cells.map((cell, index) => h("td", { "data-label": names[index] }, cell)));
  return { body, row };
}

/** A form of filters that stand in the address, so that a view can be bookmarked. */
export function filters(params, controls, go) {
  const form = h("form", { class: "filters", role: "search" }, controls, h("button", { type: "submit" }, "Apply"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = [...new FormData(form)].filter(([, value]) => value);
    go(`${location.pathname}${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`);
  });
  for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => form.requestSubmit());
  // On a phone the list comes first; what is filtered already is shown open.
  const open = params.size > 0 || matchMedia("(min-width: 48rem)").matches;
  return h("details", { class: "filter-box", open }, h("summary", {}, "Filter"), form);
}
