import { path } from "./request.js";

/** The calls of the role `admin`, for a client that is signed in with it; answers are the wire's own. */
export function createAdmin({ request }) {
  const get = (target, { signal, ...query } = {}, more) => request("GET", target, { query, signal, ...more });
  const post = (target, json, { signal, ...more } = {}) => request("POST", target, { json, signal, ...more });
  const order = (id) => path`/api/admin/orders/${id}`;

  return {
    orders: {
      list: (query) => get("/api/admin/orders", query),
      csv: (query) => get("/api/admin/orders.csv", query, { read: "blob" }),
      summary: (options) => get("/api/admin/summary", options),
      move: (id, status, { note, signal } = {}) => request("PATCH", order(id), { json: { status, note }, signal }),
      requestPhoto: (id, { filename, reason, note }, options) =>
        post(`${order(id)}/photo-requests`, { filename, reason, note }, { retries: 5, ...options }),
      withdrawRequest: (id, filename, { signal } = {}) =>
        request("DELETE", order(id) + path`/photo-requests/${filename}`, { signal }),
    },
    deliveries: {
      list: (query) => get("/api/admin/deliveries", query),
      resend: (id, options) => post(path`/api/admin/deliveries/${id}/resend`, undefined, options),
    },
    payments: {
      list: (query) => get("/api/admin/payments", query),
      resolve: (sessionId, action, note, options) => post(path`/api/admin/payments/${sessionId}/resolve`, { action, note }, options),
      refund: ({ sessionId, orderId, amount, reason }, options) =>
        post("/api/checkout/refunds", { session_id: sessionId, order_id: orderId, amount, reason }, options),
    },
    images: {
      list: (query) => get("/api/admin/images", query),
      /** Takes one down: by its key, or a user's by its id. */
      remove: ({ id, key, kind }, { signal } = {}) =>
        kind === "user"
          ? request("DELETE", path`/api/user_image/${id}/delete/`, { signal })
          : request("DELETE", `/media/${key.split("/").map(encodeURIComponent).join("/")}`, { signal }),
    },
    users: {
      list: (query) => get("/api/admin/users", query),
      change: (id, { roles, disabled }, { signal } = {}) =>
        request("PATCH", path`/api/admin/users/${id}`, { json: { roles, disabled }, signal }),
    },
    storage: {
      status: (options) => get("/api/debug/r2-status/", options),
      probe: (options) => post("/api/test-r2-storage/", undefined, options),
    },
  };
}
