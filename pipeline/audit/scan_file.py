"""One reading of a file of an output: its pages, rows, content digest and key sum against its entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from gristmill.pipeline.audit.messages import Answer, Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened, pieces_of
from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_sum, key_words
from gristmill.pipeline.provenance.content import ContentDigest
from gristmill.pipeline.provenance.removal import REMOVED_ROLE
from gristmill.pipeline.writing.parquet import read_log


def scanned(
    folder: str,
    entry: Entry,
    keep: list[str] | None,
    answer: Answer,
    each: Callable[[int, pa.Table], None] | None = None,
) -> tuple[pa.Table | None, dict[str, Any] | None]:
    """Reads a file once: pages, rows, content digest and key sum against its entry. `each` sees all
    rows in pieces, with the number of their row group.

    Returns the columns to keep (None: all), or None when it cannot be used, and the log in its footer.
    """
    try:
        with opened(folder, entry.path, pages=True) as file:
            schema = file.schema_arrow
            keyless = entry.role == REMOVED_ROLE  # what is removed is not named
            if len(set(schema.names)) != len(schema.names) or (DOC_KEY not in schema.names) != keyless:
                answer.fail("content", f"has the columns {schema.names}: duplicate columns, or no doc_key", entry.path)
                return None, None
            if not keyless and schema.field(DOC_KEY).type != KEY_TYPE:
                answer.fail("content", f"doc_key is {schema.field(DOC_KEY).type}, not {KEY_TYPE}", entry.path)
                return None, None
            keep = schema.names if keep is None else [name for name in schema.names if name in keep]
            digest = ContentDigest(schema)
            kept, keys = [], 0
            for group in range(file.metadata.num_row_groups):
                for piece in pieces_of(file, group):
                    digest.update(piece)
                    keys += 0 if keyless else key_sum(key_words(piece[DOC_KEY]))
                    kept.append(piece.select(keep))
                    if each is not None:
                        each(group, piece)
                    answer.bytes += piece.nbytes
            empty = pa.schema([schema.field(name) for name in keep]).empty_table()
            table = pa.concat_tables(
                [empty.replace_schema_metadata(None), *(t.replace_schema_metadata(None) for t in kept)]
            )
            log = read_log(file.metadata.metadata)
    except Unreadable as error:
        for check in ("pages", "content"):
            answer.unread(check, str(error), entry.path)
        return None, None
    except Damaged as error:
        answer.fail("pages" if error.pages else "content", str(error), entry.path)
        return None, None
    except (TypeError, json.JSONDecodeError) as error:
        answer.fail("content", f"holds content that no run writes ({error})", entry.path)
        return None, None
    answer.saw("pages")
    answer.saw("content")
    found = digest.hexdigest()
    if digest.rows != entry.rows:
        answer.fail("content", f"expected {entry.rows} rows, found {digest.rows}", entry.path)
    if found != entry.content_digest:
        answer.fail("content", f"expected the content digest {entry.content_digest}, found {found}", entry.path)
    total = f"{keys % (1 << 128):032x}"
    if entry.role == "data" and total != entry.keys:
        answer.fail("content", f"expected the doc_key sum {entry.keys}, found {total}", entry.path)
    return table.combine_chunks(), log
