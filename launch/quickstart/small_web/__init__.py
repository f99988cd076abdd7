"""A small web that we wrote: original pages with known right answers, and a generator that copies them about.

The quickstart curates it, so that a first run needs neither data nor network and can be scored. `documents`
returns the table, `load_pages` reads the pages as they were written.
"""

from gristmill.launch.quickstart.small_web.generator import DUMPS, SCHEMA, documents
from gristmill.launch.quickstart.small_web.pages import KINDS, VERDICTS, Page, load_pages

__all__ = ["DUMPS", "KINDS", "SCHEMA", "VERDICTS", "Page", "documents", "load_pages"]
