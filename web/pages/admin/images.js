// Images: everything that is kept, newest first, to look through and to take down.

import { showPlaceholder } from "/client/placeholder.js";
import { ask, attempt, badge, button, choice, field, filters, growing, h, say, when } from "./ui.js";

const KINDS = [["", "every"], ["stored", "stored"], ["user", "of users"], ["event", "of events"]];

export async function images({ admin, element, signal, params, go }) {
  const list = h("ul", { class: "pictures" });
  const query = Object.fromEntries(params);
  const { first, element: grown } = growing(list, {
    load: async (cursor) => {
      const answer = await admin.images.list({ ...query, limit: 48, cursor, signal });
      return { items: answer.images, next: answer.next_cursor };
    },
    show: (image) => {
      const picture = h("img", { src: image.url.includes("?") ? image.url : `${image.url}?w=320`, alt: image.caption || `Image ${image.key}`, loading: "lazy" });
      showPlaceholder(picture, image.placeholder);
      const item = h("li", { class: "card" },
        h("a", { href: image.url, target: "_blank", rel: "noreferrer" }, picture),
        h("p", { class: "small" }, badge(image.kind), " ", image.username ?? "", h("br"), h("span", { class: "quiet" }, when(image.uploaded_at), ` · ${image.width} × ${image.height}`)),
        button("Take down", (event) => takeDown(event.target, image, item), { class: "small danger" }));
      return item;
    },
    empty: "No image fits.",
    signal,
  });
  element.append(
    h("h1", {}, "Images"),
    filters(params, [field("Username", h("input", { name: "username", type: "search", value: query.username ?? "" })), field("Kind", choice("kind", KINDS, query.kind ?? ""))], go),
    grown,
  );
  await first();

  async function takeDown(control, image, item) {
    const sure = await ask("Take this image down?", { text: "It is deleted with all its copies; its address answers 404 from then on.", yes: "Take down" });
    if (!sure) return;
    if (await attempt(control, () => admin.images.remove(image))) {
      item.remove();
      say("The image is gone.");
    }
  }
}
