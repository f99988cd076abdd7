"""Which documents of a shard are not what the run made of its input, for a shard that is not the one that was written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.pipeline.audit.key_order import key_order, name_of, places_in
from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words

MOST_NAMED = 20
"""Documents that are named; the rest are counted."""


def readable_keys(shards: Sequence[Entry]) -> tuple[np.ndarray, list[Entry]]:
    """The doc_keys in shards (uint64, rows × 2), and those shards that can be read, with their texts."""
    keys, read = [np.empty((0, 2), np.uint64)], []
    for entry in shards:
        mine = []
        try:
            with opened(entry.folder, entry.path) as file:
                schema = file.schema_arrow
                if schema.names.count(DOC_KEY) != 1 or schema.field(DOC_KEY).type != KEY_TYPE:
                    continue
                for group in range(file.metadata.num_row_groups):
                    mine.append(key_words(file.read_row_group(group, use_threads=False)[DOC_KEY]))
        except (Damaged, Unreadable):
            continue  # the checks of bytes and contents say so; its documents are found to be lost
        keys += mine
        read.append(entry)
    return np.concatenate(keys), read


def wrong_copies(source: np.ndarray, due: np.ndarray, found: np.ndarray) -> list[str]:
    """Documents of a slice that are not in its shards as often as they should be.

    Args:
        source: the slice's doc_keys, ascending (uint64, documents × 2).
        due: copies that its shards should hold of each (int64).
        found: the doc_keys in the shards, in any order (uint64, rows × 2).
    """
    place = places_in(source, found[key_order(found)])
    there = np.bincount(place, minlength=len(source) + 1)[: len(source)]
    return [name_of(source[row]) for row in np.flatnonzero(there != due).tolist()]


def changed_message(documents: Sequence[str]) -> str:
    """The documents that changed, at most MOST_NAMED of them by name, and their number."""
    more = f", and {len(documents) - MOST_NAMED:,} more" if len(documents) > MOST_NAMED else ""
    if not documents:
        return (
            "every document has the text that the run made of its input: what changed is another column or the encoding"
        )
    what = "1 document differs" if len(documents) == 1 else f"{len(documents):,} documents differ"
    return f"{what} from what the run wrote: {', '.join(documents[:MOST_NAMED])}{more}"
