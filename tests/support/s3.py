"""`s3`: an empty bucket in a real S3 server that checks signatures and POST policies, for one test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.ministack import ensure_ministack
from tests.support.processes import server

ACCESS_KEY = "AKIAKEEPSAKETESTS000"
SECRET_KEY = "only-for-tests-on-the-loopback-address"
REGION = "eu-central-1"


@dataclass(frozen=True)
class S3Server:
    """An S3 server on the loopback address, and a bucket in it."""

    endpoint_url: str
    bucket: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a process that keeps its objects here."""
        return {
            "STORAGE_BACKEND": "s3",
            "S3_BUCKET": self.bucket,
            "S3_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@dataclass(frozen=True)
class RunningS3:
    """An S3 server, and a client of it that may do everything."""

    endpoint_url: str
    client: Any


@contextmanager
def running_s3(folder: Path) -> Iterator[RunningS3]:
    """Run ministack: the service S3 alone, everything in memory."""
    # Here, since it takes a third of a second, which only those tests pay that need it.
    import botocore.session
    from botocore.config import Config

    python = ensure_ministack()
    with server(
        lambda _port: [python, "-m", "ministack"],
        environment=lambda port: {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "SERVICES": "s3",
            "MINISTACK_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "TMPDIR": str(folder),
            "HOME": str(folder),
            "LOG_LEVEL": "WARNING",
            # It clears away containers of its own at start: there are none, and the tests touch nobody's.
            "DOCKER_HOST": f"unix://{folder}/none",
        },
        log=folder / "ministack.log",
        stop_signal=signal.SIGTERM,
    ) as port:
        endpoint_url = f"http://127.0.0.1:{port}"
        client = botocore.session.Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        yield RunningS3(endpoint_url, client)
        client.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    """Give a server that is started once for the session, and have all clients share the description of S3 that one read."""
    import botocore.session

    with running_s3(tmp_path_factory.mktemp("s3")) as running, pytest.MonkeyPatch.context() as patched:
        patched.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield running


def empty_bucket(client: Any, bucket: str) -> None:
    """Delete whatever is in it."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if keys := [{"Key": found["Key"]} for found in page.get("Contents", ())]:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys})


@contextmanager
def fresh_bucket(running: RunningS3) -> Iterator[S3Server]:
    """Make a bucket in the server, and empty and remove it after the block."""
    bucket, client = f"test-{uuid4().hex}", running.client
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield S3Server(running.endpoint_url, bucket)
    empty_bucket(client, bucket)
    client.delete_bucket(Bucket=bucket)


@pytest.fixture
def s3(s3_server: RunningS3) -> Iterator[S3Server]:
    """Give a bucket that is made for this test and emptied and removed after it."""
    with fresh_bucket(s3_server) as bucket:
        yield bucket
