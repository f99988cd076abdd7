"""Croissant as MLCommons' own library reads it: metadata without errors, and the shards' rows through it.

`mlcroissant` runs in an environment of its own, `.venv-croissant` (make test-croissant).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.launch.running import Command

pytestmark = pytest.mark.croissant
PYTHON = Path(__file__).parents[3] / ".venv-croissant/bin/python"
PROGRAM = """
import json, sys
import mlcroissant as mlc
dataset = mlc.Dataset(jsonld=sys.argv[1])
issues, made = dataset.metadata.ctx.issues, dataset.metadata
rows = list(dataset.records("default"))
print(json.dumps({
    "errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "rows": rows,
    "version": made.version, "license": [str(one) for one in made.license], "published": str(made.date_published),
    "url": made.url, "creators": [one.name for one in made.creators], "uses": made.data_use_cases,
    "biases": made.data_biases, "raw": made.data_collection_raw_data, "protocol": made.data_preprocessing_protocol,
}, default=lambda value: value.decode("latin-1") if isinstance(value, bytes) else str(value)))
"""
Reads = Callable[[Path], dict[str, Any]]


@pytest.fixture
def reads() -> Reads:
    """What the library finds in a document, and the rows of the files that lie beside it."""

    assert PYTHON.exists(), "run `make test-croissant`, which builds this environment"

    def read(path: Path) -> dict[str, Any]:
        ran = subprocess.run([PYTHON, "-c", PROGRAM, path], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-2000:]
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    return read


def test_metadata_beside_the_shards_is_valid_and_reads_them(run_folder: Path, reads: Reads) -> None:
    for name in ("corpus", "bare"):
        found = reads(run_folder / name / "croissant.json")
        assert found["errors"] == []
        # A date would differ from run to run; the export has it.
        assert [warning.rpartition("/")[2].split('"')[0] for warning in found["warnings"]] == ["datePublished"]
        assert found["version"].startswith("1.0.0+")
        table = pq.read_table(run_folder / name / "data")
        assert sorted(row["default/id"] for row in found["rows"]) == sorted(table["id"].to_pylist())
        assert {key.removeprefix("default/") for key in found["rows"][0]} == set(table.column_names)


def test_the_export_is_valid_without_a_warning(run_folder: Path, gristmill: Command, reads: Reads) -> None:
    Path("a.yaml").write_text(
        "dataset: {link: 'https://example.org/data'}\nowners: {teams: '<b>Mills</b>'}\nuse: {suitable: milling}\n"
        "curation: {extrinsic_bias: 'Only \"mills\"'}"
    )
    for name, more in (("corpus", ()), ("bare", ()), ("corpus", ("--answers", "a.yaml"))):
        assert gristmill("export", "croissant", str(run_folder / name), "--output", "c.json", *more).code == 0
        found = reads(Path("c.json").absolute())
        assert (found["errors"], found["warnings"]) == ([], [])
        assert found["raw"].startswith("crawl: 41 documents, ")
        assert len(found["protocol"]) == 2 and found["published"].startswith("20")
        said = [found["url"], found["creators"], found["uses"], found["biases"]]
        told = ["https://example.org/data", ["<b>Mills</b>"], ["milling"], ['Only "mills"']]
        assert said == (told if more else [None, [], None, None])


def test_columns_of_every_type_are_read_as_they_are(tmp_path: Path, gristmill: Command, reads: Reads) -> None:
    words = ["mill", "grain", "river", "stone"]
    table = pa.table(
        {
            "id": words,
            "text": [f"The {word} of the people." for word in words],
            "tags": [["a", word] for word in words],
            "vector": pa.array([[0.5, 1.0, float(n)] for n in range(4)], pa.list_(pa.float32(), 3)),
            "seen": pa.array([datetime(2024, 1, 1 + n, 12) for n in range(4)], pa.timestamp("us")),
            "day": [date(2024, 1, 1 + n) for n in range(4)],
            "clock": [time(1, 2, n) for n in range(4)],
            "flag": [n % 2 == 0 for n in range(4)],
            "small": pa.array(range(4), pa.uint8()),
            "half": pa.array([1.5] * 4, pa.float16()),
            "place": [{"x": n} for n in range(4)],
            "grid": [[[n]] for n in range(4)],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    (tmp_path / "c.yaml").write_text(
        "name: types\nsources: {a: {format: parquet, paths: [in.parquet]}}\nstages: {exact: {}}\n"
        "outputs: {corpus: {from: exact, path: out}}\n"
    )
    assert gristmill("run", "c.yaml", "--quiet", "--executor", "inline").code == 0
    found = reads(tmp_path / "out/croissant.json")
    rows = {row["default/id"]: row for row in found["rows"]}
    row = {key.removeprefix("default/"): value for key, value in rows["river"].items()}
    assert (row["tags"], row["vector"], row["flag"], row["small"]) == (["a", "river"], [0.5, 1.0, 2.0], True, 2)
    assert (row["seen"], row["day"], row["clock"]) == ("2024-01-03 12:00:00", "2024-01-03 00:00:00", "01:02:02")
    assert row["half"] == 1.5
    # Croissant has no type for structs and for lists of lists.
    assert "place" not in row and "grid" not in row
