"""The names that users' images are kept under, and who may act on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.auth.access_tokens import Principal
from shared.errors import Forbidden
from shared.names import MAX_NAME_KEY, is_carriable, is_same_name, name_key

MAX_USERNAME = 150


def is_username(name: str) -> bool:
    return (
        0 < len(name) <= MAX_USERNAME
        and not name_key(name).startswith(".")
        and len(name_key(name)) <= MAX_NAME_KEY
        and is_carriable(name)
    )


@dataclass(frozen=True, slots=True)
class Name:
    """Whose images are kept under `key`: `username` is the name as first written, `owner` the `sub` that first used it.

    The key is the name key; only two people who used two spellings before these were one name have keys of their own.
    """

    key: str
    username: str
    owner: str | None


def first_spelling(username: str, uploader: Principal) -> str:
    """Return how a name that nobody has used is shown: as its bearer's token spells it, else as it was sent."""
    return uploader.username if is_same_name(uploader.username, username) else username


def key_of_old_name(username: str, owner: str | None, owners: Mapping[str, str | None]) -> str:
    """Return the key for a name from the time when each spelling was a name of its own; `owners` has those of the keys.

    The spellings of one person become one name. Where that is another person's, the old spelling stays a name of its own:
    nobody's images get under anybody else's hand.
    """
    key = name_key(username)
    known = owners.get(key)
    if username == key or len(key) > MAX_NAME_KEY or (owner and known and owner != known):
        return username
    return key


def may_act(principal: Principal, username: str, owner: str | None) -> bool:
    """Tell whether the caller is the owner of what is kept under a name, or an admin.

    `owner` is the `sub` that first used the name; where nobody has yet, whoever's token bears the name is the owner.
    """
    return principal.is_admin or (
        is_same_name(principal.username, username) if owner is None else principal.user_id == owner
    )


def require_owner(principal: Principal, username: str, owner: str | None) -> None:
    """Raise Forbidden unless the caller may act on this name's images."""
    if not may_act(principal, username, owner):
        raise Forbidden("Only its owner or an admin may do this.", "not_the_owner")


def require_uploader(principal: Principal, username: str, owner: str | None) -> None:
    """Raise Forbidden unless the caller is the user named, whose name nobody else has used, or an admin."""
    if not principal.is_admin and (
        not is_same_name(principal.username, username) or owner not in {None, principal.user_id}
    ):
        raise Forbidden("Images can only be uploaded under your own name.", "not_the_owner")
