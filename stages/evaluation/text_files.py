"""Reads columns of small files of texts: Parquet, JSON lines, CSV or TSV by the name, the last three also compressed.

For labelled and reference files, which fit into memory; corpora are read by `stages.sources`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from gristmill.pipeline.errors import ConfigError, DataError

_BLOCK = 64 << 20
"""Bytes that are parsed at a time: a line must fit, and documents of some megabytes are not rare."""
_READERS: Mapping[str, Callable[[pa.NativeFile], pa.Table]] = {
    ".jsonl": lambda file: pa_json.read_json(file, read_options=pa_json.ReadOptions(block_size=_BLOCK)),
    ".ndjson": lambda file: pa_json.read_json(file, read_options=pa_json.ReadOptions(block_size=_BLOCK)),
    ".csv": lambda file: _csv(file, ","),
    ".tsv": lambda file: _csv(file, "\t"),
}
_COMPRESSED = (".gz", ".zst", ".bz2")


def _csv(file: pa.NativeFile, delimiter: str) -> pa.Table:
    return pa_csv.read_csv(
        file,
        read_options=pa_csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    )


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """The columns of a file, in this order.

    Raises ConfigError when there is no such file, its name does not show its kind or a column is missing, DataError when
    it cannot be read.
    """
    wanted = ", ".join(columns)
    if not path.is_file():
        noun = "column" if len(columns) == 1 else "columns"
        raise ConfigError(f"{path}: there is no such file. Name a file with the {noun} {wanted}.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED else "".join(suffixes[-1:])
    if kind != ".parquet" and kind not in _READERS:
        raise ConfigError(
            f"{path}: the file type is not clear from its name. Expected .parquet, {', '.join(_READERS)}, the latter also with "
            f"{', '.join(_COMPRESSED)}."
        )
    try:
        if kind == ".parquet":
            names = pq.read_schema(path).names
            table = pq.read_table(path, columns=list(columns)) if set(columns) <= set(names) else None
        else:
            with pa.input_stream(str(path), compression="detect") as file:
                table = _READERS[kind](file)
            names = table.column_names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    missing = [name for name in columns if name not in names]
    if missing or table is None:
        noun = "column" if len(columns) == 1 else "columns"
        raise ConfigError(
            f"{path}: expected the {noun} {wanted}, found {', '.join(names) or 'none'}. Add {', '.join(missing)}."
        )
    return table.select(list(columns))
