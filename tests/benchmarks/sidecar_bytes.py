"""Bytes of ledger and signals beside those of the shards, column by column, of finished outputs of one run.

python -m tests.benchmarks.sidecar_bytes OUTPUT [OUTPUT …] [--columns 20]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from tests.benchmarks.figures import figure


def stored_bytes(outputs: list[Path]) -> tuple[Counter[str], Counter[tuple[str, str]], Counter[str]]:
    """Bytes by folder (`data`, `ledger`, `signals/NODE`, …); by folder and column, with footers as a column; rows by folder."""
    folders: Counter[str] = Counter()
    columns: Counter[tuple[str, str]] = Counter()
    rows: Counter[str] = Counter()
    for output in outputs:
        for path in sorted(output.glob("*/**/*.parquet")):
            folder = path.parent.relative_to(output).as_posix()
            metadata = pq.read_metadata(path)
            chunks = [
                metadata.row_group(g).column(c)
                for g in range(metadata.num_row_groups)
                for c in range(metadata.num_columns)
            ]
            for chunk in chunks:
                columns[folder, chunk.path_in_schema] += chunk.total_compressed_size
            folders[folder] += path.stat().st_size
            columns[folder, "(footer)"] += path.stat().st_size - sum(chunk.total_compressed_size for chunk in chunks)
            rows[folder] += metadata.num_rows
    return folders, columns, rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("outputs", type=Path, nargs="+", help="the outputs of one run")
    arguments.add_argument("--columns", type=int, default=20, help="how many columns to print, the largest first")
    chosen = arguments.parse_args()
    folders, columns, rows = stored_bytes(chosen.outputs)
    shards = folders["data"]
    for folder, size in folders.most_common():
        print(f"{folder:24s} {size:12,d} bytes {size / shards:8.2%} of the shards' {rows[folder]:10,d} rows")
    counted = ("ledger", "signals/")
    for (folder, column), size in [one for one in columns.most_common() if one[0][0].startswith(counted)][
        : chosen.columns
    ]:
        print(f"    {folder:20s} {column:36s} {size / shards:6.2%} {size / max(1, rows[folder]):6.2f} bytes a row")
    share = sum(size for folder, size in folders.items() if folder.startswith(counted)) / shards
    print(f"ledger and signals: {share:.1%} of the shards' bytes")
    figure("ledger and signals", 100 * share, "% of the shards' bytes", data=f"{shards / 1e6:.0f} MB in shards")


if __name__ == "__main__":
    main()
