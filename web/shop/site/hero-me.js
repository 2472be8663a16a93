// Back from the payment: what became of the session in the address, and the photo, handed out once.

import { preview } from "./photo.js";
import { $, attempt, keepsake, refuse, say } from "./shop.js";

const sessionId = new URLSearchParams(location.search).get("session_id");
const ASK_AGAIN_MS = 2000;

function show(facts) {
  const rows = Object.entries(facts).flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value }),
  ]);
  $("facts").replaceChildren(...rows);
}

const money = (minor, currency) => new Intl.NumberFormat("en", { style: "currency", currency }).format(minor / 100);

async function look() {
  const { status, payment_status, amount_total, currency, metadata } = await keepsake.checkout.status(sessionId);
  show({ Payment: payment_status.replaceAll("_", " "), Amount: money(amount_total, currency) });
  if (status === "open") {
    refuse("This payment was not finished. Nothing was charged.");
    $("onwards").textContent = "Back to the shop";
  } else if (status === "expired") {
    refuse("This payment took too long and has ended. Nothing was charged.");
  } else if (payment_status !== "paid") {
    say("The bank is still at it: this page waits for it.");
    setTimeout(() => attempt($("again"), look), ASK_AGAIN_MS); // some ways to pay take days
  } else if (metadata.order_id) {
    location.replace(`/planter?order_id=${encodeURIComponent(metadata.order_id)}`);
  } else if (metadata.imageId) {
    await showPhoto(metadata.imageId);
  } else {
    say("Paid. Thank you!");
  }
}

async function showPhoto(imageId) {
  sessionStorage.removeItem("purchase"); // it is bought
  $("again").hidden = false;
  try {
    showIt(await keepsake.tempImages.retrieve(imageId));
    say("Paid, and here is your photo: the very bytes that you uploaded. They are handed out once.");
  } catch (error) {
    if (error.code !== "image_not_found") throw error;
    await showCopy();
    say("Your photo was already handed out; here is your copy.");
  }
  $("again").hidden = true;
}

function showIt(photo) {
  preview($("photo"), photo);
  $("figure").hidden = false;
}

/** For 24 hours checkout gives whoever has paid a copy, as often as it is asked for. */
async function showCopy() {
  showIt(await keepsake.checkout.image(sessionId));
}

$("again").addEventListener("click", (event) => attempt(event.target, showCopy));

if (sessionId) attempt($("again"), look);
else refuse("This page is where a payment leads back to; there was none.");
