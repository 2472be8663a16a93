// Pet art: an effect is made in the browser; the original and what became of it are stored for good, each at its own address.

import { linkTo, onPhotos } from "./photo.js";
import { $, attempt, keepsake, say, withProgress } from "./shop.js";

const SIDE = 1200; // pixels; as large as an effect is made

const EFFECTS = {
  poster: (pixels) => eachPixel(pixels, (red, green, blue) => [red, green, blue].map((value) => Math.round(value / 51) * 51)),
  sepia: (pixels) => eachPixel(pixels, (red, green, blue) => {
    const light = 0.3 * red + 0.59 * green + 0.11 * blue;
    return [light + 40, light + 15, light - 15];
  }),
  negative: (pixels) => eachPixel(pixels, (red, green, blue) => [255 - red, 255 - green, 255 - blue]),
};

let photo = null;

onPhotos({ maxBytes: 10 * 2 ** 20 }, async ([file]) => {
  $("store").disabled = true;
  await draw(file);
  photo = file;
  $("store").disabled = false;
  $("pictures").hidden = false;
  say("");
});

$("effect").addEventListener("change", () => photo && draw(photo));

function eachPixel({ data }, change) {
  for (let at = 0; at < data.length; at += 4) data.set(change(data[at], data[at + 1], data[at + 2]), at);
}

async function draw(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`This browser cannot show ${file.name} as an image. Please choose another photo.`);
  });
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  for (const id of ["original", "processed"]) {
    Object.assign($(id), { width: bitmap.width * scale, height: bitmap.height * scale });
    $(id).getContext("2d").drawImage(bitmap, 0, 0, $(id).width, $(id).height);
  }
  const brush = $("processed").getContext("2d");
  const pixels = brush.getImageData(0, 0, $("processed").width, $("processed").height);
  EFFECTS[$("effect").value](pixels);
  brush.putImageData(pixels, 0, 0);
}

$("store").addEventListener("click", (event) =>
  attempt(event.target, async () => {
    const effect = $("effect").value;
    const sessionId = crypto.randomUUID();
    const art = await new Promise((resolve) => $("processed").toBlob(resolve, "image/jpeg", 0.92));
    const [original, processed] = await withProgress($("progress"), async (move) => {
      const half = (from) => ({ loaded, total }) => move({ loaded: from + loaded / total, total: 2 });
      return [
        await keepsake.images.store(photo, { purpose: "original", sessionId, onProgress: half(0) }),
        await keepsake.images.store(art, { purpose: `processed_${effect}`, sessionId, effect, onProgress: half(1) }),
      ];
    });
    const items = [linkTo("Original", original), linkTo(`With ${effect}`, processed)].map((link) => {
      const item = document.createElement("li");
      item.append(link);
      return item;
    });
    $("links").prepend(...items);
    $("stored").hidden = false;
    say("Stored for good. The addresses stay.");
  }),
);
