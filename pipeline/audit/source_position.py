"""Where in its source file a document stands: a record's number, or the byte at which it begins.

A doc_key is a hash of source, snapshot, path and position, so a position that gives the key is the document's, whatever
has become of the file since. Numbers of records can all be tried; byte offsets are too many, so those at which the records of
the input begin are tried, where it still lies where the config says.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.logs import SliceRead

if TYPE_CHECKING:
    from gristmill.pipeline.source import Source

MOST_RECORDS = 1 << 26
"""Numbers of records that are tried: a slice has far fewer, whatever its log says."""


def origin(one: SliceRead, snapshot: str | None, key: bytes, kind: str, config: str | None) -> dict[str, Any]:
    """A document's `path` and `part`, and its place there: `record` (its number, from 0) or `byte` (where it begins); the other
    is None, and both where the place is not known. Of a slice of several files, the file is known by the place alone.

    Args:
        one: the slice, as a footer log has it.
        snapshot: its source's.
        key: the document's doc_key.
        kind: the source's format.
        config: the run's config, as YAML, where the input may be looked into.
    """
    for file in one.each:
        place = _place(file, snapshot, key, kind, config)
        if len(one.each) == 1 or set(place.values()) != {None}:
            return {"path": file.path, "part": file.part, **place}
    path = f"{one.path} or one of the {len(one.files) - 1} files after it"
    return {"path": path, "part": one.part, "record": None, "byte": None}


def _place(one: SliceRead, snapshot: str | None, key: bytes, kind: str, config: str | None) -> dict[str, int | None]:
    format_ = _format(kind)
    if not format_.by_offset:
        return {"record": _record(one, snapshot, key), "byte": None}
    if config is None:
        return {"record": None, "byte": None}
    offsets = _offsets(kind, config, one.source, one.path, tuple(sorted(one.part.items())))
    place = None if offsets is None else _index(key, one, snapshot, offsets)
    position = None if place is None or offsets is None else int(offsets[place])
    return {"record": None, "byte": position} if format_.counts_bytes(one.part) else {"record": position, "byte": None}


def _format(kind: str) -> type[Source]:
    # Sources, and what reads configs, take a while to import: `explain` waits for that only where it must.
    from gristmill.pipeline.registry import Registry
    from gristmill.pipeline.source import Source

    try:
        return Registry().source(kind, "manifest.json")
    except GristmillError:
        return Source  # a plugin's, which is not imported for this: most number their records


def _index(key: bytes, one: SliceRead, snapshot: str | None, positions: np.ndarray) -> int | None:
    keys = doc_keys(one.source, snapshot, one.path, positions)
    found = pc.index(keys, pa.scalar(key, keys.type)).as_py()
    return None if found is None or found < 0 else int(found)


def _record(one: SliceRead, snapshot: str | None, key: bytes) -> int | None:
    """The record's number in its file, by making the keys of all records in the slice."""
    count = min(one.rows + one.rejects, MOST_RECORDS)
    # Formats count records from the start of the file or, where a slice is a file of its own, of the slice.
    for first in sorted({0, int(one.part.get("first_row", 0))}, reverse=True):
        found = _index(key, one, snapshot, np.arange(first, first + count))
        if found is not None:
            return first + found
    return None


@lru_cache(maxsize=4)
def _offsets(kind: str, config: str, name: str, path: str, part: tuple[tuple[str, int], ...]) -> np.ndarray | None:
    """Where the records of a slice begin, or None where the input is not at hand."""
    from pydantic import ValidationError

    from gristmill.pipeline.planning.config import source_settings
    from gristmill.pipeline.planning.yaml_reader import parse

    try:
        document = parse(config, "manifest.json").value
        settings = source_settings(document["sources"][name], document.get("seed", 0))
        format_ = _format(kind)
        source = format_(name, format_.Config.model_validate(settings))
        one = next(
            (one for one in source.slices() if one.path == path and tuple(sorted(one.part.items())) == part), None
        )
        return None if one is None else source.offsets(one)
    except (GristmillError, OSError, ValidationError, KeyError, TypeError, ValueError):
        return None  # the config of another machine, or input that has gone: the place is then not known
