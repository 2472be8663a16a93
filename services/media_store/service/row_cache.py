"""Rows of images shown a moment ago: what they say never changes, only whether they are still there."""

from __future__ import annotations

from cachetools import TTLCache

from services.media_store.model import StoredImage

KEPT_S = 30.0  # for as long another process's deletion may go unnoticed, where only a 304 is asked for
KEPT = 4096


class RecentImages:
    """A bounded memory by id and by key."""

    def __init__(self) -> None:
        self._by_key: TTLCache[str, StoredImage] = TTLCache(KEPT, KEPT_S)
        self._keys: TTLCache[str, str] = TTLCache(KEPT, KEPT_S)

    def find(self, key: str) -> StoredImage | None:
        """Return what is remembered of a key."""
        return self._by_key.get(key)

    def get(self, image_id: str) -> StoredImage | None:
        """Return what is remembered of an id."""
        return self.find(self._keys.get(image_id, ""))

    def add(self, image: StoredImage) -> None:
        """Remember a row that was just read; one that is remembered already grows no younger."""
        if self.find(image.key) is not None:
            return
        self._by_key[image.key] = image
        self._keys[image.id] = image.key

    def forget(self, image: StoredImage) -> None:
        """Forget a row that is going away."""
        self._by_key.pop(image.key, None)
        self._keys.pop(image.id, None)
