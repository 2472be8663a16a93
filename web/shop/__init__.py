"""The demo shop: five storefronts as static pages, on an origin of their own."""
