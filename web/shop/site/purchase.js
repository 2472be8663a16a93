// The purchase: a photo is uploaded before the payment, so that it is there after it, wherever the browser has been.

import { onPhotos, preview, thumbnail } from "./photo.js";
import { $, attempt, keepsake, pay, say, withProgress } from "./shop.js";

const KEPT_AS = "purchase"; // {imageId, expiresAt, thumbnail}: whoever comes back without having paid can go on

let photo = null;

onPhotos({ maxBytes: 5 * 2 ** 20 }, ([file]) => {
  photo = file;
  preview($("preview"), file);
  $("upload").disabled = false;
  $("pay").disabled = true;
  say("");
});

$("upload").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    const upload = (onProgress) => keepsake.tempImages.upload(photo, { onProgress });
    const { imageId, expiresAt } = await withProgress($("progress"), upload);
    const small = await thumbnail(photo).catch(() => ""); // some photos no browser can show
    sessionStorage.setItem(KEPT_AS, JSON.stringify({ imageId, expiresAt, thumbnail: small }));
    ready(expiresAt);
  }),
);

$("pay").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    const { imageId } = JSON.parse(sessionStorage.getItem(KEPT_AS));
    await pay(await keepsake.checkout.open({ imageId }));
  }),
);

function ready(expiresAt) {
  const until = new Date(expiresAt).toLocaleTimeString("en", { hour: "numeric", minute: "2-digit" });
  say(`Your photo is uploaded and waits for the payment until ${until}.`);
  $("pay").disabled = false;
}

const kept = JSON.parse(sessionStorage.getItem(KEPT_AS));
if (kept && Date.parse(kept.expiresAt) > Date.now()) {
  $("preview").src = kept.thumbnail;
  $("preview").hidden = !kept.thumbnail;
  ready(kept.expiresAt);
}
