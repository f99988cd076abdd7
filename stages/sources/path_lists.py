"""Files that list paths, such as Common Crawl's `warc.paths.gz`: one path per line, each below a root."""

from __future__ import annotations

import gzip
import io
import posixpath
import zlib
from collections.abc import Iterator

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.storage import join, open_read

MAX_LINES = 1_000_000
MAX_LINE = 4096
"""Bytes of a path."""


def listed_files(where: str, name: str, root: str | None) -> Iterator[tuple[str, str]]:
    """(path below the root, location) of each line of a list; blank lines are left out.

    A line is a path below `root` (default: the list's folder), or begins with it. Raises DataError, naming the line, for
    one that leads elsewhere, since a file may not say what else is read, and for a list that cannot be read.
    """
    top = (posixpath.dirname(name) or "." if root is None else root).rstrip("/")
    for number, line in enumerate(_lines(where, name), 1):
        if number > MAX_LINES:
            raise DataError(f"{where}: more than {MAX_LINES:,} lines. Split the list into several sources.")
        try:
            path = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}, line {number}: this is not UTF-8. Expected one path per line.") from error
        if not path:
            continue
        below = path.removeprefix(top + "/")
        if below.startswith("/") or "://" in below or ".." in below.split("/") or not below.isprintable():
            raise DataError(
                f"{where}, line {number}: {path[:200]!r} does not lie below {top}. Set `root:` to the folder or "
                "prefix that all lines lie below."
            )
        yield below, join(top, below)


def _lines(where: str, name: str) -> Iterator[bytes]:
    try:
        with open_read(name) as stream:
            plain = gzip.GzipFile(fileobj=stream) if name.lower().endswith(".gz") else stream
            with io.BufferedReader(plain) if plain is not stream else stream as lines:
                while line := lines.readline(MAX_LINE + 1):
                    if len(line) > MAX_LINE:
                        raise DataError(f"{where}: a line of more than {MAX_LINE} bytes. Expected one path per line.")
                    yield line
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: the list cannot be read to its end ({error}). Restore it.") from error
