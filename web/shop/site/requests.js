// The panel that shows every request the page makes: method, address, status, time, and the bodies in short.
// It is here to be looked at; a shop of your own leaves it out.

const SECRET = new Set(["password", "access_token", "refresh_token", "client_secret"]);
const SHORT = 700; // characters of a body that are shown

/** Show in `panel`, an <ol>, what is sent to `keepsakeUrl` and elsewhere from now on. */
export function watchRequests(panel, keepsakeUrl) {
  watchFetch((...request) => addRow(panel, keepsakeUrl, ...request));
  watchUploads((...request) => addRow(panel, keepsakeUrl, ...request));
}

function watchFetch(begin) {
  const { fetch } = window;
  window.fetch = async (url, init = {}) => {
    const end = begin(init.method ?? "GET", String(url), inShort(init.body));
    try {
      const response = await fetch(url, init);
      const type = response.headers.get("Content-Type") ?? "";
      if (type.includes("json")) response.clone().text().then((text) => end(response.status, inShort(text)), () => {});
      else end(response.status, type && describe(type, response.headers.get("Content-Length")));
      return response;
    } catch (error) {
      end(0, "");
      throw error;
    }
  };
}

/** Uploads are sent by XMLHttpRequest, because a browser tells their progress to it alone. */
function watchUploads(begin) {
  const { open, send } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url, ...more) {
    this.target = [method, url];
    return open.call(this, method, url, ...more);
  };
  XMLHttpRequest.prototype.send = function (body) {
    const end = begin(...this.target, inShort(body));
    this.addEventListener("loadend", () => end(this.status, inShort(this.responseText)));
    return send.call(this, body);
  };
}

/** Add a row; what is returned completes it. The bodies are put in when the row is opened. */
function addRow(panel, keepsakeUrl, method, url, sent) {
  const started = performance.now();
  const bodies = { sent };
  const row = document.createElement("li");
  row.innerHTML = `<details><summary><code><b></b> <span></span></code> <span class="answer"><span class="badge">…</span></span></summary></details>`;
  row.querySelector("b").textContent = method;
  row.querySelector("code span").textContent = url.startsWith(keepsakeUrl) ? url.slice(keepsakeUrl.length) : url;
  const details = row.firstChild;
  const fill = () => {
    for (const shown of details.querySelectorAll("pre")) shown.remove();
    if (details.open) details.append(...Object.entries(bodies).filter(([, text]) => text).map(block));
  };
  details.addEventListener("toggle", fill);
  panel.prepend(row);
  return (status, answered) => {
    bodies.answered = answered;
    fill();
    const badge = row.querySelector(".badge");
    badge.textContent = status || "no connection";
    badge.className = `badge ${status === 0 ? "bad" : status < 400 ? "good" : "warn"}`;
    badge.after(`${Math.round(performance.now() - started)} ms`);
  };
}

function block([label, text]) {
  const element = document.createElement("pre");
  element.tabIndex = 0; // a long one scrolls, by key too
  element.setAttribute("aria-label", label);
  element.textContent = text;
  return element;
}

const describe = (type, bytes) => (bytes ? `${type}, ${size(bytes)}` : type);

export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function inShort(body) {
  if (body instanceof FormData) return formInShort(body);
  if (typeof body !== "string") return "";
  try {
    return cut(JSON.stringify(JSON.parse(body, (name, value) => (SECRET.has(name) ? "…" : value)), null, 1));
  } catch {
    return cut(body);
  }
}

const formInShort = (form) =>
  cut(Array.from(form, ([name, value]) => `${name}: ${value instanceof File ? `${value.name}, ${size(value.size)}` : value}`).join("\n"));

const cut = (text) => (text.length > SHORT ? `${text.slice(0, SHORT)} …` : text);
