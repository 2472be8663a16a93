from __future__ import annotations

import csv
import io
import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.planter_orders.model.deliveries import InvalidSecret, signed_headers, signing_key
from services.planter_orders.model.orders import (
    DELETABLE,
    IllegalMove,
    OrderPaid,
    Status,
    require_deletable,
    require_move,
)
from services.planter_orders.model.photos import new_filename, photo_key, thumbnail_key, user_folder
from services.planter_orders.service.announcements import wait_before
from services.planter_orders.service.downloads import csv_row
from shared.objects import require_key

LEGAL = {
    "pending": {"awaiting_payment", "paid", "cancelled"},
    "awaiting_payment": {"pending", "paid", "cancelled"},
    "paid": {"in_production", "refunded"},
    "in_production": {"shipped", "refunded"},
    "shipped": {"delivered", "refunded"},
    "delivered": {"refunded"},
    "cancelled": set(),
    "refunded": set(),
}


@pytest.mark.parametrize("target", Status)
@pytest.mark.parametrize("current", Status)
def test_only_the_moves_of_the_contract_are_legal(current: Status, target: Status) -> None:
    if target.value in LEGAL[current.value]:
        require_move(current, target)
    else:
        with pytest.raises(IllegalMove):
            require_move(current, target)


@pytest.mark.parametrize("status", Status)
def test_only_what_is_not_paid_may_be_deleted(status: Status) -> None:
    assert (status in DELETABLE) == (status in {"pending", "awaiting_payment", "cancelled", "refunded"})
    if status not in DELETABLE:
        with pytest.raises(OrderPaid):
            require_deletable(status)


class TestKeys:
    @pytest.mark.parametrize(
        ("user", "folder"),
        [
            ("6f0e0c3c-3b1e", "6f0e0c3c-3b1e"),
            ("a/b", "a~2Fb"),
            ("~", "~7E"),
            ("ü", "~C3~BC"),
            ("a" * 200, "a" * 200),
        ],
    )
    def test_a_user_id_is_written_as_the_contract_says(self, user: str, folder: str) -> None:
        assert user_folder(user) == folder

    @given(st.text(min_size=1, max_size=255).filter(lambda user: user.isprintable() and user not in {".", ".."}))
    @example("ü" * 255)
    def test_any_user_has_keys_that_can_be_used(self, user: str) -> None:
        for key in (photo_key(user, "0" * 32, "x.jpg"), thumbnail_key(user, "0" * 32, "x.jpg")):
            require_key(key)

    @given(*[st.text(st.characters(max_codepoint=0x2FF), min_size=1, max_size=30).filter(str.isprintable)] * 2)
    def test_two_users_have_two_folders(self, one: str, other: str) -> None:
        assert (user_folder(one) == user_folder(other)) == (one == other)

    def test_no_name_is_given_twice_in_an_order(self) -> None:
        at = datetime(2025, 10, 5, 12, 0, 1, tzinfo=UTC)
        names: set[str] = set()
        for _ in range(100):
            names.add(new_filename(at, "jpg", names))
        assert len(names) == 100
        assert all(re.fullmatch(r"20251005_120001_[0-9a-f]{6}\.jpg", name) for name in names)


def cells_of(text: str, separator: str) -> list[str]:
    """Read as a spreadsheet does whose language separates with `separator`."""
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]


def looks_like_a_formula(cell: str) -> bool:
    bare = "".join(c for c in cell if unicodedata.category(c)[0] not in "ZC").lstrip('"')
    return bool(bare) and unicodedata.normalize("NFKC", bare)[0] in "=+-@"


class TestCsv:
    @given(st.text())
    @example("=1+1")
    @example(" \t=1+1")
    @example("\ufeff=1+1")
    @example("＝1+1")
    @example('"=1+1')
    @example("x;=1+1")
    @example("x\n@SUM(1)")
    @example('x;"=1+1"')
    @example("-1")
    def test_no_cell_is_a_formula_whatever_separates_cells(self, text: str) -> None:
        line = csv_row(["id", text, "end"])
        for separator in ",;\t":
            assert not any(looks_like_a_formula(cell) for cell in cells_of(line, separator))

    @given(st.from_regex(r"[a-zA-Zä🐕][^=+\-@−＝＋－＠﹢﹣﹦﹫⁺⁻⁼₊₋₌]*", fullmatch=True))
    def test_plain_text_comes_back_as_typed(self, text: str) -> None:
        assert cells_of(csv_row(["id", text]), ",") == ["id", text]

    def test_quotes_and_line_breaks_stay_inside_their_cell(self) -> None:
        assert cells_of(csv_row(['say "hi",\r\nRex', None]), ",") == ['say "hi",\r\nRex', ""]


class TestSigning:
    def test_it_is_the_signature_of_the_standard(self) -> None:
        key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

    def test_while_secrets_are_rotated_each_signs(self) -> None:
        headers = signed_headers("msg_1", 1, b"{}", [b"a", b"b"])
        assert len(headers["webhook-signature"].split(" ")) == 2

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ä", "not base64!"])
    def test_a_secret_that_is_none_is_refused(self, secret: str) -> None:
        with pytest.raises(InvalidSecret):
            signing_key(secret)

    def test_the_waits_grow_and_are_bounded(self) -> None:
        waits = [wait_before(attempt).total_seconds() for attempt in range(2, 40)]
        assert waits[0] <= 1
        assert all(wait <= 7200 for wait in waits)
        assert waits[6] > 3600
