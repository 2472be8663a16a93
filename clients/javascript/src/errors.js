/** Camel case to snake case: `sessionId` is `session_id`, S3's `EntityTooLarge` is `entity_too_large`. */
export const snake = (name) => name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();

export class KeepsakeError extends Error {
  constructor(detail, { code, status = 0, requestId = null, retryAfter = null, errors = [], cause } = {}) {
    super(detail, { cause });
    this.name = "KeepsakeError";
    Object.assign(this, { code, status, detail, requestId, retryAfter, errors });
  }
}

/** The connection broke, or none came about: nobody knows what the server did. */
export const connectionFailed = (cause) =>
  new KeepsakeError("The connection to the server broke. Please try again.", { code: "connection_failed", cause });

/** A refusal as an error: RFC 9457's JSON, S3's XML, or whatever a proxy on the way may have said. */
export function refusal(status, headers, text) {
  let said = {};
  try {
    said = JSON.parse(text) ?? {};
  } catch {
    const element = (name) => text.match(`<${name}>([^<]*)</${name}>`)?.[1];
    said = { code: element("Code") && snake(element("Code")), detail: element("Message") };
  }
  const detail = [said.detail, said.error].find((text) => text && typeof text === "string");
  const retryAfter = Number.parseInt(headers.get("Retry-After"), 10);
  return new KeepsakeError(detail ?? `The server answered with status ${status}.`, {
    code: said.code || "http_error",
    status,
    requestId: said.request_id ?? headers.get("X-Request-Id"),
    retryAfter: Number.isNaN(retryAfter) ? null : retryAfter,
    errors: said.errors,
  });
}

const AWAY = [502, 503, 504];
const FOR_PEOPLE = ["storage_full", "payment_provider_unavailable"]; // the one lasts, the other was tried again already
const LONGEST_WAIT_S = 20;

/** Whether the same request may succeed in a moment. */
export function isPassing(error) {
  if (!(error instanceof KeepsakeError) || FOR_PEOPLE.includes(error.code) || error.retryAfter > LONGEST_WAIT_S) return false;
  if (error.status === 404) return error.retryAfter > 0; // a thumbnail that is still being made
  return ["connection_failed", "idempotency_in_progress"].includes(error.code) || AWAY.includes(error.status);
}
