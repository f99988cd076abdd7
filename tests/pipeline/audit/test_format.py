"""The format as docs/provenance.md specifies it: worked examples, tables and schema agree with the code."""

from __future__ import annotations

import decimal
import doctest
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from gristmill.pipeline.audit.result import CHECKS
from gristmill.pipeline.document import doc_keys, key_sum, key_words
from gristmill.pipeline.hashing import canonical, digest, merkle_root
from gristmill.pipeline.provenance.content import ContentDigest, content_digest
from gristmill.pipeline.provenance.files import FILES
from gristmill.pipeline.provenance.logs import LedgerLog, ShardLog
from gristmill.pipeline.provenance.schema import SCHEMA_FILE, json_schema
from gristmill.pipeline.provenance.sidecar_tables import LEDGER
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.provenance.values import adapter
from gristmill.pipeline.writing.parquet import read_log
from tests.pipeline.audit.tampering import Output

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "provenance.md").read_text(encoding="utf-8")
SCRIPT = DOCS / "verify_output.py"


def test_the_page_s_examples_give_what_it_says() -> None:
    found = doctest.testfile(str(DOCS / "provenance.md"), module_relative=False, encoding="utf-8")
    assert found.attempted >= 18 and found.failed == 0


def test_our_functions_give_the_page_s_values() -> None:
    value = {"b": [1, None, True], "a": 0.5, "ä": "é"}
    keys = doc_keys("crawl", "CC-MAIN-2024-10", "a/b.parquet", np.array([0, 1]))
    table = pa.table({"tags": [["p", "qq"], [], None], "id": ["a", None, ""]})
    ours = [
        digest("gristmill.example", value),
        merkle_root(["00" * 32, "11" * 32, "22" * 32]),
        keys[1].as_py().hex(),
        f"{key_sum(key_words(keys), np.array([1, 2])):032x}",
        ContentDigest(table.schema).update(table).columns()["id"],
        content_digest(table),
    ]
    assert [one for one in ours if f"'{one}'" not in PAGE] == []


def test_the_canonical_encoding_is_fixed() -> None:
    assert canonical({"b": [1, None, True], "a": 0.5, "ä": "é"}) == (
        '{"a":{"float":"0x1.0000000000000p-1"},"b":[1,null,true],"ä":"é"}'.encode()
    )
    assert canonical([float("nan"), float("inf"), b"\x00\xff", -0.0]) == (
        b'[{"float":"nan"},{"float":"inf"},{"bytes":"00ff"},{"float":"-0x0.0p+0"}]'
    )


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None, ""]), "d9c2425b9109556ec3eaff2ea7885bfda6116b9f1c3c3bc14bed6885acd6c877"),
        (
            pa.array(["a", None, ""], pa.large_string()),
            "d9c2425b9109556ec3eaff2ea7885bfda6116b9f1c3c3bc14bed6885acd6c877",
        ),
        (
            pa.array(["a", None, ""]).dictionary_encode(),
            "d9c2425b9109556ec3eaff2ea7885bfda6116b9f1c3c3bc14bed6885acd6c877",
        ),
        (pa.array([b"a", None, b""]), "09b0ffc806a891b2520eb5f31e925ef4b7994402dbc71c98cefb5327f7b4e84a"),
        (pa.array([1, None, -2]), "5f52e6279882040b44367518f990d3184109d83a07ee2ad50f28578841f15f82"),
        (pa.array([0.5, float("nan"), None]), "17f0466c2318f4c36f71b20705ae7db57fa356ba9cf9fa4027d47256fef17651"),
        (pa.array([True, False, None]), "5a34e3ea43d8bc67d3db0f63ed7e2c25842e6bf984775baeb6bd8179e763f13f"),
        (
            pa.array([b"\0" * 16, b"\1" * 16, None], pa.binary(16)),
            "9a7c321f51a9ee399153fa1ae92d2c12c24c6ae0a1534643b19b14909dafa982",
        ),
        (
            pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": ""}]),
            "95075335c128faa91c5b893383abc4d6143d0f23f29f65379be1a47bcadabb6d",
        ),
        (
            pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
            "25085e2c8713f31b172824e5529d70526cabd8c335f2239899485b9a9cdef798",
        ),
        (pa.nulls(3), "2c97c79a79ecf3683c59794a7fc371ac8a170585b4abc64fd0e6d5bfef978758"),
    ],
)
def test_column_digests_are_fixed(array: pa.Array, expected: str) -> None:
    table = pa.table({"id": array})
    assert ContentDigest(table.schema).update(table).columns()["id"] == expected


def test_the_page_lists_every_check_with_its_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (fast|full)(, warning)? \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (str(c.code), c.name, "full" if c.full else "fast", ", warning" if c.warns else "", c.says) for c in CHECKS
    ]


def test_the_page_names_every_key_and_column() -> None:
    keys = {name for kind in (LedgerLog, ShardLog, Predicate) for name in adapter(kind).json_schema()["properties"]}
    names = keys | set(LEDGER.names) | set(FILES.names)
    assert {name for name in names if f"`{name}`" not in PAGE and f"`{name}" not in PAGE} == set()


def test_the_schema_in_the_package_is_that_of_the_models() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert schema == json_schema(), "run python -m gristmill.pipeline.provenance.schema"
    Draft202012Validator.check_schema(schema)


def test_a_manifest_and_its_logs_satisfy_the_schema_and_a_changed_one_does_not(wide_run: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    statement = json.loads((wide_run / "out/corpus/manifest.json").read_bytes())
    assert list(Draft202012Validator(schema).iter_errors(statement)) == []
    statement["predicate"]["note"] = "more"
    assert len(list(Draft202012Validator(schema).iter_errors(statement))) == 1
    for kind, name in (("ShardLog", "data"), ("LedgerLog", "ledger")):
        log = read_log(pq.read_metadata(sorted((wide_run / "out/corpus" / name).iterdir())[0]).metadata)
        validator = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})
        assert list(validator.iter_errors(log)) == []
        assert list(validator.iter_errors({**log, "run": "x"})) != []


def verify(folder: Path) -> subprocess.CompletedProcess[str]:
    # Far from this repository, and isolated: the script must not need our packages.
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(folder)], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_script_in_the_documentation_is_short_and_needs_only_pyarrow() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    imported = re.findall(r"^(?:import|from) (.+)$", text, re.MULTILINE)
    names = {part.split()[0].split(".")[0] for line in imported for part in line.split(",")}
    assert names == {"hashlib", "json", "pathlib", "sys", "pyarrow"}


@pytest.mark.parametrize(
    "array",
    [
        pa.array(
            [{"a": 1, "b": ["x", None]}, None, {"a": None, "b": []}],
            pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]),
        ),
        pa.array([[("k", 1.5), ("l", None)], None, []], pa.map_(pa.string(), pa.float32())),
        pa.array([None, [("k", {"z": True})]], pa.map_(pa.string(), pa.struct([("z", pa.bool_())]))),
        pa.array([[1, 2], None, [3, None]], pa.list_(pa.int16(), 2)),
        pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-7.00")], pa.decimal128(9, 2)),
        pa.array([b"a\x00", None, b""], pa.binary()),
        pa.array(["ä", None], pa.large_string()),
        pa.array([0.5, float("nan"), None], pa.float64()),
        pa.array([1, None], pa.timestamp("us", "UTC")),
        pa.array([True, None, False, True]).slice(1),
        pa.array([["p"], None, ["q", "r"]], pa.large_list(pa.string())).slice(1),
    ],
    ids=lambda array: str(array.type),
)
def test_the_script_describes_a_column_of_any_type_as_we_do(array: pa.Array) -> None:
    functions: dict[str, Any] = {}
    exec(SCRIPT.read_text(encoding="utf-8").rpartition("\nsys.exit(")[0], functions)
    table = pa.table({"c": array})
    ours = ContentDigest(table.schema).update(table).columns()["c"]
    assert functions["digest"]("gristmill.column", ["c", *functions["describe"](array)]) == ours


def test_the_script_verifies_a_clean_output(wide_run: Path) -> None:
    found = verify(wide_run / "out/corpus")
    assert (found.returncode, found.stdout, found.stderr) == (0, "verified\n", "")


def test_the_script_names_what_was_tampered_with(output: Output) -> None:
    shard, ledger, other = output.named("data")[0], output.named("ledger")[0], output.named("data")[1]
    output.flip(shard, 40)
    output.path(output.named("signals:bounds")[0]).unlink()
    output.path("data/stray.parquet").write_bytes(b"")
    found = verify(output.folder)
    assert found.returncode == 1
    failed = found.stderr.splitlines()
    assert [line for line in failed if shard in line] and not [line for line in failed if ledger in line]
    assert f"FAILED: {output.named('signals:bounds')[0]}: its SHA-256" in failed
    assert "FAILED: the files that are there are those that are listed" in failed
    assert not [line for line in failed if other in line]


def test_the_script_sees_through_recomputed_outer_digests(output: Output) -> None:
    name = output.named("data")[0]
    output.rewrite(name, lambda table: table.slice(1), consistent=True)
    output.seal(content=[name])
    found = verify(output.folder)
    assert found.returncode == 1
    assert found.stderr.splitlines() == ["FAILED: the rows that were sent here"]


def test_the_script_sees_edited_text_behind_a_stale_log(output: Output) -> None:
    name = output.named("data")[0]
    column = output.rows(name)["text"].to_pylist()
    output.rewrite(name, lambda t: t.set_column(3, "text", pa.array([c.swapcase() for c in column], pa.large_string())))
    output.seal()
    assert verify(output.folder).stderr.splitlines() == [
        f"FAILED: {name}: content digest",
        f"FAILED: {name}: its log",
    ]


def test_the_page_s_queries_run_and_agree_with_the_accounts(wide_run: Path) -> None:
    folder = wide_run / "out/corpus"
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {"folder": folder}
    exec(compile(code, "provenance.md", "exec"), found)
    nodes = json.loads((folder / "manifest.json").read_bytes())["predicate"]["accounts"]["nodes"]
    why = {(row["node"], row["rule"]): row["doc_key_count"] for row in found["why"].to_pylist()}
    assert why[("bounds", "too_short")] == nodes["bounds"]["rules"]["too_short"]["first"][0]
    saved = {(row["node"], row["rule"]): row["doc_key_count"] for row in found["saved"].to_pylist()}
    assert saved[("bounds", "too_short")] == nodes["bounds"]["rules"]["too_short"]["sole"][0]
    assert all(abs(row["value"] / row["threshold"] - 1) < 0.1 for row in found["close"].to_pylist())
    assert found["largest"].num_rows > 0 and found["largest"]["doc_key_count"][0].as_py() >= 1
    entered = nodes[found["node"]]["entered"]["rows"]
    assert found["measured"].num_rows == entered and "size_mean" in found["means"].column_names
