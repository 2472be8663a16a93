"""The use cases of media-store."""
