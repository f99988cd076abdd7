"""Shares in tokens of an output that was written as tokens too and has no column with their number: from the kind's indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.launch.report.output_files import OutputFiles, output_files
from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened, what_a_run_wrote
from gristmill.pipeline.audit.shares import unseen
from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, key_words, one_chunk
from gristmill.pipeline.errors import DataError, GristmillError
from gristmill.pipeline.provenance.kinds import LENGTH, index_path, index_role, stem_of
from gristmill.pipeline.provenance.shares import COLUMNS, TOKENS, Amounts, Shares, shares_of
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.provenance.values import parse, to_json
from gristmill.pipeline.reader_process import ReaderProcess
from gristmill.pipeline.writing.share_tables import unit_of

_ROW = np.dtype([("high", np.uint64), ("low", np.uint64), ("copy", np.int64)])


def token_kind(manifest: Predicate) -> str | None:
    """The kind of an output that tells how many tokens its documents have; None where there is none, or none is needed."""
    shares = manifest.accounts.shares.get(manifest.output)
    if shares is None or not shares.uncounted or set(unseen(manifest)) - {TOKENS}:
        return None
    kinds = manifest.identity.outputs[manifest.output].kinds
    return next((name for name, one in kinds.items() if one.format in ("megatron", "datatrove")), None)


def shares_in_tokens(folder: str, manifest: Predicate, beside: Sequence[str] = ()) -> tuple[Shares, str] | None:
    """What an output holds by source, licence and creator, and in what it is measured; None where nobody counted.

    Files are read in a process of their own: an output may be anybody's.
    """
    shares, kind = manifest.accounts.shares.get(manifest.output), token_kind(manifest)
    if shares is None or kind is None:
        return None if shares is None else (shares, unit_of(shares))
    try:
        with ReaderProcess(__name__) as reader:
            found = reader.call("tokens", [folder, list(beside)], 4 * manifest.data.bytes)
    except GristmillError as error:
        return shares, f"in bytes of text, since the tokens of the kind `{kind}` cannot be read ({error})"
    return with_tokens(shares, found), of_kind(kind)


def of_kind(kind: str) -> str:
    """In what shares are measured that a kind's tokens give."""
    return f"in tokens of the kind `{kind}`, with the end of each document"


def with_tokens(shares: Shares, counted: Mapping[str, Any]) -> Shares:
    """Shares with the tokens of others, which were counted of the same rows."""
    tokens = parse(Shares, counted)

    def both(mine: Amounts | None, theirs: Amounts | None) -> Amounts | None:
        if mine is None or theirs is None:
            return None
        return {name: [*amount[:2], theirs.get(name, [0, 0, 0])[2]] for name, amount in mine.items()}

    return Shares(
        both(shares.sources, tokens.sources) or {},
        both(shares.licences, tokens.licences),
        both(shares.creators, tokens.creators),
    )


def count_tokens(files: OutputFiles, manifest: Predicate, kind: str) -> dict[str, Any]:
    """The shares of an output, of which only tokens mean anything, as JSON. Raises Damaged, Unreadable and DataError."""
    indexes = {entry.path: entry for entry in files.of(index_role(kind))}
    found = Shares()
    for shard in files.of("data"):
        index = indexes.get(index_path(kind, stem_of(shard.path)))
        if index is None:
            raise DataError(
                f"{shard.path}: the kind `{kind}` has no index of it. `gristmill audit` shows what else is."
            )
        pieces = _rows(index, (DOC_KEY, COPY, LENGTH))
        keys, place = np.unique(_keys(pieces), return_inverse=True)
        lengths = np.zeros(len(keys), np.int64)
        np.add.at(lengths, place, one_chunk(pieces[LENGTH]).to_numpy())
        rows = _rows(shard, (DOC_KEY, COPY, FROM_TASK, *(name for name in COLUMNS if name != TOKENS)))
        at = np.searchsorted(keys, mine := _keys(rows))
        if len(rows) and (at.max(initial=0) >= len(keys) or (keys[at] != mine).any()):
            raise DataError(
                f"{index.path}: it does not have every document of {shard.path}. `gristmill audit` shows more."
            )
        tasks = one_chunk(rows[FROM_TASK]).to_numpy() if FROM_TASK in rows.column_names else None
        names = (
            [shard.source] if tasks is None else sorted({files.sources.get(int(task), "") for task in np.unique(tasks)})
        )
        for name in names:
            if name not in manifest.sources:
                raise DataError(f"{shard.path}: nobody knows which source its rows are of.")
            some = np.arange(len(rows))
            if tasks is not None:
                some = np.flatnonzero([files.sources.get(int(task)) == name for task in tasks])
            columns = {
                item: one_chunk(rows[item]).take(pa.array(some)) for item in COLUMNS if item in rows.column_names
            }
            columns[TOKENS] = pa.array(lengths[at[some]], pa.int64())
            ones = np.ones(len(some), np.int64)
            found.add(shares_of(name, manifest.sources[name].license, np.zeros(len(some), np.int64), ones, columns))
    return to_json(found)


def _rows(entry: Entry, columns: Sequence[str]) -> pa.Table:
    with opened(entry.folder, entry.path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        return file.read(columns=there, use_threads=False)


def _keys(table: pa.Table) -> np.ndarray:
    words = key_words(table[DOC_KEY])
    rows = np.empty(len(words), _ROW)
    rows["high"], rows["low"], rows["copy"] = words[:, 0], words[:, 1], one_chunk(table[COPY]).to_numpy()
    return rows


def _tokens(argument: Sequence[Any]) -> dict[str, Any]:
    folder, beside = argument
    manifest = read_manifest(folder)
    kind = None if manifest is None else token_kind(manifest)
    if manifest is None or kind is None:
        raise DataError(f"{folder}: it has no kind with tokens.")
    try:
        with what_a_run_wrote(folder):
            return count_tokens(output_files(folder, manifest, beside), manifest, kind)
    except (Damaged, Unreadable) as error:
        raise DataError(str(error)) from error


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"tokens": _tokens}
"""What the reading process is asked for."""
