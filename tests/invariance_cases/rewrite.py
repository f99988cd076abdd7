"""A model that answers alike to like: rewrites some texts, calls some misclassified, says nonsense to others."""

import atexit
import json

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase
from tests.endpoint_server import EndpointServer, Scripted
from tests.invariance_cases.texts import documents


def reply(text: str, before: int) -> Scripted:
    """Depends on the text alone, as partition invariance requires."""
    if len(text) % 3 == 0:
        return Scripted(json.dumps({"verdict": "rewritten", "text": f"Kindly: {text}"}, ensure_ascii=False))
    if len(text) % 3 == 1:
        return Scripted(json.dumps({"verdict": "misclassified", "justification": "It is a timetable."}))
    return Scripted("I had rather not.")


SERVER = EndpointServer(reply)
atexit.register(SERVER.close)


def few() -> pa.Table:
    """Each text once: every split asks again, and each answer takes a millisecond."""
    return documents(copies=1)


CASES = [
    InvarianceCase(
        "rewritten, misclassified, not understood, too long",
        {
            "base_url": SERVER.url, "model": "miller", "key_variable": None, "backoff": 0.0, "attempts": 1,
            "max_text_bytes": 130, "length_shares": [0.0, 100.0], "concurrency": 2,
        },
        few,
    )
]  # fmt: skip
