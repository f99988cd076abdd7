"""Answers of an endpoint and what was spent, kept in a work folder in a bucket."""

from __future__ import annotations

import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import GristmillError
from gristmill.stages.rewriting.endpoint import Endpoint, EndpointConfig
from tests.endpoint_server import EndpointServer, Scripted

pytestmark = pytest.mark.cluster


def test_answers_and_spending_are_shared_through_a_bucket(s3_bucket: str) -> None:
    def ask(text: str, **settings: int) -> str | None:
        """As a process that knows nothing of those before it."""
        config = EndpointConfig(base_url=server.url, model="miller", key_variable=None, backoff=0.0, **settings)
        return Endpoint(config, "toy", f"{s3_bucket}/work").ask("Say yes.", [text], lambda *_: None)[0].content

    with EndpointServer(lambda text, before: Scripted(f"{text} {before}")) as server:
        assert ask("a") == ask("a") == "a 0" and len(server.seen) == 1
        (kept,) = [name for name in storage.list_files(f"{s3_bucket}/work") if name.startswith("answers/")]
        storage.put(storage.join(s3_bucket, "work", kept), b"{}")
        assert ask("a") == "a 1" and ask("a") == "a 1", "a damaged answer is got anew and kept"
        with pytest.raises(GristmillError, match="`budget_requests: 2` is spent .2 requests, 14 tokens"):
            ask("b", budget_requests=2)
        assert len(server.seen) == 2
