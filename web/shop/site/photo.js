// Choosing photos: by the file field, by dropping them on it, or a sample for whoever has none at hand.

import { prepareImage } from "./client/index.js";
import { showPlaceholder } from "./client/placeholder.js";
import { $, attempt } from "./shop.js";

/**
 * Call `chosen(photos)` each time photos are chosen: upright, and made smaller where they have more than `maxBytes`.
 * What needs neither is the very file.
 */
export function onPhotos({ maxBytes }, chosen) {
  const input = $("photo");
  const prepare = async (files) => chosen(await Promise.all(files.map((file) => prepareImage(file, { maxBytes }))));
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // the same file can be chosen again
    if (files.length) attempt(input, () => prepare(files));
  });
  $("sample").addEventListener("click", (event) => attempt(event.target, async () => prepare([await drawSample()])));
}

/** Show `file` in `image` (by its address in memory), or its name where the browser cannot show it. */
export function preview(image, file) {
  image.parentElement.querySelector(".file-name")?.remove();
  image.onload = () => { image.hidden = false; };
  image.onerror = () => {
    image.hidden = true;
    image.after(Object.assign(document.createElement("span"), { className: "file-name", textContent: file.name ?? "Your photo" }));
  };
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
}

/** A link to a stored image that shows it small, and blurred until it is there. */
export function linkTo(text, { url, width, height, placeholder }) {
  const image = Object.assign(document.createElement("img"), { alt: "", width: 160, height: Math.round((160 * height) / width) });
  showPlaceholder(image, placeholder);
  image.src = url;
  const link = Object.assign(document.createElement("a"), { href: url });
  link.append(image, text);
  return link;
}

/** A photo made small, as a data: address that fits into the session's storage. */
export async function thumbnail(file, side = 320) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width * scale, height: bitmap.height * scale });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

let drawn = 0;

/** Draw a pet, another one each time. */
async function drawSample() {
  const [name, fur, ground] = [
    ["Rex", "#b98252", "#cfe3d8"],
    ["Luna", "#8d8f98", "#f0dfc8"],
    ["Momo", "#4a4038", "#d6dcee"],
    ["Kiwi", "#e2c08d", "#e6d3d8"],
  ][drawn++ % 4];
  const canvas = Object.assign(document.createElement("canvas"), { width: 1200, height: 1200 });
  const brush = canvas.getContext("2d");
  const ellipse = (colour, x, y, width, height, turn = 0) => {
    brush.fillStyle = colour;
    brush.beginPath();
    brush.ellipse(x, y, width, height, turn, 0, 2 * Math.PI);
    brush.fill();
  };
  brush.fillStyle = ground;
  brush.fillRect(0, 0, 1200, 1200);
  ellipse(fur, 600, 1120, 400, 330); // shoulders
  ellipse("#3b2f26", 300, 470, 110, 250, 0.35 - drawn * 0.1); // ears
  ellipse("#3b2f26", 900, 470, 110, 250, -0.35 + drawn * 0.1);
  ellipse(fur, 600, 580, 330, 350); // head
  ellipse("#fbf3e6", 600, 740, 190, 160); // muzzle
  for (const x of [470, 730]) {
    ellipse("#ffffff", x, 510, 62, 66);
    ellipse("#241c16", x + 8, 518, 42, 46);
    ellipse("#ffffff", x + 22, 502, 13, 13);
  }
  ellipse("#241c16", 600, 670, 66, 46); // nose
  ellipse("#d9757a", 600, 850, 52, 66); // tongue
  brush.fillStyle = "#241c16";
  for (let hair = 0; hair < 2600; hair++) {
    brush.globalAlpha = 0.16; // grain, as a photo has it
    brush.fillRect(Math.random() * 1200, Math.random() * 1200, 2, 9);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  return new File([blob], `${name}.jpg`, { type: "image/jpeg" });
}
