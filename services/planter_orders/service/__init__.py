"""The use cases: uploading, orders, and what goes on by itself: metadata files, thumbnails, cleanup, webhooks, events."""
