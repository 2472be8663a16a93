from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.auth.signed_links import HOUR_S, LinkExpired, LinkInvalid, SignedLinks

SECRET = "a secret of the tests that is long enough"
URL = "https://shop.example"
PATH = "/api/images/orders/0f/files/a.jpg"
NOW = 1_800_000_123

moments = st.integers(0, 2**33)
paths = st.text(st.characters(codec="utf-8"), min_size=1)


def links(now: float = NOW, secret: str = SECRET) -> SignedLinks:
    return SignedLinks(secret, URL, lambda: now)


def made(path: str, now: float = NOW) -> tuple[str, str]:
    """Return the two values in a link to `path`."""
    _, _, query = links(now).url(path).rpartition("?")
    found = parse_qs(query, strict_parsing=True)
    assert list(found) == ["expires", "signature"]
    return found["expires"][0], found["signature"][0]


@given(paths, moments)
def test_a_link_is_good_at_its_path_until_its_end(path: str, now: int) -> None:
    expires, signature = made(path, now)
    end = int(expires)
    assert end % HOUR_S == 0
    assert HOUR_S < end - now <= 2 * HOUR_S
    assert links(now).require(path, expires, signature) == end
    assert links(end - 0.001).require(path, expires, signature) == end
    with pytest.raises(LinkExpired):
        links(end).require(path, expires, signature)


@given(moments, st.integers(0, HOUR_S - 1), st.integers(0, HOUR_S - 1))
def test_within_the_hour_everybody_gets_the_same(hour: int, one: int, other: int) -> None:
    begin = hour // HOUR_S * HOUR_S
    assert links(begin + one).url(PATH) == links(begin + other).url(PATH)
    assert links(begin + one).url(PATH) != links(begin + HOUR_S).url(PATH)


@given(paths, paths)
@example(PATH, PATH + "/")
@example(PATH, PATH.upper())
@example(PATH, PATH.replace(".", "%2E"))
@example(PATH, PATH.replace("/files", "//files"))
@example(PATH, PATH + "?size=thumb")
@example("/a", "\n/a")
def test_no_other_path_passes(path: str, other: str) -> None:
    assume(path != other)
    with pytest.raises(LinkInvalid):
        links().require(other, *made(path))


@given(st.one_of(st.text(), st.integers().map(str), st.from_regex(r"0*1[0-9]{9,12}", fullmatch=True)))
@example("")
@example(f"0{(NOW // HOUR_S + 2) * HOUR_S}")
@example(f" {(NOW // HOUR_S + 2) * HOUR_S}")
@example(str((NOW // HOUR_S + 2) * HOUR_S + 1))
@example("١٨٠٠٠٠٧٢٠٠")
@example("9" * 400)
def test_no_other_time_passes(time: str) -> None:
    expires, signature = made(PATH)
    assume(time != expires)
    with pytest.raises(LinkInvalid):
        links().require(PATH, time, signature)


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f]{64}", fullmatch=True)))
@example("")
@example("ü\udcff")
def test_no_other_signature_passes(text: str) -> None:
    expires, signature = made(PATH)
    for changed in {text, signature.upper(), signature[:-1], signature + "0", f" {signature}", signature + "\n"}:
        if changed != signature:
            with pytest.raises(LinkInvalid):
                links().require(PATH, expires, changed)


def test_another_secret_makes_other_links() -> None:
    with pytest.raises(LinkInvalid):
        links(secret=SECRET + "x").require(PATH, *made(PATH))


def test_a_link_is_absolute_and_keeps_what_selects() -> None:
    parts = urlsplit(links().url(PATH, "size=thumb"))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == URL + PATH
    assert list(parse_qs(parts.query)) == ["size", "expires", "signature"]
    assert links().url(PATH, "size=thumb").endswith(links().url(PATH).rpartition("?")[2])
