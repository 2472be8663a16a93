"""Where paid images are kept: as they were sent, or as a JPEG where only some browsers would show them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shared.errors import NotAllowedValue, TooLarge, UnsupportedMedia
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import CONVERTED, HEAD_BYTES, ImageFormat, ImageLimits, sniff
from shared.log import get_logger
from shared.objects import ObjectStore
from shared.uploads.sinks import new_spool_path, storage_error


@dataclass(frozen=True, slots=True)
class PaidImages:
    """Durable storage, and the workers that convert HEIC and AVIF and store what they make in the same trip."""

    objects: ObjectStore
    workers: ImageWorkers
    limits: ImageLimits

    async def keep(self, name: str, data: bytes, declared_type: str) -> tuple[str, str]:
        """Keep an image at `name` and its extension; return that key, and the content type. Twice is once.

        What cannot be decoded is kept as it is: it was paid for. Raises Unavailable, StorageFull or DependencyDown.
        """
        known = sniff(data[:HEAD_BYTES])
        if known in CONVERTED:
            try:
                return await self._keep_as_jpeg(name, data)
            except (NotAllowedValue, TooLarge, UnsupportedMedia) as error:
                get_logger().warning("paid_image_not_converted", code=error.code)
        extension, content_type = (known.extension, known.content_type) if known else ("bin", declared_type)
        await self.objects.put_bytes(f"{name}.{extension}", data, content_type)
        return f"{name}.{extension}", content_type

    async def _keep_as_jpeg(self, name: str, data: bytes) -> tuple[str, str]:
        jpeg = ImageFormat.JPEG
        key, made = f"{name}.{jpeg.extension}", new_spool_path(self.objects.spool)
        placing = self.objects.placing({jpeg.extension: key})
        try:
            found = await self.workers.prepare(data, made, None, self.limits, place=placing.place if placing else None)
            if found.key is None:
                await self.objects.put_file(key, made, content_type=jpeg.content_type, sha256=found.sha256)
        except BaseException as error:
            if placing is not None:
                await asyncio.to_thread(placing.undo, made)
            if isinstance(error, OSError):
                raise storage_error(error) from error
            raise
        finally:
            made.unlink(missing_ok=True)
        return key, jpeg.content_type
