"""What media-store's ports are kept in or asked from."""
