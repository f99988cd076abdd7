"""Where the command begins: a reading process loads what it needs while this process loads the command line."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping

READERS: Mapping[str, str] = {"explain": "gristmill.pipeline.audit.explain"}
"""By command, the module of its shared reading process: most of the time of a short command goes by while the two load."""


def main() -> None:
    """Runs the command line and exits, as `cli.main` does."""
    arguments = sys.argv[1:]
    command = "" if {"-h", "--help"} & set(arguments) else "".join(arguments[:1])
    if command in READERS:
        from gristmill.pipeline.key_variable import withdraw_key
        from gristmill.pipeline.reader_process import shared_reader

        withdraw_key()  # before another process could inherit it
        shared_reader(READERS[command]).start()
    elif command == "audit":
        from gristmill.pipeline.reader_template import fork_template

        # Of what the audit's readers need the audit needs most: it is loaded once, here.
        fork_template(f"gristmill.pipeline.audit.{'reader_requests' if '--sources' in arguments else 'row_requests'}")

    gc.disable()  # as `loaded` does: nothing that is loaded now goes away
    from gristmill.launch import cli

    gc.freeze()
    gc.enable()
    cli.main()
