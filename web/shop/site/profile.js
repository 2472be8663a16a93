// Profiles: register, sign in, and one's own pictures, of which at most one is the primary.

import { random, signedInAs } from "./account.js";
import { showPlaceholder } from "./client/placeholder.js";
import { onPhotos, preview } from "./photo.js";
import { $, attempt, keepsake, say, withProgress } from "./shop.js";

let username = null;
let photo = null;

async function show() {
  username = await signedInAs();
  $("account").hidden = username !== null;
  $("signed-in").hidden = username === null;
  $("name").textContent = username ?? "";
  if (username) await list();
}

async function list() {
  const { images } = await keepsake.userImages.list(username);
  $("pictures").replaceChildren(...images.map(card));
  $("none").hidden = images.length > 0;
}

function card({ id, url, caption, is_primary, placeholder }) {
  const item = $("picture").content.cloneNode(true).firstElementChild;
  const text = caption || "No caption";
  showPlaceholder(item.querySelector("img"), placeholder);
  Object.assign(item.querySelector("img"), { src: url, alt: caption || "A picture without a caption" });
  Object.assign(item.querySelector(".caption"), { id: `caption-${id}`, textContent: text });
  item.querySelector(".badge").hidden = !is_primary;
  const [primary, remove] = item.querySelectorAll("button");
  for (const button of [primary, remove]) button.setAttribute("aria-describedby", `caption-${id}`);
  primary.disabled = is_primary;
  primary.addEventListener("click", () => act(primary, () => keepsake.userImages.setPrimary(id)));
  remove.addEventListener("click", () => act(remove, () => keepsake.userImages.remove(id)));
  return item;
}

/** Do it, say what the server says, and show what there is now. */
const act = (button, work) =>
  attempt(button, async () => {
    const { message } = await work();
    await list();
    say(message);
  });

const credentials = () => ({ username: $("username").value, password: $("password").value });

$("register").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    if (!$("username").value) {
      $("username").focus();
      throw new Error("Please choose a username.");
    }
    const email = $("email").value || `demo-${random(8)}@example.com`;
    const registered = await keepsake.auth.register({ ...credentials(), email });
    say(`Registered as ${registered.username}. Now sign in.`);
  }),
);

$("account").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt($("sign-in"), async () => {
    await keepsake.auth.login(credentials());
    $("password").value = "";
    const orderId = new URLSearchParams(location.search).get("order_id");
    if (orderId) {
      location.assign(`/planter?order_id=${encodeURIComponent(orderId)}`); // whoever comes from there goes back
      return;
    }
    await show();
    say(`Signed in as ${username}.`);
  });
});

$("sign-out").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    await keepsake.auth.logout();
    await show();
    say("Signed out.");
  }),
);

onPhotos({ maxBytes: 10 * 2 ** 20 }, ([file]) => {
  photo = file;
  preview($("preview"), file);
  $("upload").disabled = false;
});

$("upload").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    const fields = { username, imageType: $("type").value, isPrimary: $("primary").checked, caption: $("caption").value };
    const upload = (onProgress) => keepsake.userImages.upload(photo, { ...fields, onProgress });
    const { message } = await withProgress($("progress"), upload);
    $("caption").value = "";
    await list();
    say(message);
  }),
);

attempt(null, show);
