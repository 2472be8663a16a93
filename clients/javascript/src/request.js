import { createAuth } from "./auth.js";
import { snake } from "./errors.js";
import { readBody, send, withRetries } from "./transport.js";

const REPEATABLE = ["GET", "HEAD"];
const TRIES_AGAIN = 5;

/** `path`/api/orders/${id}`` with each value escaped as one segment. */
export const path = (parts, ...values) => String.raw({ raw: parts }, ...values.map(encodeURIComponent));

/** 128 random bits in hex. (`crypto.randomUUID` is missing in pages that are not served by https.) */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The names and values that were given, in the wire's spelling. */
export const wire = (fields) =>
  Object.entries(fields ?? {})
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [snake(name), value]);

export function createRequest({ baseUrl = "", getToken, storage, storeAccessToken }) {
  const base = baseUrl.replace(/\/+$/, "");
  const auth = createAuth({ request, getToken, storage, storeAccessToken });

  /** Runs `ask(headers)` with the caller's token, and once more with another one where that was refused. */
  async function authorized(ask) {
    const headersOf = (token) => (token ? { Authorization: `Bearer ${token}` } : {});
    const token = await auth.token();
    try {
      return await ask(headersOf(token));
    } catch (error) {
      const another = error.status === 401 && token && (await auth.another(token));
      if (!another) throw error;
      return ask(headersOf(another));
    }
  }

  /** Asks `target`, a path; `form` is a FormData, `read` what becomes of the answer: json, blob, text or response. */
  async function request(method, target, options = {}) {
    const { query, json, form, signal, onProgress, idempotencyKey, read = "json", anonymous, passing } = options;
    const search = new URLSearchParams(wire(query)).toString();
    const url = base + target + (search && `?${search}`);
    const own = { ...options.headers };
    if (idempotencyKey) own["Idempotency-Key"] = idempotencyKey;
    if (json !== undefined) own["Content-Type"] = "application/json";
    const retries = options.retries ?? (REPEATABLE.includes(method) || idempotencyKey ? TRIES_AGAIN : 0);

    const body = json === undefined ? form : JSON.stringify(json);

    const persist = (headers) =>
      withRetries(
        async () => {
          const response = await send(url, { method, headers: { ...own, ...headers }, body, onProgress, signal });
          return read === "response" ? response : readBody(response, read, signal);
        },
        { signal, retries, passing },
      );
    return anonymous ? persist({}) : authorized(persist);
  }

  return { request, auth: auth.methods };
}
