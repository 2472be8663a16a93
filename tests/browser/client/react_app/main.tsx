// What a fresh app has: a root, its pages by their addresses, and React's strict mode, which runs every effect twice.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useTempImageUpload } from "@keepsake/client/react";
import { BuyPhoto } from "./BuyPhoto";
import { EventBanner } from "./EventBanner";
import { HeroMe } from "./HeroMe";
import { keepsake } from "./keepsake";

/** Shows all that the hook says; the page's `hook` calls it. */
function Hook() {
  const hook = useTempImageUpload({ client: keepsake });
  Object.assign(globalThis, { hook });
  const { status, progress, result, error } = hook;
  return <output>{JSON.stringify({ status, progress, imageId: result?.imageId ?? null, error: error?.code ?? null })}</output>;
}

const orgId = new URLSearchParams(location.search).get("org") ?? "";
const pages = {
  "/": <BuyPhoto />,
  "/hero-me": <HeroMe />,
  "/event": <EventBanner orgId={orgId} onChange={(url) => (document.title = url)} />,
  "/hook": <Hook />,
};
createRoot(document.getElementById("root")!).render(<StrictMode>{pages[location.pathname as keyof typeof pages]}</StrictMode>);
