"""What media-store needs beside the object store: its rows, and who is a member of an organisation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from services.media_store.model import Kind, Name, StoredImage
from shared.auth.access_tokens import Principal
from shared.errors import Conflict
from shared.http.cursors import Position


class AlreadyPromoted(Conflict):
    """Another image was promoted from this source before."""


class Images(Protocol):
    """The rows. Every call is one transaction; DependencyDown("database") where there is none, StorageFull where no room.

    A row that is marked as being deleted is gone for everybody but those who ask for marked rows, list keys, or want the
    same key or source.
    """

    async def add(self, image: StoredImage) -> None:
        """Add a row. Raises AlreadyPromoted where its source has one."""

    async def add_for_user(self, image: StoredImage, uploader: Principal) -> None:
        """Add a user's row; the first upload of the user named makes the name theirs. Raises Forbidden.

        With `is_primary` it takes the place of the user's primary image.
        """

    async def get(self, image_id: str, *, marked: bool = False) -> StoredImage | None:
        """Return the row with this id; with `marked` also one that is being deleted."""

    async def find(self, key: str, *, marked: bool = False) -> StoredImage | None:
        """Return the row of this object; with `marked` also one that is being deleted."""

    async def promoted_from(self, source_key: str) -> StoredImage | None:
        """Return the row that was promoted from this temporary object."""

    async def forget_source(self, source_key: str) -> bool:
        """Forget that an image was promoted from this temporary object; True where one was."""

    async def promoted_among(self, source_keys: Collection[str]) -> set[str]:
        """Return which of these temporary objects were promoted."""

    async def name_of(self, username: str) -> Name | None:
        """Return whose this name is, if anybody has used it."""

    async def name_images(self, limit: int) -> int:
        """Give up to `limit` images of the release before their name key, the oldest first; return how many there were."""

    async def page(
        self, username: str, *, image_type: str | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Return a user's rows, newest first, from behind `after` on."""

    async def all_page(
        self, *, username: str, kind: Kind | None, stored_since: datetime | None, after: Position | None, limit: int
    ) -> Sequence[StoredImage]:
        """Return rows of everybody, newest first, from behind `after` on; sessions' images only since `stored_since`."""

    async def of_person(self, user_id: str, username: str, *, limit: int) -> Sequence[StoredImage]:
        """Return rows under the names that are this person's, or nobody's and spelled like `username`; marked ones too."""

    async def forget_names(self, user_id: str, username: str) -> None:
        """Forget that these names are this person's."""

    async def set_primary(self, image_id: str, caller: Principal) -> None:
        """Make it its user's only primary image. Raises ImageNotFound or Forbidden."""

    async def begin_deletion(self, image_id: str, now: datetime) -> None:
        """Mark the row, durably, before anything of the image is taken away."""

    async def finish_deletion(self, image_id: str) -> bool:
        """Remove the row; True for exactly one of those who try."""

    async def deleting(self, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Return rows that were marked before then: whoever was to finish has not."""

    async def older(self, kind: Kind, *, before: datetime, limit: int) -> Sequence[StoredImage]:
        """Return the oldest rows of a kind, uploaded before then."""

    async def keys(self, prefix: str, *, after: str, limit: int) -> Sequence[StoredImage]:
        """Return rows whose keys begin with `prefix` and are above `after`, by ascending key, byte by byte."""

    async def known_among(self, keys: Collection[str]) -> set[str]:
        """Return which of these objects have a row."""

    async def check(self) -> None:
        """Raise DependencyDown unless the database answers."""


class Members(Protocol):
    """Who belongs to which organisation; DependencyDown("auth-verify") where it cannot be asked."""

    async def is_member(self, organization_id: str, user_id: str) -> bool:
        """Tell whether the user is a member now, or was at most 30 s ago; of an unknown organisation nobody is."""
