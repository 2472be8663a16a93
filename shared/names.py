r"""One notion of a name in all services: which spellings are one name, and which names and ids no path could carry."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_NAME_KEY: Final = 254  # NFKC makes up to 18 characters of one, and an index holds 2.7 KB
# For a character class of `re` and of JSON Schema: what the gateway refuses in a path or a router takes for its own
# (`/ \ ; % { }` and controls), what turns text around for its reader, and what NFKC makes one of these or two dots of.
NOT_CARRIED: Final = (
    r"\x00-\x1f\x7f-\x9f/\\;%{}\u2028-\u202e\u2066-\u2069"
    r"\u037e\u2025\u2026\u2100\u2101\u2105\u2106\ufe14\ufe19\ufe30\ufe37\ufe38\ufe54\ufe5b\ufe5c\ufe68\ufe6a"
    r"\uff05\uff0f\uff1b\uff3c\uff5b\uff5d"
)
CARRIED: Final = rf"\.?[^.{NOT_CARRIED}]+(?:\.[^.{NOT_CARRIED}]+)*\.?"  # no two dots together, nor one alone
CANNOT_BE_CARRIED: Final = r"must not contain / \ ; % { } or .., nor control or direction characters"

_CARRIED = re.compile(CARRIED)


def name_key(name: str) -> str:
    """Return what a name is known by: two that NFKC and case folding (Unicode section 3.13) make one are one name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_same_name(one: str, other: str) -> bool:
    return name_key(one) == name_key(other)


def is_carriable(text: str) -> bool:
    """Tell whether a path can carry this name or id, and every other spelling of it that NFKC makes the same."""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return all(_CARRIED.fullmatch(spelling) for spelling in (text, unicodedata.normalize("NFKC", text)))
