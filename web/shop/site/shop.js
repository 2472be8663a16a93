// What every page of the shop begins with: the client, and the two ways to say something.

import { createKeepsake } from "./client/index.js"; // with a bundler: from "@keepsake/client"
import config from "./config.js"; // {keepsakeUrl, shopUrl}
import { watchRequests } from "./requests.js";

export const $ = (id) => document.getElementById(id);

// Keepsake answers pages of the shop's own origin alone; "127.0.0.1" for "localhost" would be another one.
const { origin } = new URL(config.shopUrl);
if (location.origin !== origin) location.replace(origin + location.pathname + location.search);

watchRequests($("requests"), config.keepsakeUrl);

// The session's storage outlives the way to the payment and back, in this tab alone.
export const keepsake = createKeepsake({ baseUrl: config.keepsakeUrl, storage: sessionStorage, storeAccessToken: true });

/** What happens by itself, for eyes and screen readers alike. */
export function say(text) {
  $("status").textContent = text;
}

export function refuse(text) {
  $("alert").textContent = text;
  if (text) $("alert").scrollIntoView({ block: "nearest" });
}

/** Do `work` while `button`, if any, waits; whatever is refused is said in the server's own sentence. */
export async function attempt(button, work) {
  refuse("");
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    say("");
    refuse(error.detail ?? error.message);
  } finally {
    if (button) button.disabled = false;
  }
}

/** Do `upload(onProgress)` while `bar` shows how far it has come. */
export async function withProgress(bar, upload) {
  bar.value = 0;
  bar.hidden = false;
  try {
    return await upload(({ loaded, total }) => { bar.value = loaded / total; });
  } finally {
    bar.hidden = true;
  }
}

/** Send the customer to pay: to the sandbox's page, or into Stripe's own form in this page. */
export async function pay({ pay_url, client_secret, publishable_key }) {
  if (pay_url) {
    location.assign(pay_url);
    return;
  }
  await loadScript("https://js.stripe.com/dahlia/stripe.js");
  const checkout = await window.Stripe(publishable_key).createEmbeddedCheckoutPage({ fetchClientSecret: async () => client_secret });
  checkout.mount($("checkout"));
}

function loadScript(src) {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error("Stripe could not be loaded. Is this machine online?"));
    document.head.append(Object.assign(document.createElement("script"), { src, onload: resolve, onerror: failed }));
  });
}
