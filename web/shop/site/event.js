// Events: an organisation's picture goes from the browser straight to where the images lie, and is published from there.

import { requireCustomer, showCustomer } from "./account.js";
import { linkTo, onPhotos, preview } from "./photo.js";
import { $, attempt, keepsake, say, withProgress } from "./shop.js";

let organization = null;
let photo = null;
let uploaded = null;

function use({ id, name }) {
  organization = keepsake.organizations(id);
  $("organization").textContent = name;
  $("picture").hidden = false;
}

$("create").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt($("create-button"), async () => {
    await requireCustomer();
    use(await keepsake.organizations.create($("name").value));
    await showCustomer($("customer"));
    say("The organisation is there, and you are its owner.");
  });
});

onPhotos({ maxBytes: 10 * 2 ** 20 }, ([file]) => {
  photo = file;
  preview($("preview"), file);
  $("upload").disabled = false;
  $("publish").disabled = true;
});

$("upload").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    // Asks Keepsake to sign the upload, then sends the file to the address that was signed.
    uploaded = await withProgress($("progress"), (onProgress) => organization.upload(photo, { onProgress }));
    show("Uploaded, for the time being: ", Object.assign(document.createElement("a"), { href: uploaded.publicUrl, textContent: uploaded.publicUrl }));
    $("publish").disabled = false;
    say("Uploaded directly. Publish it to keep it for good.");
  }),
);

$("publish").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    const published = await organization.promote(uploaded);
    show(`Published, ${published.width} × ${published.height}: `, linkTo(published.url, published));
    say("Published: it was looked at, and stays at this address.");
  }),
);

function show(...content) {
  const item = document.createElement("li");
  item.append(...content);
  $("links").prepend(item);
}

attempt(null, async () => {
  if (!(await showCustomer($("customer")))) return;
  const { organizations } = await keepsake.organizations.list();
  if (organizations.length) use(organizations.at(-1));
});
