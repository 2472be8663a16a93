"""The use cases of temporary images: keep, describe, claim and settle, hold and release."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from services.temp_image.model import (
    CLAIM_STANDS_S,
    ClaimLapsed,
    ImageContent,
    ImageDescription,
    KeptUpload,
    new_secret,
)
from services.temp_image.ports import ImageStore, UploadKeys
from shared.app.idempotency_key import key_reused
from shared.auth.key_derivation import derive_key
from shared.errors import DependencyDown, NotAllowedValue
from shared.images.validation import ImageLimits, require_image
from shared.uploads import UploadedFile

RELEASE_AGAIN_S = 0.5


class _LostClaims:
    """Claims whose answer got lost: they may stand, and are given back as soon as the store answers again."""

    def __init__(self, store: ImageStore[Any]) -> None:
        self._store = store
        self._waiting: deque[tuple[str, str, float]] = deque()
        self._giving_back: asyncio.Task[None] | None = None

    def add(self, image_id: str, claim: str) -> None:
        """Give it back in the background; one after the other, so that calls that somebody waits for come through."""
        self._waiting.append((image_id, claim, time.monotonic() + CLAIM_STANDS_S))
        if self._giving_back is None or self._giving_back.done():
            self._giving_back = asyncio.create_task(self._give_back())

    async def _give_back(self) -> None:
        while self._waiting:
            image_id, claim, lapses_at = self._waiting[0]
            try:
                if time.monotonic() < lapses_at:
                    await self._store.release(image_id, claim)
            except DependencyDown:
                await asyncio.sleep(RELEASE_AGAIN_S)
                continue
            except ClaimLapsed:
                pass
            self._waiting.popleft()

    async def close(self) -> None:
        """Leave the rest to lapse."""
        if self._giving_back is not None:
            self._giving_back.cancel()
            await asyncio.wait([self._giving_back])


class TempImageService:
    """Keeps uploads for `ttl_s` seconds and gives each out once."""

    def __init__(
        self,
        store: ImageStore[Any],
        keys: UploadKeys,
        secret: str,
        *,
        limits: ImageLimits,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.open_sink = store.open_sink
        self._store = store
        self._limits = limits
        self._ttl_s = ttl_s
        self._clock = clock
        self._lost_claims = _LostClaims(store)
        self._keys = keys
        self._secret = derive_key(secret, "temp-image upload keys")

    async def close(self) -> None:
        """Leave the claims whose answer got lost to lapse."""
        await self._lost_claims.close()

    async def keep(self, file: UploadedFile[Any], image_id: str = "") -> tuple[str, float]:
        """Keep an acceptable image; return its id, a new one where none is given, and when it expires in Unix seconds."""
        image_id, expires_at = image_id or new_secret(), self._clock() + self._ttl_s
        check = partial(require_image, declared_type=file.declared_type, limits=self._limits)
        await self._store.put(image_id, file.content, expires_at=expires_at, check=check)
        return image_id, expires_at

    @asynccontextmanager
    async def keeping(self, key: str) -> AsyncIterator[Callable[[UploadedFile[Any]], Awaitable[tuple[str, float]]]]:
        """Hold an Idempotency-Key while its upload is read; give what keeps the file, as `keep` does, once for the key.

        Raises Conflict while another upload of the key runs; keeping raises NotAllowedValue for other bytes than the first.
        """
        slot = self._secret_of(key)
        async with self._keys.reserved(slot) as known:

            async def keep(file: UploadedFile[Any]) -> tuple[str, float]:
                if known is not None and known.sha256 != file.sha256:
                    raise key_reused()
                if known is not None:
                    return known.image_id, known.expires_at
                # The moment is in it, since the last image of the key may still be held.
                image_id, expires_at = await self.keep(file, self._secret_of(f"{self._clock()} {key}"))
                await self._keys.remember(slot, KeptUpload(image_id, file.sha256, expires_at))
                return image_id, expires_at

            yield keep

    def _secret_of(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode(), "sha256").hex()[:32]

    async def describe(self, image_id: str) -> ImageDescription:
        """Describe the image without using it up. Raises ImageGone."""
        return await self._store.describe(image_id)

    async def claim(self, image_id: str) -> tuple[str, ImageContent]:
        """Claim the image for one delivery; return the claim and the bytes. Raises ImageGone."""
        claim = new_secret()
        try:
            return claim, await self._store.claim(image_id, claim)
        except DependencyDown:
            self._lost_claims.add(image_id, claim)
            raise

    async def renew(self, image_id: str, claim: str) -> None:
        """Keep the claim for another 30 s, since bytes moved. Raises ClaimLapsed."""
        await self._store.renew(image_id, claim)

    async def confirm(self, image_id: str, claim: str) -> None:
        """Use the image up: it was delivered. Raises ClaimLapsed."""
        await self._store.confirm(image_id, claim)

    async def release(self, image_id: str, claim: str) -> None:
        """Give the image back: its delivery broke. Raises ClaimLapsed."""
        await self._store.release(image_id, claim)

    async def hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        """Keep the image for `holder` until then. Raises ImageGone, or NotAllowedValue for a moment that has passed."""
        if until <= self._clock():
            raise NotAllowedValue.of("until", "A hold must end in the future.", "hold_in_the_past")
        return await self._store.hold(image_id, holder, until)

    async def release_hold(self, image_id: str, holder: str) -> None:
        """End the hold, if there is one."""
        await self._store.release_hold(image_id, holder)

    async def read_held(self, image_id: str, holder: str) -> ImageContent:
        """Return what `holder` holds. Raises ImageGone."""
        return await self._store.read_held(image_id, holder)
