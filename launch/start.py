"""Where the command begins: a reading process loads what it needs while this process loads the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping

READERS: Mapping[str, str] = {"explain": "gristmill.pipeline.audit.explain"}
"""By command, the module of its shared reading process: most of the time of a short command goes by while the two load."""


def main() -> None:
    """Runs the command line and exits, as `cli.main` does."""
    arguments = sys.argv[1:]
    module = READERS.get(arguments[0]) if arguments and not {"-h", "--help"} & set(arguments) else None
    if module is not None:
        from gristmill.pipeline.key_variable import withdraw_key
        from gristmill.pipeline.reader_process import shared_reader

        withdraw_key()  # before another process could inherit it
        shared_reader(module).start()

    from gristmill.launch import cli

    cli.main()
