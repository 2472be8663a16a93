from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.checkout.settings import CheckoutSettings
from tests.support.stack import ROOT

SECRETS = {"jwt_secret_key": "j" * 40, "internal_secret": "i" * 40, "stripe_webhook_secret": "whsec_1,whsec_2"}
PRODUCTION = {
    **SECRETS,
    "environment": "production",
    "public_url": "https://shop.example",
    "stripe_secret_key": "sk_live_1",
    "stripe_publishable_key": "pk_live_1",
}


def read(**values: Any) -> CheckoutSettings:
    return CheckoutSettings(_env_file=None, **values)


def test_without_a_key_it_is_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(**SECRETS)
    assert settings.stripe_api_base == "http://127.0.0.1:8009"
    assert (settings.stripe_secret_key, settings.stripe_publishable_key) == ("sk_test_sandbox", "pk_test_sandbox")
    assert settings.stripe_webhook_secret == ("whsec_1", "whsec_2")
    assert settings.uses_sandbox
    assert settings.pay_page == "http://localhost:8009/pay/"
    monkeypatch.setenv("STRIPE_SANDBOX_PORT", "9123")
    assert read(**SECRETS).stripe_api_base == "http://127.0.0.1:9123"


def test_with_a_key_it_is_stripe() -> None:
    settings = read(**SECRETS, stripe_secret_key="sk_test_1", stripe_publishable_key="pk_test_1")
    assert settings.pay_page == ""
    assert settings.stripe_api_base == "https://api.stripe.com"
    assert not settings.uses_sandbox
    assert read(**PRODUCTION).stripe_secret_key == "sk_live_1"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"stripe_secret_key": ""}, "STRIPE_SECRET_KEY"),
        ({"stripe_secret_key": "sk_test_sandbox"}, "STRIPE_SECRET_KEY"),
        ({"stripe_api_base": "http://127.0.0.1:8009"}, "STRIPE_API_BASE"),
        ({"stripe_api_base": "https://localhost:8009"}, "STRIPE_API_BASE"),
        ({"stripe_publishable_key": ""}, "STRIPE_PUBLISHABLE_KEY"),
        ({"stripe_webhook_secret": ""}, "STRIPE_WEBHOOK_SECRET"),
        ({"stripe_webhook_secret": " , "}, "STRIPE_WEBHOOK_SECRET"),
        ({"checkout_session_ttl_s": 1859}, "checkout_session_ttl_s"),
        ({"checkout_session_ttl_s": 86401}, "checkout_session_ttl_s"),
    ],
)
def test_what_production_must_not_run_with_is_refused_by_name(changes: dict[str, object], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        read(**(PRODUCTION | changes))


@pytest.mark.long
def test_a_catalogue_that_is_wrong_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text("[[product]]\nsku = 'x'\n")
    done = subprocess.run(
        [sys.executable, "-m", "services.checkout"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "CATALOGUE_FILE": "catalogue.toml",
            "JWT_SECRET_KEY": "j" * 40,
            "INTERNAL_SECRET": "i" * 40,
            "STRIPE_WEBHOOK_SECRET": "whsec_1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("keepsake: CATALOGUE_FILE: ")
    assert done.stderr.count("\n") == 1
