// Storage: where the images lie and whether it works. System: what runs, and the limits in force.

import { $, attempt, badge, button, h, say } from "./ui.js";

const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];

export async function storage({ admin, element, signal }) {
  const facts = h("dl", { class: "facts" });
  const steps = h("ol", { class: "timeline" });
  const probe = button("Write, read and delete a probe", () => attempt(probe, async () => {
    const answer = await admin.storage.probe({ signal });
    steps.replaceChildren(...answer.steps.map(({ step, success, duration_ms }) => h("li", {}, `${step} `, badge(success ? "done" : "failed", success ? "good" : "bad"), ` ${duration_ms.toFixed(1)} ms`)));
    say(answer.success ? "The storage works." : "The storage does not work.");
  }), { class: "primary" });
  element.append(h("h1", {}, "Storage"), h("section", { class: "card" }, facts, h("p", { class: "row" }, probe), steps));
  const { backend, bucket, endpoint, public_domain, reachable, answered_in_ms } = await admin.storage.status({ signal });
  facts.replaceChildren(
    ...fact("Backend", backend), ...fact("Bucket", bucket ?? "–"), ...fact("Endpoint", endpoint ?? "–"), ...fact("Public domain", public_domain ?? "–"),
    ...fact("Answers", reachable ? badge(`in ${answered_in_ms.toFixed(1)} ms`, "good") : badge("not at all", "bad")),
  );
}

export async function system({ element, signal, onConnection }) {
  const services = h("dl", { class: "facts" });
  const limits = $("limits").cloneNode(true); // the gateway has written them into the page
  limits.removeAttribute("id");
  limits.hidden = false;
  element.append(h("h1", {}, "System"), h("div", { class: "stack beside" }, h("section", { class: "card" }, h("h2", {}, "Services"), services), h("section", { class: "card" }, h("h2", {}, "Limits in force"), limits)));
  async function refresh() {
    const { services: found } = await (await fetch("/health", { signal, cache: "no-store" })).json();
    services.replaceChildren(...Object.entries(found).flatMap(([name, { status }]) => fact(name, badge(status, status === "healthy" ? "good" : "bad"))));
  }
  await refresh();
  const timer = setInterval(() => refresh().then(() => onConnection("open"), () => signal.aborted || onConnection("lost")), 5000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
