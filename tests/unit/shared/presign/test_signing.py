from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.presign.signing import local_bucket, presign_post, presign_put
from shared.settings import Bucket
from tests.support.s3 import ACCESS_KEY, REGION, SECRET_KEY
from tests.unit.shared.presign.conftest import post_form, send

KEY = "temp/1/a b+c~(1).png"


def _now() -> datetime:
    return datetime.now(UTC)


def test_a_form_stores_its_file_in_the_bucket(bucket: Bucket) -> None:
    upload = presign_post(bucket, KEY, "image/png", max_bytes=10, lifetime_s=300, now=_now())
    assert (upload.method, upload.headers, upload.key) == ("POST", {}, KEY)
    assert post_form(upload.url, upload.fields, b"png bytes").status == 204
    read = send("GET", presign_get(bucket))
    assert read.body == b"png bytes"
    assert read.headers["content-type"] == "image/png"


def presign_get(bucket: Bucket) -> str:
    import botocore.session
    from botocore.config import Config

    client = botocore.session.Session().create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    url: str = client.generate_presigned_url("get_object", {"Bucket": bucket.name, "Key": KEY})
    client.close()
    return url


@pytest.mark.parametrize(
    ("change", "data", "code"),
    [
        ({}, b"more than ten bytes", "EntityTooLarge"),
        ({}, b"", "EntityTooSmall"),
        ({"Content-Type": "text/html"}, b"x", "AccessDenied"),
        ({"key": "temp/1/other.png"}, b"x", "AccessDenied"),
        ({"x-amz-meta-more": "x"}, b"x", "AccessDenied"),
        ({"x-amz-signature": "0" * 64}, b"x", "SignatureDoesNotMatch"),
    ],
)
def test_a_bucket_holds_the_form_to_its_word(bucket: Bucket, change: dict[str, str], data: bytes, code: str) -> None:
    upload = presign_post(bucket, KEY, "image/png", max_bytes=10, lifetime_s=300, now=_now())
    assert post_form(upload.url, {**upload.fields, **change}, data).code == code


def test_a_form_expires(bucket: Bucket) -> None:
    upload = presign_post(bucket, KEY, "image/png", max_bytes=10, lifetime_s=300, now=_now() - timedelta(seconds=301))
    assert post_form(upload.url, upload.fields, b"x").code == "AccessDenied"


def test_a_url_takes_exactly_what_was_signed(bucket: Bucket) -> None:
    upload = presign_put(bucket, KEY, "image/png", size=9, lifetime_s=300, now=_now())
    assert (upload.method, upload.fields, upload.headers) == ("PUT", {}, {"Content-Type": "image/png"})
    assert send("PUT", upload.url, b"more than nine", upload.headers).code == "SignatureDoesNotMatch"
    assert send("PUT", upload.url, b"png bytes", {"Content-Type": "text/html"}).code == "SignatureDoesNotMatch"
    assert (
        send("PUT", upload.url.replace("a%20b", "other"), b"png bytes", upload.headers).code == "SignatureDoesNotMatch"
    )
    assert send("PUT", upload.url, b"png bytes", upload.headers).status == 200
    assert send("GET", presign_get(bucket)).body == b"png bytes"


def test_a_url_expires(bucket: Bucket) -> None:
    upload = presign_put(bucket, KEY, "image/png", size=1, lifetime_s=300, now=_now() - timedelta(seconds=301))
    assert send("PUT", upload.url, b"x", upload.headers).status == 403


@given(
    key=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30).filter(
        lambda key: not key.startswith("/")
    ),
    size=st.integers(1, 10_000_000),
)
def test_a_url_is_signed_as_botocore_signs_it(signer: Any, key: str, size: int) -> None:
    params = {"Bucket": "b", "Key": key, "ContentType": "image/png", "ContentLength": size}
    theirs = parse_qs(urlsplit(signer.generate_presigned_url("put_object", params, ExpiresIn=300)).query)
    moment = datetime.strptime(theirs["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    bucket = Bucket("b", REGION, "http://127.0.0.1:1", ACCESS_KEY, SECRET_KEY)
    ours = presign_put(bucket, key, "image/png", size=size, lifetime_s=300, now=moment)
    assert parse_qs(urlsplit(ours.url).query) == theirs


def test_temporary_credentials_bring_their_token() -> None:
    bucket = Bucket("b", REGION, "", "key", "secret", "token/+=")
    upload = presign_post(bucket, "k.png", "image/png", max_bytes=1, lifetime_s=1, now=_now())
    assert upload.url == f"https://b.s3.{REGION}.amazonaws.com/"
    assert upload.fields["x-amz-security-token"] == "token/+="
    put = presign_put(bucket, "k.png", "image/png", size=1, lifetime_s=1, now=_now())
    assert parse_qs(urlsplit(put.url).query)["X-Amz-Security-Token"] == ["token/+="]


def test_the_address_and_the_key_make_the_objects_address() -> None:
    upload = presign_post(
        local_bucket("https://shop.example/", "s" * 32),
        "temp/1/a.png",
        "image/png",
        max_bytes=1,
        lifetime_s=60,
        now=_now(),
    )
    assert upload.url + upload.key == "https://shop.example/media/temp/1/a.png"
    assert upload.expires_at.microsecond == 0


def test_the_secret_is_in_nothing_that_leaves() -> None:
    bucket = local_bucket("https://shop.example", "internal-secret-of-the-installation")
    upload = presign_post(bucket, "k.png", "image/png", max_bytes=1, lifetime_s=60, now=_now())
    shown = repr(upload) + repr(bucket)
    assert bucket.secret_key not in shown
    assert "internal-secret" not in shown + bucket.secret_key
