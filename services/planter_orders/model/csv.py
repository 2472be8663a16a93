"""CSV that a spreadsheet reads as text, whatever customers typed (RFC 4180)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# A cell whose first visible character is one of these is a formula; so is what follows a separator inside a cell, where a
# spreadsheet splits at semicolons or tabs because its language does (it then reads our quotes as text).
STARTS = frozenset("=+-@")
AFTER_SEPARATOR = re.compile(r"([;\t\r\n][^\S\t\r\n]*)(?=\S)")
INVISIBLE = ("Z", "C")


def _is_formula(text: str) -> bool:
    if text.startswith(("\t", "\r", "\n")):
        return True
    for character in text:
        if unicodedata.category(character)[0] not in INVISIBLE and character != '"':
            # Compatibility forms (fullwidth ＝, small ﹢, superscript ⁺) count as what they stand for; so does the minus sign.
            return unicodedata.normalize("NFKC", character)[0] in STARTS or character == "\N{MINUS SIGN}"
    return False


def _guard(text: str) -> str:
    pieces = AFTER_SEPARATOR.split(text)  # text, separator, text, …
    for place in range(2, len(pieces), 2):
        if _is_formula(pieces[place]):
            pieces[place] = "'" + pieces[place]
    guarded = "".join(pieces)
    return "'" + guarded if _is_formula(guarded) else guarded


def csv_row(cells: Iterable[str | None]) -> str:
    """Write one line, each cell quoted, and none a formula: an apostrophe before it makes it text."""
    return ",".join('"{}"'.format(_guard(cell or "").replace('"', '""')) for cell in cells) + "\r\n"
