"""Asking the services: a small, strict HTTP/1.1 client with pooled connections, balanced addresses and a breaker."""
