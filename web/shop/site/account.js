// Who is signed in. Where a page needs somebody and nobody is, a demo customer is registered on the way.

import { keepsake } from "./shop.js";

export const random = (bytes) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");

let known = null; // the user name, once it was asked for
keepsake.auth.onChange(() => { known = null; });

/** The user name of whoever is signed in, or null. */
export async function signedInAs() {
  if (!keepsake.auth.signedIn) return null;
  try {
    return (known ??= (await keepsake.auth.me()).username);
  } catch (error) {
    if (error.status === 401) return null; // signed out elsewhere, or for too long
    throw error;
  }
}

/** The user name of whoever is signed in; a new demo customer's where nobody is. */
export async function requireCustomer() {
  const signedIn = await signedInAs();
  if (signedIn) return signedIn;
  const username = `guest-${random(4)}`;
  const password = random(16);
  await keepsake.auth.register({ username, email: `${username}@example.com`, password });
  await keepsake.auth.login({ username, password });
  return username;
}

/** Say in `element` on whose behalf the page acts. */
export async function showCustomer(element) {
  const username = await signedInAs();
  const link = Object.assign(document.createElement("a"), { href: "/profile", textContent: "Profile" });
  if (username) element.replaceChildren(`You are signed in as ${username} (`, link, ").");
  else element.replaceChildren("You are not signed in: a demo customer will be registered for you, or sign in under ", link, ".");
  return username;
}
