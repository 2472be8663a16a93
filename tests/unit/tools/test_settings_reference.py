"""The page of settings and `.env.example` are what the settings classes say."""

from __future__ import annotations

import pytest

from tools import settings_reference
from tools.settings_reference import PER_SERVICE, Setting, known_names, names_of

SETTINGS = list(settings_reference.settings())


def test_the_page_and_the_example_are_up_to_date() -> None:
    assert settings_reference.REFERENCE.read_text() == settings_reference.reference(), "run `make settings`"
    assert settings_reference.EXAMPLE.read_text() == settings_reference.example(), "run `make settings`"


def test_every_setting_of_any_process_has_words_once() -> None:
    needed = sorted(name for name in known_names() if not PER_SERVICE.fullmatch(name))
    assert sorted(setting.name for setting in SETTINGS) == needed


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_an_example_is_one(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert setting.means.endswith(".")
    for name in {setting.name, *names_of(setting.field, setting.model.model_fields[setting.field])}:
        monkeypatch.delenv(name, raising=False)
    without = getattr(setting.model.read(_env_file=None), setting.field)
    monkeypatch.setenv(setting.name, setting.example)
    assert getattr(setting.model.read(_env_file=None), setting.field) != without
