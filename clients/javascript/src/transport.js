import { connectionFailed, isPassing, refusal } from "./errors.js";

const STALLED_MS = 60_000; // no byte went out, and no answer came
const SHARED_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Exponential, and half of it at random. */
export function backoffMs(failures, retryAfter = 0) {
  const most = Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
  return Math.max((most * (1 + Math.random())) / 2, (retryAfter ?? 0) * 1000);
}

/** Calls `attempt` until it succeeds, is refused for good, or has failed `retries` times more than once. */
export async function withRetries(attempt, { signal, retries = 5, passing = isPassing }) {
  let broke = false;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      broke ||= error.code === "connection_failed";
      if (signal?.aborted || failures >= retries || !passing(error, broke, failures)) throw error;
      await sleep(backoffMs(failures, error.retryAfter), signal);
    }
  }
}

/** A signal that follows `outer`, and that breaks the connection once `alive()` was not called for `ms`, until `calm()`. */
export function watchdog(ms, outer) {
  const control = new AbortController();
  const abort = () => control.abort(outer?.reason);
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort(connectionFailed()), ms);
  };
  const calm = () => clearTimeout(timer);
  outer?.throwIfAborted();
  outer?.addEventListener("abort", abort, { once: true });
  alive();
  return { signal: control.signal, alive, calm, abort };
}

export async function fetchOnce(url, init) {
  let response;
  try {
    response = await fetch(url, { credentials: "omit", ...init });
  } catch (error) {
    init.signal?.throwIfAborted();
    throw connectionFailed(error);
  }
  if (!response.ok) throw refusal(response.status, response.headers, await response.text().catch(() => ""));
  return response;
}

/** A break in the middle of an answer is a broken connection as well. */
export async function readBody(response, kind, signal) {
  try {
    return response.status === 204 ? undefined : await response[kind]();
  } catch (error) {
    signal?.throwIfAborted();
    throw connectionFailed(error);
  }
}

/** Browsers tell the progress of an upload to an XMLHttpRequest alone. */
function uploadByXhr(url, { method, headers, body, onProgress, signal, alive }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    signal.addEventListener("abort", () => xhr.abort(), { once: true });
    xhr.upload.onprogress = ({ loaded, total }) => {
      alive();
      onProgress?.({ loaded, total });
    };
    xhr.onloadend = () => {
      if (signal.aborted) return reject(signal.reason);
      if (!xhr.status) return reject(connectionFailed());
      // Asking for one header that CORS hides is an error in the console; asking for all that are shown is none.
      const lines = xhr.getAllResponseHeaders().trim().split(/\r?\n/).filter(Boolean);
      const shown = new Headers(lines.map((line) => line.split(/:\s*(.*)/s).slice(0, 2)));
      if (xhr.status >= 300) return reject(refusal(xhr.status, shown, xhr.responseText));
      resolve(new Response(xhr.responseText || null, { headers: shown, status: xhr.status }));
    };
    xhr.send(body);
  });
}

/** Sends a request once; its answer, once it begins, as a Response. */
export async function send(url, request) {
  const watch = watchdog(STALLED_MS, request.signal);
  const watched = { ...request, signal: watch.signal };
  try {
    if (!(request.body instanceof FormData)) return await fetchOnce(url, watched);
    watched.alive = watch.alive;
    if (typeof XMLHttpRequest === "function") return await uploadByXhr(url, watched);
    if (globalThis.process?.versions?.node) return await (await import("./node.js")).uploadByStream(url, watched);
    return await fetchOnce(url, watched);
  } finally {
    watch.calm();
  }
}

/**
 * Shares one run of `start(key, signal)` among all who ask for `key` while it lasts and shortly after: React runs effects
 * twice, and an image is given once. The run is aborted a moment after nobody waits any more, since React asks again.
 */
export function shared(start) {
  const running = new Map();

  function begin(key) {
    const control = new AbortController();
    const run = { control, waiting: 0 };
    const forget = () => running.get(key) === run && running.delete(key);
    run.result = start(key, control.signal);
    run.result.then(() => setTimeout(forget, SHARED_MS).unref?.(), forget);
    running.set(key, run);
    return run;
  }

  return (key, { signal } = {}) => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const run = running.get(key) ?? begin(key);
    run.waiting++;
    return new Promise((resolve, reject) => {
      const leave = () => {
        run.waiting--;
        signal?.removeEventListener("abort", stop);
      };
      const stop = () => {
        leave();
        reject(signal.reason);
        setTimeout(() => {
          if (run.waiting) return;
          running.delete(key);
          run.control.abort(signal.reason);
        });
      };
      signal?.addEventListener("abort", stop, { once: true });
      run.result.then(resolve, reject).finally(leave);
    });
  };
}
