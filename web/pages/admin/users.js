// Users: found by name or address, made admins, disabled.

import { ask, attempt, badge, button, field, filters, growing, h, say, table, when } from "./ui.js";

export async function users({ admin, element, signal, params, go }) {
  const { body, row } = table("Users, newest first", ["Name", "Email", "Since", "State", "To do"]);
  const { first, element: grown } = growing(body, {
    load: async (cursor) => {
      const answer = await admin.users.list({ query: params.get("query") || undefined, limit: 50, cursor, signal });
      return { items: answer.users, next: answer.next_cursor };
    },
    show: entry,
    empty: "Nobody fits.",
    signal,
  });
  element.append(h("h1", {}, "Users"), filters(params, [field("Search", h("input", { name: "query", type: "search", value: params.get("query") ?? "" }))], go), grown);
  await first();

  function entry(user) {
    const { username, email, created_at, roles, disabled } = user;
    const isAdmin = roles.includes("admin");
    const element = row(
      h("strong", {}, username), email, when(created_at),
      h("span", { class: "row" }, isAdmin && badge("admin", "good"), disabled ? badge("disabled", "bad") : badge("active")),
      h("div", { class: "row" },
        button(isAdmin ? "Remove admin" : "Make admin", (event) => change(event.target, user, { roles: isAdmin ? [] : ["admin"] }), { class: "small" }),
        button(disabled ? "Enable" : "Disable", (event) => change(event.target, user, { disabled: !disabled }), { class: `small ${disabled ? "" : "danger"}` })),
    );
    return (user.element = element);
  }

  async function change(control, user, wanted, { asking = true } = {}) {
    const { id, username, roles, disabled } = user;
    if (asking && wanted.disabled) {
      if (!(await ask(`Disable ${username}?`, { text: "All sessions end at once, and nobody can sign in with this account.", yes: "Disable" }))) return;
    }
    await attempt(control, async () => {
      const changed = await admin.users.change(id, wanted);
      const before = user.element;
      const next = { ...user, ...changed };
      before.replaceWith(entry(next));
      const undo = "disabled" in wanted ? { disabled } : { roles };
      say(`${username} is changed.`, () => change(null, next, undo, { asking: false }));
    });
  }
}
