"""Rows of images shown a moment ago: what they say never changes, only whether they are still there."""

from __future__ import annotations

import time
from collections import OrderedDict

from services.media_store.model import StoredImage

KEPT_S = 30.0  # for as long another process's deletion may go unnoticed, where only a 304 is asked for
KEPT = 4096


class RecentImages:
    """A bounded memory by id and by key."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[StoredImage, float]] = OrderedDict()
        self._ids: dict[str, str] = {}

    def find(self, key: str) -> StoredImage | None:
        """Return what is remembered of a key."""
        image, until = self._known.get(key, (None, 0.0))
        return image if time.monotonic() < until else None

    def get(self, image_id: str) -> StoredImage | None:
        """Return what is remembered of an id."""
        return self.find(self._ids.get(image_id, ""))

    def add(self, image: StoredImage) -> None:
        """Remember a row that was just read; one that is remembered already grows no younger."""
        if self.find(image.key) is not None:
            return
        self._known[image.key] = (image, time.monotonic() + KEPT_S)
        self._known.move_to_end(image.key)
        self._ids[image.id] = image.key
        if len(self._known) > KEPT:
            self.forget(next(iter(self._known.values()))[0])

    def forget(self, image: StoredImage) -> None:
        """Forget a row that is going away."""
        self._known.pop(image.key, None)
        self._ids.pop(image.id, None)
