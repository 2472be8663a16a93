import { isPassing, KeepsakeError } from "./errors.js";
import { backoffMs, sleep, watchdog } from "./transport.js";

const SILENT_MS = 45_000; // the server writes a comment every 15 s

/** Server-sent events (WHATWG HTML, section 9.2) out of a stream of bytes. */
async function* parse(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { type: "message", id: null, data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        const [, field, text] = line.match(/^([^:]*)(?:: ?(.*))?$/s);
        if (field === "event") event.type = text;
        else if (field === "id") event.id = text;
        else if (field === "data") event.data.push(text ?? "");
        else if (line === "") {
          if (event.data.length) yield { ...event, data: event.data.join("\n") };
          event = { type: "message", id: null, data: [] };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * The events of a stream that is opened again where it breaks, from the last one seen.
 * `open({headers, signal})` gives a Response. Ends when `signal` is aborted; throws what is refused for good.
 */
export async function* follow(open, { signal, lastEventId, onConnection } = {}) {
  for (let failures = 0; !signal?.aborted; failures++) {
    const watch = watchdog(SILENT_MS, signal);
    try {
      const headers = lastEventId ? { "Last-Event-ID": lastEventId } : {};
      const response = await open({ headers, signal: watch.signal });
      onConnection?.("open");
      for await (const { type, id, data } of parse(response.body, watch.alive)) {
        failures = 0;
        if (id) lastEventId = id;
        yield { type, id, ...JSON.parse(data) };
        watch.alive();
      }
    } catch (error) {
      if (signal?.aborted) return;
      // A stream that breaks while it is read fails with what the browser or Node has for that.
      if (error instanceof KeepsakeError && !isPassing(error) && error.status !== 429) throw error;
      onConnection?.("lost");
    } finally {
      watch.calm();
      watch.abort();
    }
    await sleep(backoffMs(failures), signal).catch(() => {});
  }
}
