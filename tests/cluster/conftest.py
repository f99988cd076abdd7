"""The S3 server, one for all tests of this folder, and a bucket of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster.s3_server import S3Server, serving


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    with serving() as server:
        yield server


@pytest.fixture
def s3_server(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, without faults, with the environment set so that clients find it."""
    running_s3.reset()
    for name, value in running_s3.environment().items():
        monkeypatch.setenv(name, value)
    yield running_s3
    running_s3.reset()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """`s3://` and a bucket that holds nothing."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_server.make_bucket(name)
    return f"s3://{name}"
