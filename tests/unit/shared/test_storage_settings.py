from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.settings import Bucket, StorageSettings, explain

R2: dict[str, Any] = {
    "storage_backend": "r2",
    "r2_account_id": "acc",
    "r2_access_key_id": "key",
    "r2_secret_access_key": "secret",
    "r2_bucket_name": "images",
}


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in StorageSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def _sentence(**values: str) -> str:
    with pytest.raises(ValidationError) as caught:
        StorageSettings(**values)  # type: ignore[arg-type]
    return " ".join(explain(StorageSettings, caught.value))


def test_the_local_backend_needs_nothing() -> None:
    assert StorageSettings().storage_backend == "local"
    assert StorageSettings().public_base_url == ""


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"storage_backend": "s3"}, "S3_BUCKET"),
        ({"storage_backend": "s3", "s3_bucket": "b", "aws_access_key_id": "k"}, "AWS_SECRET_ACCESS_KEY"),
        ({"storage_backend": "s3", "s3_bucket": "b", "aws_secret_access_key": "k"}, "AWS_ACCESS_KEY_ID"),
        *(
            ({key: value for key, value in R2.items() if key != name}, name.upper())
            for name in R2
            if name != "storage_backend"
        ),
    ],
)
def test_a_missing_setting_is_named_in_one_sentence(values: dict[str, str], missing: str) -> None:
    assert _sentence(**values) == f"{missing} is missing: STORAGE_BACKEND={values['storage_backend']} needs it."


def test_an_unknown_backend_is_refused_without_its_value() -> None:
    assert _sentence(storage_backend="floppy").startswith("STORAGE_BACKEND: ")
    assert "floppy" not in _sentence(storage_backend="floppy")


def test_the_environment_names_are_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STORAGE_BACKEND": "s3",
        "S3_BUCKET": "b",
        "S3_ENDPOINT_URL": "http://127.0.0.1:9000/",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "CDN_URL": "https://cdn.example/",
    }.items():
        monkeypatch.setenv(name, value)
    settings = StorageSettings()
    assert settings.bucket == Bucket("b", "eu-central-1", "http://127.0.0.1:9000", "key", "secret")
    assert settings.public_base_url == "https://cdn.example"
    assert "secret'" not in repr(settings)


def test_r2_is_reached_by_its_account_or_by_the_endpoint_given() -> None:
    assert StorageSettings(**R2).bucket.url == "https://acc.r2.cloudflarestorage.com/images/"
    given = {**R2, "r2_account_id": "", "s3_endpoint_url": "https://eu.r2.example"}
    assert StorageSettings(**given).bucket.url == "https://eu.r2.example/images/"
    assert StorageSettings(**R2).bucket.region == "auto"


@pytest.mark.parametrize("domain", ["img.example", "https://img.example/", "https://img.example"])
def test_a_public_domain_is_an_address(domain: str) -> None:
    assert StorageSettings(**R2, r2_public_domain=domain).public_base_url == "https://img.example"


def test_a_bucket_of_aws_has_an_address_that_its_certificate_covers() -> None:
    assert Bucket("images", "eu-west-1").url == "https://images.s3.eu-west-1.amazonaws.com/"
    assert Bucket("a.b", "eu-west-1").url == "https://s3.eu-west-1.amazonaws.com/a.b/"
