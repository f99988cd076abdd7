"""Clean text by language for `gristmill train toxicity`: python -m tests.benchmarks.clean_pages OUT FILE…

FILE is Parquet with `text`, and perhaps `source` and, as ISO 639-3 with a script in `script`, `language`. Texts without
these two get what the embedded model of the stage `language` says where it is sure (0.8 and more). OUT has `text`, `source`
and `language`, a label pair.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.stage import StageContext
from gristmill.stages.language.stage import Language, LanguageConfig

SURE = 0.8


def labelled(path: Path) -> pa.Table:
    """The texts of a file with their sources and label pairs, empty where unknown."""
    table = pq.read_table(path)
    text = table["text"].cast(pa.large_string()).combine_chunks()
    source = table["source"].to_pylist() if "source" in table.column_names else [path.stem] * len(text)
    if "script" in table.column_names:
        pairs = zip(table["language"].to_pylist(), table["script"].to_pylist(), strict=True)
        language = [f"{name}_{script}" for name, script in pairs]
    else:
        found = Language(LanguageConfig()).measure(pa.table({"text": text}), StageContext())
        columns = [found[name].to_pylist() for name in ("language", "language_script", "language_score")]
        language = [f"{a}_{b}" if score >= SURE else "" for a, b, score in zip(*columns, strict=True)]
    return pa.table(
        {"text": text, "source": pa.array(source, pa.string()), "language": pa.array(language, pa.string())}
    )


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    pq.write_table(pa.concat_tables([labelled(path) for path in arguments.files]), arguments.out)


if __name__ == "__main__":
    main()
