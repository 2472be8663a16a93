from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.objects import InvalidKey, content_type_of, require_key

PLAIN = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="/\\"), min_size=1, max_size=20
)
SEGMENT = PLAIN.filter(lambda text: text not in {".", ".."})


@given(st.lists(SEGMENT, min_size=1, max_size=8))
def test_plain_segments_make_a_key(segments: list[str]) -> None:
    assert require_key("/".join(segments)) == "/".join(segments)


@given(st.text(st.sampled_from("ab./\\\x00\n\x7fé ~%\ud800"), max_size=12) | st.text(max_size=12))
@example("..")
@example("a/../b")
@example("a\n")
@example("a/..\n")
def test_an_accepted_key_names_a_file_below_the_root(text: str) -> None:
    try:
        key = require_key(text)
    except InvalidKey:
        return
    path = os.path.normpath(f"/root/{key}")
    assert path == f"/root/{key}"
    assert key.isascii()
    assert key.isprintable()
    assert "\\" not in key


@given(
    st.lists(SEGMENT, max_size=3),
    st.sampled_from(["", ".", "..", "a\\b", "\x00", "\x1f", "\x7f", "é", "x" * 256]),
    st.lists(SEGMENT, max_size=3),
)
def test_one_bad_segment_spoils_a_key(before: list[str], bad: str, after: list[str]) -> None:
    with pytest.raises(InvalidKey):
        require_key("/".join([*before, bad, *after]))


def test_a_key_has_its_limits() -> None:
    require_key("/".join(["x" * 255, "y" * 255, "z" * 255, "w" * 132]))
    with pytest.raises(InvalidKey):
        require_key("/".join(["x" * 255, "y" * 255, "z" * 255, "w" * 133]))


def test_the_extension_says_the_type() -> None:
    types = {
        "a/b.jpg": "image/jpeg",
        "a/b.JPEG": "image/jpeg",
        "a.png/b.webp": "image/webp",
        "a.png/b": "application/octet-stream",
        "png": "application/octet-stream",
        "order_metadata.json": "application/json",
        "x.svg": "application/octet-stream",
        "x.html": "application/octet-stream",
    }
    assert {key: content_type_of(key) for key in types} == types
