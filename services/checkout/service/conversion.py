"""Making a photo that only some browsers show into a JPEG, before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.errors import NotAllowedValue, TooLarge, UnsupportedMedia
from shared.images.decode_pool import ImageWorkers
from shared.images.validation import CONVERTED, HEAD_BYTES, ImageLimits, sniff
from shared.log import get_logger
from shared.uploads.sinks import new_spool_path


@dataclass(frozen=True, slots=True)
class Conversion:
    """Converts HEIC and AVIF with the image workers, which write to `spool`."""

    workers: ImageWorkers
    spool: Path
    limits: ImageLimits

    async def shown_everywhere(self, data: bytes) -> bytes:
        """Return a JPEG of an HEIC or AVIF; all else as it is, and what cannot be decoded too: it was paid for.

        Raises Unavailable, StorageFull or DependencyDown.
        """
        if sniff(data[:HEAD_BYTES]) not in CONVERTED:
            return data
        made = new_spool_path(self.spool)
        try:
            await self.workers.prepare(data, made, None, self.limits)
            return made.read_bytes()
        except (NotAllowedValue, TooLarge, UnsupportedMedia) as error:
            get_logger().warning("paid_image_not_converted", code=error.code)
            return data
        finally:
            made.unlink(missing_ok=True)
