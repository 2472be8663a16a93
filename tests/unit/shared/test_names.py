from __future__ import annotations

import re
import sys
import unicodedata
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.admission import is_unambiguous
from shared.names import NOT_CARRIED, is_carriable, is_same_name, name_key

# Letters that fold, letters that NFKC changes, marks that change places, and any others.
SPELLED = st.text(
    st.one_of(st.characters(), st.sampled_from("SsſßẞİıIiKÅåÅﬁＳⅧαΑ\u0345\u0301\u0323\u200d…․./")), max_size=8
)


class TestOneName:
    @given(SPELLED)
    @example("ᾼ\u0301")
    def test_every_spelling_that_unicode_makes_one_is_one_name(self, name: str) -> None:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            spelling = unicodedata.normalize(form, name)
            assert is_same_name(name, spelling)
            assert is_same_name(name, unicodedata.normalize("NFKC", name).casefold())

    @given(SPELLED)
    def test_a_key_is_its_own_key(self, name: str) -> None:
        assert name_key(name_key(name)) == name_key(name)

    @pytest.mark.parametrize(
        ("one", "other"),
        [("Sam", "sam"), ("José", "Jose\u0301"), ("ＳＡＭ", "sam"), ("STRASSE", "straße"), ("ﬁn", "FIN")],
    )
    def test_spellings_of_one_name(self, one: str, other: str) -> None:
        assert is_same_name(one, other)

    @pytest.mark.parametrize(("one", "other"), [("sam", "s\u200dam"), ("jose", "josé"), ("sam", "ѕam")])
    def test_names_that_are_two(self, one: str, other: str) -> None:
        assert not is_same_name(one, other)


async def _nowhere(_request: web.Request) -> web.Response:
    raise NotImplementedError


ROUTER = web.UrlDispatcher()
ROUTER.add_get("/of/{name}/all", _nowhere)


class TestPaths:
    @given(SPELLED)
    @example("😀 \u200d?#&=+'\"<>|")
    @example(".a.")
    async def test_what_can_be_carried_comes_out_of_a_path_as_it_went_in(self, name: str) -> None:
        if not is_carriable(name):
            return
        for spelling in {name, unicodedata.normalize("NFKC", name), name_key(name)}:
            path = f"/of/{quote(spelling, safe='')}/all"
            assert is_unambiguous(path)
            found = await ROUTER.resolve(make_mocked_request("GET", path))
            assert found["name"] == spelling

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "a..b",
            "a/b",
            "a\\b",
            "a;b",
            "a%b",
            "{x}",
            "x}",
            "a\x00",
            "a\x1f",
            "a\x7f",
            "a\x85",
            "a\u202e",
            "a\u2066",
            "a\u2028",
            "\ud800",
            "a／b",
            "a․․b",
            "a․.b",
            "…",
            "．",
            "https://a.example/u/12",
        ],
    )
    def test_what_no_path_carries(self, name: str) -> None:
        assert not is_carriable(name)

    @pytest.mark.parametrize(
        "name", ["Sam", "a.b", ".a", "a.", "a b", "می\u200cخواهم", "👩\u200d💻", "auth0|7", "#?&=+"]
    )
    def test_what_a_path_carries(self, name: str) -> None:
        assert is_carriable(name)

    def test_every_character_that_becomes_a_refused_one_is_refused_itself(self) -> None:
        refused = re.compile(f"[{NOT_CARRIED}]")
        for number in range(sys.maxunicode + 1):
            character = chr(number)
            folded = unicodedata.normalize("NFKC", character)
            if set(folded) & set("/\\;%{}") or ".." in folded:
                assert refused.fullmatch(character), hex(number)
