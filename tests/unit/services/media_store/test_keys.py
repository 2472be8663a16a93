from __future__ import annotations

import uuid
from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from services.media_store.model.images import (
    MAX_FILENAME,
    MAX_PURPOSE,
    MAX_SESSION_ID,
    ImageType,
    event_key,
    filename_in_temp_key,
    parse_filename,
    parse_purpose,
    rendition_key,
    stored_stem,
    temp_key,
    user_key,
)
from services.media_store.model.names import is_username
from shared.errors import BadRequest
from shared.http.validation import length_as_typed
from shared.objects.object_keys import is_key

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ORGANIZATION = "o" * 64
CHARACTERS = st.one_of(
    st.sampled_from(["\r\n", "\n", "\r", "é", "😀", "..", "/", "_", "x"]), st.characters(codec="utf-8")
)


def texts(most: int) -> st.SearchStrategy[str]:
    """Give texts up to and at the limit, of all kinds of characters or of one kind."""
    mixed = st.lists(CHARACTERS, min_size=1, max_size=most).map("".join)
    return mixed | st.tuples(CHARACTERS, st.integers(1, most)).map(lambda of: of[0] * of[1])


def fits(key: str) -> bool:
    return is_key(key) and is_key(rendition_key(key, "f" * 64, 1920, "webp"))


@given(texts(MAX_SESSION_ID), texts(MAX_PURPOSE - len("processed_")))
def test_whatever_session_and_purpose_are_allowed_make_a_key_that_fits(session_id: str, effect: str) -> None:
    assume(length_as_typed(session_id) <= MAX_SESSION_ID)
    assume(length_as_typed(effect) <= MAX_PURPOSE - len("processed_"))
    key = f"{stored_stem(session_id, parse_purpose(f'processed_{effect}'), NOW)}_{'0' * 8}.webp"
    assert fits(key)
    assert len(key.split("_20261126000000_", maxsplit=1)[0]) == len("pet-images/_processed_") + sum(
        length_as_typed(text) for text in (session_id, effect)
    )


@given(texts(150))
def test_whatever_username_is_allowed_makes_a_key_that_fits(username: str) -> None:
    assume(is_username(username))
    assert fits(user_key(username, ImageType.PROFILE, NOW, "webp"))


@given(texts(MAX_FILENAME))
def test_whatever_file_name_is_allowed_makes_keys_that_fit(filename: str) -> None:
    try:
        name = parse_filename(filename)
    except BadRequest:
        assume(False)
    key = temp_key(ORGANIZATION, str(uuid.uuid4()), name)
    assert fits(key)
    assert fits(event_key(ORGANIZATION, str(uuid.uuid4()), f"{filename_in_temp_key(key, ORGANIZATION)}.webp"))
