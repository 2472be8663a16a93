// Planters: an order with up to four photos, what is said about each photo, its status as it changes, and the payment.

import { requireCustomer, showCustomer, signedInAs } from "./account.js";
import { prepareImage } from "./client/index.js";
import { placeholderDataURL } from "./client/placeholder.js";
import { onPhotos, preview } from "./photo.js";
import { $, attempt, keepsake, pay, refuse, say, withProgress } from "./shop.js";

const MAX_BYTES = 10 * 2 ** 20;
const MOST = 4;
const CHECK_AGAIN_MS = 1500;
const WAY = ["pending", "awaiting_payment", "paid", "in_production", "shipped", "delivered"];
const WORDS = {
  small: "This photo is small: it may look coarse.",
  blurred: "This photo is blurred.",
  near_duplicate: "This photo is nearly the same as another one.",
  duplicate: "This photo is nearly the same as another one.",
  cropped: "Something is cut off in this photo.",
  unreadable: "This photo could not be looked at.",
  other: "",
};

let photos = [];
const thumbnails = new Map(); // by file name: what has been fetched is not fetched again

// --- the order to be --------------------------------------------------------------------------------------

onPhotos({ maxBytes: MAX_BYTES }, (files) => {
  refuse("");
  if (photos.length + files.length > MOST) refuse(`A planter has room for ${MOST} photos.`);
  photos = [...photos, ...files].slice(0, MOST);
  showChosen();
});

function showChosen() {
  $("chosen").replaceChildren(
    ...photos.map((file) => {
      const item = $("chosen-photo").content.cloneNode(true).firstElementChild;
      preview(item.querySelector("img"), file);
      item.querySelector("img").alt = file.name;
      item.querySelector("button").setAttribute("aria-label", `Leave out ${file.name}`);
      item.querySelector("button").addEventListener("click", () => {
        photos = photos.filter((other) => other !== file);
        showChosen();
      });
      return item;
    }),
  );
  $("place").disabled = photos.length === 0;
}

$("order").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt($("place"), async () => {
    await requireCustomer();
    const fields = { petName: $("pet-name").value, petType: $("pet-type").value, notes: $("notes").value };
    const create = (onProgress) => keepsake.orders.create(photos, { ...fields, onProgress });
    const { order_id } = await withProgress($("progress"), create);
    history.pushState(null, "", `?order_id=${encodeURIComponent(order_id)}`); // a reload shows this order again
    await open(order_id);
    $("placed").scrollIntoView(); // its steps and its price: on a phone the form's end was far below
    $("title").focus({ preventScroll: true });
  });
});

// --- the order that is -----------------------------------------------------------------------------------

let following = new AbortController();

/** Show an order, and follow it from now on; say where to sign in where nobody is. */
async function open(orderId) {
  following.abort();
  following = new AbortController();
  $("order").hidden = true;
  $("new-order").hidden = false;
  if (!(await signedInAs())) {
    const link = Object.assign(document.createElement("a"), { href: `/profile?order_id=${encodeURIComponent(orderId)}`, textContent: "sign in" });
    $("customer").replaceChildren("Only the customer who placed this order can see it. Please ", link, " to look at it.");
    $("customer").className = "note warn";
    return;
  }
  await showCustomer($("customer"));
  await refresh(orderId);
  $("placed").hidden = false;
  follow(orderId, following.signal).catch((error) => refuse(error.detail ?? error.message));
}

async function follow(orderId, signal) {
  const onConnection = (state) => { $("connection").textContent = state === "open" ? "live" : "connecting again…"; };
  for await (const event of keepsake.orders.events(orderId, { signal, onConnection })) {
    if (event.type === "status") showStatus(event.status, event.at);
    else if (event.type === "photo") await refresh(orderId);
  }
}

async function refresh(orderId) {
  const { order } = await keepsake.orders.get(orderId);
  $("title").textContent = order.pet_name ? `A planter for ${order.pet_name}` : "Your planter";
  showStatus(order.status);
  $("photos").replaceChildren(...order.files.map((file) => photoCard(orderId, file)));
  // What is wrong with a photo is known a moment after the order.
  if (order.files.some((file) => file.quality === null)) {
    setTimeout(() => refresh(orderId).catch(() => {}), CHECK_AGAIN_MS);
  }
}

/** A status in the words of the steps. */
function inWords(status) {
  const step = $("steps").children[WAY.indexOf(status)];
  return step ? step.firstChild.data : status[0].toUpperCase() + status.slice(1).replaceAll("_", " ");
}

function showStatus(status, at) {
  if ($("steps").dataset.status === status) return;
  $("steps").dataset.status = status;
  say(`Status: ${inWords(status)}`);
  const reached = WAY.indexOf(status);
  for (const [index, step] of [...$("steps").children].entries()) {
    step.classList.toggle("done", index <= reached);
    if (index === reached) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
    if (index === reached && at) step.querySelector("time").textContent = new Date(at).toLocaleTimeString("en");
  }
  $("pay-box").hidden = !["pending", "awaiting_payment"].includes(status);
}

function photoCard(orderId, file) {
  const item = $("order-photo").content.cloneNode(true).firstElementChild;
  const image = item.querySelector("img");
  image.alt = file.original_filename;
  if (file.placeholder) image.src = placeholderDataURL(file.placeholder); // until the thumbnail is made, and here
  if (file.quality) showThumbnail(image, orderId, file.filename);
  const warnings = file.quality?.warnings.map((warning) => WORDS[warning] ?? warning) ?? [];
  item.querySelector(".checked").textContent = file.quality ? (file.quality.ok ? "Good photo" : "") : "Looking at it…";
  item.querySelector(".checked").className = `checked badge ${file.quality?.ok ? "good" : ""}`;
  item.querySelector(".checked").hidden = file.quality?.ok === false;
  item.querySelector(".warnings").replaceChildren(...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  if (file.request) askForAnother(item, orderId, file);
  return item;
}

async function showThumbnail(image, orderId, filename) {
  try {
    if (!thumbnails.has(filename)) thumbnails.set(filename, keepsake.orders.photo(orderId, filename, { size: "thumb" }));
    preview(image, await thumbnails.get(filename));
  } catch {
    thumbnails.delete(filename); // it is shown without, and asked for again with the next change
  }
}

/** The shop has asked for a better photo: a field to choose it, which sends it at once. */
function askForAnother(item, orderId, { filename, request }) {
  const form = $("another").content.cloneNode(true).firstElementChild;
  form.querySelector("p").textContent = ["Please choose another photo.", WORDS[request.reason], request.note].filter(Boolean).join(" ");
  const input = form.querySelector("input");
  input.id = `another-${filename}`;
  form.querySelector("label").htmlFor = input.id;
  input.addEventListener("change", () =>
    attempt(input, async () => {
      const photo = await prepareImage(input.files[0], { maxBytes: MAX_BYTES });
      const replace = (onProgress) => keepsake.orders.replacePhoto(orderId, filename, photo, { onProgress });
      await withProgress(form.querySelector("progress"), replace);
      await refresh(orderId);
      say("Thank you, the new photo is here.");
    }),
  );
  item.append(form);
}

const orderInAddress = () => new URLSearchParams(location.search).get("order_id");

$("pay").addEventListener("click", (event) =>
  attempt(event.target, async () => pay(await keepsake.checkout.open({ orderId: orderInAddress() }))),
);

async function showOrders() {
  if (!(await showCustomer($("customer")))) return;
  const { orders } = await keepsake.orders.list({ limit: 5 });
  $("earlier").hidden = orders.length === 0;
  $("orders").replaceChildren(
    ...orders.map(({ order_id, pet_name, status, upload_timestamp }) => {
      const item = document.createElement("li");
      const text = `${pet_name || "A planter"}, ${new Date(upload_timestamp).toLocaleString("en")}: ${inWords(status)}`;
      item.append(Object.assign(document.createElement("a"), { href: `?order_id=${encodeURIComponent(order_id)}`, textContent: text }));
      return item;
    }),
  );
}

window.addEventListener("popstate", () => location.reload());
attempt(null, () => (orderInAddress() ? open(orderInAddress()) : showOrders()));
