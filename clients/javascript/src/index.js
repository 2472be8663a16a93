import { isPassing } from "./errors.js";
import { createRequest, newKey, path, wire } from "./request.js";
import { readBody, send, shared, withRetries } from "./transport.js";

export { KeepsakeError } from "./errors.js";
/** Loaded when it is first used, as events are: most pages need neither. */
export const prepareImage = async (file, options) => (await import("./prepare.js")).prepareImage(file, options);

const nameOf = (file) => file.name || `photo.${file.type.split("/")[1] || "jpg"}`;

/** A form, its text fields before its files: S3 ignores what comes behind the file. */
function formOf(field, files, texts) {
  const form = new FormData();
  for (const [name, value] of texts) form.append(name, value);
  for (const file of files) form.append(field, file, nameOf(file));
  return form;
}

/** The type of an image; by its first bytes where nobody has told it. */
async function typeOf(file) {
  if (file.type) return file.type;
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (first === 0xff && second === 0xd8) return "image/jpeg";
  return first === 0x89 && second === 0x50 ? "image/png" : "image/webp";
}

export function createKeepsake(options = {}) {
  const { request, auth } = createRequest(options);

  /** Uploads files and text fields as one form, under one key however often it is sent. */
  function upload(method, target, field, files, options = {}, more) {
    const { onProgress, signal, idempotencyKey = newKey(), ...texts } = options;
    return request(method, target, { form: formOf(field, files, wire(texts)), onProgress, signal, idempotencyKey, ...more });
  }

  const retrieve = shared((imageId, signal) => {
    // After a broken transfer the image is given back as soon as the server notices that it broke.
    const passing = (error, broke, failures) => isPassing(error) || (broke && error.status === 404 && failures < 4);
    const target = path`/api/temp-image-retrieve?imageId=${imageId}`;
    return request("GET", target, { read: "blob", anonymous: true, signal, passing });
  });

  const tempImages = {
    upload: (file, options) => upload("POST", "/api/temp-image-upload", "image", [file], options, { anonymous: true }),
    retrieve,
  };

  const images = { store: (file, options) => upload("POST", "/store-image", "image", [file], options) };

  const userImages = {
    upload: (file, options) => upload("POST", "/api/upload_user_image/", "image", [file], options),
    list: (username, { signal, ...query } = {}) => request("GET", path`/api/user_images/${username}/`, { query, signal }),
    remove: (id, { signal } = {}) => request("DELETE", path`/api/user_image/${id}/delete/`, { signal }),
    setPrimary: (id, { signal } = {}) => request("PUT", path`/api/user_image/${id}/set_primary/`, { signal, retries: 5 }),
  };

  const organization = (id) => {
    const home = path`/api/v1/organizations/${id}`;
    const presign = (file, { signal } = {}) =>
      request("POST", `${home}/temp-image-upload`, {
        json: { content_type: file.type, filename: file.name, size: file.size },
        signal,
        retries: 5,
      });
    return {
      presign,

      /** Signs, then sends the file to where the images lie: the bucket itself, or media-store in its place. */
      async upload(file, { onProgress, signal } = {}) {
        const type = await typeOf(file);
        const signed = await presign({ type, name: nameOf(file), size: file.size }, { signal });
        const body = formOf("file", [file], Object.entries(signed.fields));
        const { url, method, headers } = signed;
        const attempt = async () => readBody(await send(url, { method, headers, body, onProgress, signal }), "text", signal);
        await withRetries(attempt, { signal });
        return { ...signed, publicUrl: signed.public_url };
      },

      promote: (uploaded, { purpose = "events", signal } = {}) =>
        request("POST", `${home}/images/promote`, {
          json: { s3_key: uploaded.s3_key ?? uploaded, purpose },
          signal,
          retries: 5,
        }),
      get: ({ signal } = {}) => request("GET", home, { signal }),
      members: ({ signal } = {}) => request("GET", `${home}/members`, { signal }),
      addMember: (member, { signal } = {}) =>
        request("POST", `${home}/members`, { json: Object.fromEntries(wire(member)), signal }),
      changeMember: (userId, role, { signal } = {}) =>
        request("PATCH", home + path`/members/${userId}`, { json: { role }, signal }),
      removeMember: (userId, { signal } = {}) => request("DELETE", home + path`/members/${userId}`, { signal }),
    };
  };
  const organizations = Object.assign(organization, {
    create: (name, { signal } = {}) => request("POST", "/api/v1/organizations", { json: { name }, signal }),
    list: ({ signal } = {}) => request("GET", "/api/v1/organizations", { signal }),
  });

  const orderAt = (id) => path`/api/images/orders/${id}`;
  const orders = {
    create: (files, fields, options) => upload("POST", "/api/images/upload", "files", [...files], { ...fields, ...options }),
    list: ({ signal, ...query } = {}) => request("GET", "/api/images/orders", { query, signal }),
    get: (id, { signal } = {}) => request("GET", orderAt(id), { signal }),
    remove: (id, { signal } = {}) => request("DELETE", orderAt(id), { signal }),
    replacePhoto: (id, filename, file, options) =>
      upload("PUT", orderAt(id) + path`/files/${filename}`, "file", [file], options),
    photo: (id, filename, { size, signal } = {}) =>
      request("GET", orderAt(id) + path`/files/${filename}`, { query: { size }, read: "blob", signal }),
    photos: (id, { signal } = {}) => request("GET", `${orderAt(id)}/photos.zip`, { read: "blob", signal }),
    async *events(id, options) {
      const { follow } = await import("./events.js");
      yield* follow((init) => request("GET", `${orderAt(id)}/events`, { ...init, read: "response", retries: 0 }), options);
    },
  };

  const checkout = {
    open({ imageId, orderId, signal, idempotencyKey = newKey(), ...item } = {}) {
      const json = { ...Object.fromEntries(wire({ orderId, ...item })), imageId };
      return request("POST", "/api/checkout/embedded-session", { json, signal, idempotencyKey });
    },
    status: (id, { signal } = {}) => request("GET", path`/api/checkout/session-status?session_id=${id}`, { signal }),
    image: (id, { signal } = {}) => request("GET", path`/api/checkout/sessions/${id}/image`, { read: "blob", signal }),
  };

  return { request, auth, tempImages, images, userImages, organizations, orders, checkout };
}
