"""Erasing a person: all images under the person's names, and then the names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from services.media_store.adapters.sql.images import SqlImages
from services.media_store.model.images import ImageNotFound
from services.media_store.service.images import ImageService
from shared.app.erasure import ErasureRequest

BATCH = 20  # an internal call is answered within 2.5 s


@dataclass(frozen=True, slots=True)
class PersonEraser:
    """Deletes images as their owner would, each whole; a crash leaves some, and the next call goes on."""

    images: SqlImages
    service: ImageService

    async def erase(self, who: ErasureRequest) -> bool:
        """Delete up to a batch; True once no image and no name is left."""
        found = await self.images.of_person(who.user_id, who.username, limit=BATCH)
        for image in found:
            with suppress(ImageNotFound):  # somebody else was faster
                await self.service.delete(image)
        if found:
            return False
        await self.images.forget_names(who.user_id, who.username)
        return True
