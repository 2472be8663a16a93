// The front page's one moving part: how each service is, asked again every five seconds while the page is looked at.

const EVERY_MS = 5000;
const overall = document.getElementById("overall");

function show(service, text, kind) {
  const badge = document.querySelector(`[data-service="${CSS.escape(service)}"] .badge`);
  if (!badge) return;
  badge.textContent = text;
  badge.className = `badge ${kind}`;
}

/** Say the whole state, and only when it is another: a screen reader reads each change aloud. */
function say(text, kind) {
  if (overall.textContent === text) return;
  const badge = document.createElement("span");
  badge.className = `badge ${kind}`;
  badge.textContent = text;
  overall.replaceChildren(badge);
}

async function ask() {
  try {
    const answer = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    const { status, services } = await answer.json();
    show("gateway", "runs", "good");
    for (const [name, { status: state }] of Object.entries(services)) {
      if (state === "healthy") show(name, "runs", "good");
      else show(name, "does not answer", "bad");
    }
    if (status === "healthy") say("All is well", "good");
    else say("Some of it does not answer", "warn");
  } catch {
    for (const row of document.querySelectorAll("[data-service]")) show(row.dataset.service, "unknown", "");
    show("gateway", "does not answer", "bad");
    say("No connection", "bad");
  }
}

async function keepAsking() {
  if (!document.hidden) await ask();
  setTimeout(keepAsking, EVERY_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
keepAsking();
