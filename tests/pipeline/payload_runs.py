"""Small runs whose source brings pages in place of texts: a toy stage makes the texts, others read them in later passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PAGES = """
name: pages
seed: 4
sources:
  crawl: {{format: parquet, paths: ["{root}/in/*.parquet"], max_document_bytes: 400}}
stages:
  reader: {{makes_text: true}}
  same: {{}}
  length: {{least: 3}}
outputs:
  corpus: {{path: "{root}/out", dropped: all}}
"""
"""Two passes: the reader makes texts in the first, `same` and `length` decide in the second."""


def page(number: int) -> bytes | None:
    """A page; some are null, empty, blank, without text or tags, or too large."""
    special = {3: None, 4: b"", 5: b"<p> \n</p>", 6: b"%PDF <x>", 7: b"no tags at all", 8: b"<p>" + b"x" * 400}
    if number in special:
        return special[number]
    return f"<html><p>{'word ' * (number % 7)}{number % 11}</p></html>".encode()


def write_pages(folder: Path, files: int = 3, rows: int = 20) -> list[dict[str, Any]]:
    """Parquet files of pages as bytes. Returns the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = []
    for file in range(files):
        numbers = range(file * rows, (file + 1) * rows)
        records = [{"id": f"p{n}", "html": page(n), "url": f"https://example.org/{n}"} for n in numbers]
        schema = pa.schema([("id", pa.string()), ("html", pa.binary()), ("url", pa.string())])
        pq.write_table(pa.Table.from_pylist(records, schema), folder / f"part-{file:03d}.parquet")
        everything += records
    return everything
