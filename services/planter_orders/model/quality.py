"""What is said about the photos of an order, from what was measured of each."""

from __future__ import annotations

from collections.abc import Sequence

from services.planter_orders.model.orders import Quality
from shared.images.photo_quality import PhotoFacts


def judge(photos: Sequence[PhotoFacts | None]) -> list[Quality]:
    """Judge photos side by side; one that could not be measured (None) is `unreadable`."""
    return [_judge(place, photos) for place in range(len(photos))]


def _judge(place: int, photos: Sequence[PhotoFacts | None]) -> Quality:
    photo = photos[place]
    if photo is None:
        return Quality(("unreadable",))
    others = [other for at, other in enumerate(photos) if at != place and other is not None]
    found = {
        "small": photo.is_small,
        "blurred": photo.is_blurred,
        "near_duplicate": any(photo.fingerprint.is_near(other.fingerprint) for other in others),
    }
    return Quality(tuple(word for word, holds in found.items() if holds))
