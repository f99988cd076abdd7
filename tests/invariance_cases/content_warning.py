"""Templates by language, of which some are missing, and a model that writes some warnings and refuses others."""

import atexit

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase
from tests.endpoint_server import EndpointServer, Scripted
from tests.invariance_cases.texts import documents


def reply(text: str, before: int) -> Scripted:
    """Depends on the text alone, as partition invariance requires."""
    return Scripted(status=400) if len(text) % 3 == 0 else Scripted(f"Beware of {len(text)} characters.")


SERVER = EndpointServer(reply)
atexit.register(SERVER.close)


def with_languages() -> pa.Table:
    """Rows with the columns of language identification; some languages have no template, some rows no language."""
    table = documents()
    language = [("eng", "deu", "xyz", None)[row % 4] for row in range(len(table))]
    script = [("Latn", "Latn", "Cyrl", None)[row % 4] for row in range(len(table))]
    return table.append_column("language", pa.array(language)).append_column("language_script", pa.array(script))


def few() -> pa.Table:
    """Each text once: every split asks again."""
    return documents(copies=1)


CASES = [
    InvarianceCase("templates", {"templates": {"xyz_Cyrl": "Zyx!"}, "separator": " "}, with_languages),
    InvarianceCase(
        "a model",
        {
            "by": "endpoint", "base_url": SERVER.url, "model": "miller", "key_variable": None, "backoff": 0.0,
            "attempts": 1, "concurrency": 2,
        },
        few,
    ),
]  # fmt: skip
