// The dashboard: who is signed in, which view the address names, and what the keyboard does.

import { createAdmin } from "/client/admin.js";
import { createKeepsake } from "/client/index.js";
import { images } from "./images.js";
import { order } from "./order.js";
import { orders } from "./orders.js";
import { payments } from "./payments.js";
import { storage, system } from "./system.js";
import { today } from "./today.js";
import { $, ask, attempt, h, refuse, say } from "./ui.js";
import { users } from "./users.js";
import { webhooks } from "./webhooks.js";

// The refresh token lives in this tab's storage, the access token in memory alone.
const keepsake = createKeepsake({ storage: sessionStorage });
const admin = createAdmin(keepsake);

const VIEWS = { "": ["Today", today], orders: ["Orders", orders], payments: ["Payments", payments], images: ["Images", images],
  users: ["Users", users], webhooks: ["Webhooks", webhooks], storage: ["Storage", storage], system: ["System", system] };

const KEYS = [["j / k", "next and previous order"], ["Enter", "open the order that is marked"], ["m", "to the moves of an order"],
  ["z", "photos large, side by side"], ["g t / o / p / i", "to Today, Orders, Payments, Images"], ["?", "these keys"]];

let leaving = new AbortController();
let view = {};
let waiting; // the timer of the next start

// --- views ------------------------------------------------------------------------------------------------------------

$("views").firstElementChild.append(
  ...Object.entries(VIEWS).map(([name, [title]]) => h("li", {}, h("a", { href: name ? `/admin/${name}` : "/admin" }, title))),
);

/** Go to an address of the dashboard, as a link does. */
function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  return show();
}

/** The title of a view, and what opens it. */
function viewOf(name, id, ...more) {
  if (name === "orders" && id && !more.length) return ["Order", order];
  return id === undefined && Object.hasOwn(VIEWS, name) ? VIEWS[name] : ["Not found", nothing];
}

const nothing = ({ element }) =>
  void element.append(h("h1", {}, "There is no such view"), h("p", {}, h("a", { href: "/admin" }, "Go to Today")));

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [name, id, ...more] = location.pathname.replace(/^\/admin\/?/, "").replace(/\/$/, "").split("/");
  const [title, open] = viewOf(name, id, ...more);
  document.title = `${title} – Keepsake dashboard`;
  for (const link of $("views").querySelectorAll("a")) {
    const current = link.pathname === (name ? `/admin/${name}` : "/admin");
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  refuse("");
  const element = h("section", { class: "stack", "aria-label": title });
  $("view").replaceChildren(element);
  view = {};
  await attempt(null, async () => {
    const context = { keepsake, admin, element, signal, go, id: id && decodeURIComponent(id), params: new URLSearchParams(location.search), onConnection };
    view = (await open(context)) ?? {};
  });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/admin']");
  if (!link || link.hasAttribute("download") || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  say("");
  go(link.pathname + link.search).then(() => $("content").focus({ preventScroll: true }));
  scrollTo(0, 0);
});
window.addEventListener("popstate", show);

// --- the connection ----------------------------------------------------------------------------------------------------

function onConnection(how) {
  $("connection").textContent = how === "open" ? "" : "The connection is lost. What you see may be old; it is tried again by itself.";
}
window.addEventListener("offline", () => onConnection("lost"));
window.addEventListener("online", () => { onConnection("open"); if (keepsake.auth.signedIn && !$("views").hidden) show(); });

// --- who is signed in -------------------------------------------------------------------------------------------------

async function enter() {
  const { username, roles } = keepsake.auth.signedIn ? await keepsake.auth.me() : { roles: [] };
  const allowed = roles.includes("admin");
  if (keepsake.auth.signedIn && !allowed) {
    await keepsake.auth.logout();
    refuse("This account does not have the role admin.");
  }
  $("sign-in").hidden = allowed;
  $("views").hidden = $("account").hidden = !allowed;
  $("who").textContent = username ?? "";
  if (allowed) await show();
  else document.title = "Sign in – Keepsake dashboard";
}

function leave() {
  leaving.abort();
  $("view").replaceChildren();
  $("views").hidden = $("account").hidden = true;
  $("sign-in").hidden = false;
  say("");
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(event.submitter, async () => {
    await keepsake.auth.login(Object.fromEntries(new FormData($("sign-in"))));
    $("sign-in").reset();
    await enter();
  });
});
$("sign-out").addEventListener("click", (event) => attempt(event.target, async () => {
  await view.settle?.();
  await keepsake.auth.logout();
}));
keepsake.auth.onChange((signedIn) => { if (!signedIn) leave(); });

// --- the keyboard -----------------------------------------------------------------------------------------------------

let before = "";
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, dialog[open]")) return;
  const key = before === "g" ? `g${event.key}` : event.key;
  before = event.key === "g" ? "g" : "";
  const places = { gt: "/admin", go: "/admin/orders", gp: "/admin/payments", gi: "/admin/images" };
  if (!keepsake.auth.signedIn) return;
  if (places[key]) go(places[key]);
  else if (key === "?") ask("Keys", { fields: [h("dl", { class: "facts" }, KEYS.map(([keys, text]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, text)]))], yes: "Close", no: "", danger: false });
  else if (view.keys?.[key]) view.keys[key]();
  else return;
  event.preventDefault();
});

// --- the start --------------------------------------------------------------------------------------------------------

const reload = () => location.reload();

/** Go on where this tab was left; whoever reloads too often waits for it, and is told so. */
async function start() {
  clearTimeout(waiting);
  say("");
  // The client itself waits where a refresh is refused for a while (429), and tries again.
  const patience = setTimeout(() => say("The server has not answered yet; after many reloads in a minute it lets a page wait. This page goes on by itself.", reload, "Try again"), 2000);
  try {
    await enter();
    clearTimeout(patience);
    say("");
  } catch ({ detail, retryAfter }) {
    clearTimeout(patience);
    const seconds = Math.max(retryAfter ?? 30, 1);
    say(`${detail ?? "Something went wrong on this page."} The page tries again by itself in ${seconds} s.`, reload, "Try again");
    waiting = setTimeout(start, seconds * 1000);
  }
}

start();
