// What a fresh app has: a root, its pages by their addresses, and React's strict mode, which runs every effect twice.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BuyPhoto } from "./BuyPhoto";
import { EventBanner } from "./EventBanner";
import { HeroMe } from "./HeroMe";

const orgId = new URLSearchParams(location.search).get("org") ?? "";
const pages = {
  "/": <BuyPhoto />,
  "/hero-me": <HeroMe />,
  "/event": <EventBanner orgId={orgId} onChange={(url) => (document.title = url)} />,
};
createRoot(document.getElementById("root")!).render(<StrictMode>{pages[location.pathname as keyof typeof pages]}</StrictMode>);
