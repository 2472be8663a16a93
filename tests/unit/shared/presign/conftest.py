from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import botocore.session
import pytest
from botocore.config import Config

from shared.settings import Bucket
from tests.support.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>(.*?)</Code>", self.body)
        return found[1].decode() if found else ""


def send(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """One request, sent as a browser would: its length is that of the body, and no header is added."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(
            method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, dict(headers or {})
        )
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def post_form(url: str, fields: Mapping[str, str], data: bytes, filename: str = "photo.png") -> Answer:
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
    body = b"".join(parts) + head + data + f"\r\n--{boundary}--\r\n".encode()
    return send("POST", url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3.bucket, s3.region, s3.endpoint_url, s3.access_key, s3.secret_key)


@pytest.fixture(scope="session")
def signer() -> Iterator[Any]:
    """botocore's own client, for its presigned forms and URLs; it asks no server."""
    client = botocore.session.Session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    yield client
    client.close()
