import { fetchOnce } from "./transport.js";

/** Node has no XMLHttpRequest, but sends streams: what was taken from the stream is on its way. */
export async function uploadByStream(url, { method, headers, body, onProgress, signal, alive }) {
  const form = new Response(body);
  const type = form.headers.get("Content-Type");
  const bytes = await form.blob();
  let loaded = 0;
  const counted = new TransformStream({
    transform(chunk, controller) {
      alive();
      controller.enqueue(chunk);
      onProgress?.({ loaded: (loaded += chunk.byteLength), total: bytes.size });
    },
  });
  // With its length said, S3 takes it too, which refuses bodies that come in chunks.
  const described = { ...headers, "Content-Type": type, "Content-Length": String(bytes.size) };
  return fetchOnce(url, { method, headers: described, body: bytes.stream().pipeThrough(counted), duplex: "half", signal });
}
