// What every script of these tests has at hand; its own lines stand in the place of BODY.

import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { createKeepsake, KeepsakeError } from "SOURCES/index.js";
import { createAdmin } from "SOURCES/admin.js";
import { keepsakeSigner } from "SOURCES/uppy.js";

const given = JSON.parse(process.env.GIVEN);
const photo = new File([await readFile(given.photo)], "cat.jpg", { type: "image/jpeg" });
const keepsake = createKeepsake({ baseUrl: given.url });

/** A KeepsakeError's members. Everything else fails the script. */
async function refused(promise) {
  const error = await promise.then(() => new Error("It was not refused."), (reason) => reason);
  if (!(error instanceof KeepsakeError)) throw error;
  return { ...error };
}

/** Registers somebody, and signs them in. */
async function newcomer(client = keepsake) {
  const username = `sam-${crypto.randomUUID()}`;
  const password = "correct horse battery";
  await client.auth.register({ username, email: `${username}@example.com`, password });
  await client.auth.login({ username, password });
  return username;
}

/** What sessionStorage is in a page. */
function memory(entries = {}) {
  const kept = new Map(Object.entries(entries));
  return { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value), removeItem: (name) => kept.delete(name) };
}

/** Counts the requests whose path holds `part`; `change(init)` may change what goes out. */
function listen(part, change = () => {}) {
  const real = globalThis.fetch;
  const seen = [];
  globalThis.fetch = (url, init) => {
    if (String(url).includes(part)) {
      seen.push({ url: String(url), method: init.method, headers: init.headers });
      change(init, seen.length);
    }
    return real(url, init);
  };
  return seen;
}

/** A wire to the server at `target` that breaks: each of the next `answers` when it comes, or all at once by `cut()`. */
async function wire(target) {
  const { hostname, port } = new URL(target);
  const open = new Set();
  const state = { answers: 0, connections: 0 };
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    state.connections++;
    const end = () => {
      open.delete(end);
      near.resetAndDestroy();
      far.destroy();
    };
    open.add(end);
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => (state.answers-- > 0 ? end() : near.write(data)));
    for (const socket of [near, far]) socket.on("error", end).on("close", end);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return Object.assign(state, { url: `http://127.0.0.1:${server.address().port}`, cut: () => [...open].forEach((end) => end()) });
}

/** A server that gives these answers, one after the other, and again the last: `[status, headers, body]`. */
async function serve(...answers) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push({ method: request.method, path: request.url, key: request.headers["idempotency-key"] });
    const [status, headers, body] = answers[Math.min(asked.length, answers.length) - 1];
    request.resume().on("end", () => response.writeHead(status, headers).end(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

const answer = await (async () => {
  /* BODY */
})();
console.log(JSON.stringify(answer ?? null));
process.exit(0);
