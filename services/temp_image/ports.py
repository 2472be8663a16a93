"""What the service needs from outside: a store of temporary images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from services.temp_image.model import ImageContent, ImageDescription, KeptUpload
from shared.images.formats.header import Buffer
from shared.uploads import FileSink

ContentT = TypeVar("ContentT")


class UploadKeys(Protocol):
    """What was uploaded under which Idempotency-Key, until the image's hour; `slot` is 32 hex digits that stand for a key.

    Raises DependencyDown where the store does not answer.
    """

    def reserved(self, slot: str) -> AbstractAsyncContextManager[KeptUpload | None]:
        """Hold the slot while an upload runs; give what was kept under it before. Raises Conflict where another runs.

        A process that dies releases it.
        """

    async def remember(self, slot: str, kept: KeptUpload) -> None:
        """Keep what the slot that is held stands for, until the image's hour. Raises StorageFull."""


class ImageStore(Protocol[ContentT]):
    """Keeps images until their hour, hands each out once, and keeps it longer for whoever holds it.

    An image is *public* from `put` until its expiry or the end of its last hold, whichever is later, or until a claim on
    it is confirmed. While a claim stands, nobody else can retrieve the image; a claim that is neither renewed nor settled
    lapses 30 s after it was made or last renewed, and the image is public again. Holders keep the bytes beyond all that.
    What settles or renews a claim goes on to its end also where the caller is cancelled.

    Any number of processes share one store, and any of them may be killed at any point. Moments are Unix seconds.
    Every method raises DependencyDown within 3 s where the store does not answer.
    """

    def open_sink(self) -> FileSink[ContentT]:
        """Open where an upload's bytes go; what `finish` returns is for `put`."""

    async def put(
        self, image_id: str, content: ContentT, *, expires_at: float, check: Callable[[Buffer], object]
    ) -> None:
        """Keep the image under a new id, whole or not at all; it outlives the process.

        `check` sees all its bytes before anything is kept, off the event loop where it could take long; what it raises
        comes through. Raises StorageFull.
        """

    async def describe(self, image_id: str) -> ImageDescription:
        """Describe a public image that nobody has claimed. Raises ImageGone."""

    async def claim(self, image_id: str, claim: str) -> ImageContent:
        """Claim a public image: of any number at once, one succeeds. Raises ImageGone."""

    async def renew(self, image_id: str, claim: str) -> None:
        """Let the claim stand for another 30 s. Raises ClaimLapsed."""

    async def release(self, image_id: str, claim: str) -> None:
        """Give the image back unused. Raises ClaimLapsed."""

    async def confirm(self, image_id: str, claim: str) -> None:
        """End the image for the public; its bytes stay while somebody holds it. Raises ClaimLapsed."""

    async def hold(self, image_id: str, holder: str, until: float) -> ImageDescription:
        """Hold a public, unclaimed image for `holder`; whoever holds it already moves the end. Raises ImageGone."""

    async def release_hold(self, image_id: str, holder: str) -> None:
        """End the hold, if there is one; bytes that nobody else may have go with the last one."""

    async def read_held(self, image_id: str, holder: str) -> ImageContent:
        """Return what `holder` holds. Raises ImageGone."""

    async def check(self) -> None:
        """Raise DependencyDown unless the store can keep an image."""
