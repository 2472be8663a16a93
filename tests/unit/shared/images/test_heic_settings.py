from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from pydantic import ValidationError

from shared.settings import ImageSettings, parts


@pytest.mark.parametrize("found", [None, "1.8.0", "0.22.0"])
def test_a_start_that_takes_heic_without_its_decoder_says_how_to_install_it(monkeypatch, found):
    def version(_name):
        if found is None:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr(parts, "version", version)
    with pytest.raises(ValidationError, match=r"make install-heic.*keepsake\[heic\]"):
        ImageSettings(_env_file=None, heic_uploads="on")
    assert ImageSettings(_env_file=None).heic_uploads == "off"


def test_a_start_with_the_decoder_takes_heic():
    assert ImageSettings(_env_file=None, heic_uploads="on").heic_uploads == "on"
