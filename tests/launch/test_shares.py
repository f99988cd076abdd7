"""Shares by licence, creator and source, from the rows of a run to the manifest, the audit, the card and the report."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from gristmill.pipeline.audit.run import audit_output
from tests.launch.running import Command
from tests.pipeline.tokenization.tokenizers_for_tests import END, as_file
from tests.pipeline.toy_runs import rows_of, run

HOSTILE = "</td><script>alert(1)</script> | [x](y)\n# Heading"
CONFIG = """
name: shares
seed: 3
sources:
  wiki: {{format: parquet, paths: ["{root}/wiki/*.parquet"], license: {{spdx: cc-by-sa-4.0, creators: [W, V]}}}}
  forum: {{format: parquet, paths: ["{root}/forum/*.parquet"], license: {{statement: {hostile}, creators: [{hostile}]}}}}
stages:
  length: {{from: [wiki, forum], least: 1, mark: true}}
  licence: {{allowed: "*", unknown: allowed, table: "{root}/table.jsonl", column: spdx}}
  same: {{}}
  repeat: {{times: 3, observe: same}}
outputs:
  corpus: {{path: "{root}/corpus", from: repeat}}
  mixed: {{path: "{root}/mixed", from: repeat, shuffle: true, shard_bytes: 2000}}
  bare: {{path: "{root}/bare", from: repeat, columns: [url]}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shares")
    for name, spdx in (("wiki", [None, "CC0-1.0", "no licence"]), ("forum", [None, None, "MIT"])):
        (root / name).mkdir()
        for file in range(2):
            rows = [
                {
                    "id": f"{name}{file}-{n}",
                    "text": f"{name} ünder {file} " + "ab " * (n % 9),
                    "url": f"https://{'a' if n % 4 else 'b'}.org/{n}",
                    "spdx": spdx[n % 3],
                    "token_count": n % 9 + 3,
                }
                for n in range(30 + file)
            ]
            pq.write_table(pa.Table.from_pylist(rows), root / name / f"{file}.parquet")
    (root / "table.jsonl").write_text(json.dumps({"of": "b.org", "creators": ["B", "W"]}) + "\n")
    run(CONFIG.format(root=root, hostile=json.dumps(HOSTILE)))
    return root


def stated(root: Path, output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / output / "manifest.json").read_text())["predicate"]["accounts"]
    return dict(found["shares"][output])


def counted(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """The same, by plain Python, from the rows that were written."""
    sums: dict[str, dict[str, list[int]]] = {
        kind: defaultdict(lambda: [0, 0, 0]) for kind in ("sources", "licences", "creators")
    }
    for row in rows:
        source = "wiki" if row["id"].startswith("wiki") else "forum"
        own = {"wiki": "cc-by-sa-4.0", "forum": " ".join(HOSTILE.split())}[source]
        licence = row["licence"] or (own if row["licence_stated_by"] is None else "unknown")
        creators = {" ".join(name.split()) for name in row["licence_creators"] or ["unknown"]}
        for kind, names in (("sources", [source]), ("licences", [licence]), ("creators", creators)):
            for name in names:
                one = (1, len(row["text"].encode()), row["token_count"])
                sums[kind][name] = [a + b for a, b in zip(sums[kind][name], one, strict=True)]
    return sums


@pytest.mark.parametrize("output", ["corpus", "mixed"])
def test_the_manifest_states_what_the_rows_hold_and_the_audit_counts_it_again(made: Path, output: str) -> None:
    rows = rows_of(made / output)
    assert max(row["copy"] for row in rows) == 2  # copies count as often as they are written
    found = stated(made, output)
    assert {kind: found[kind] for kind in ("sources", "licences", "creators")} == counted(rows)
    assert found["uncounted"] == 0 and set(found["licences"]) == {"CC0-1.0", "CC-BY-SA-4.0", "MIT", "unknown"}
    assert found == stated(made, "corpus") == stated(made, "bare")
    result = audit_output(str(made / output), full=True, plugins=("toy_stages",))
    assert (result.exit_code, result["shares"].status) == (0, "pass"), result.problems


def test_what_the_columns_of_an_output_do_not_show_is_not_compared(made: Path) -> None:
    assert "licence" not in rows_of(made / "bare")[0]
    result = audit_output(str(made / "bare"), full=True, plugins=("toy_stages",))
    assert (result.exit_code, result["shares"].status) == (0, "pass"), result.problems


def test_the_card_has_shares_in_tokens_and_nothing_that_reads_as_markup(made: Path) -> None:
    text = (made / "corpus/README.md").read_text()
    found = stated(made, "corpus")
    whole = sum(amount[2] for amount in found["sources"].values())
    documents, size, tokens = found["licences"]["MIT"]
    assert f"| MIT | {documents:,} | {size / 1e6:,.1f} MB | {tokens:,} | {tokens / whole:.2%} |" in text
    assert "Shares are in tokens, by the column `token_count`." in text
    assert "| creator | documents | text | tokens | share |" in text and "| W | " in text
    assert "<script>" not in text and "\n# Heading" not in text and "](y)" not in text.replace("\\[x](y)", "")


def test_the_report_tells_shares_in_the_terminal_as_json_and_in_the_page(made: Path, gristmill: Command) -> None:
    ran = gristmill("report", str(made / "corpus"))
    assert ran.code == 0 and "what the output holds, in tokens, by the column `token_count`" in ran.out
    rows = [line.split() for line in ran.out.splitlines()]
    documents, _, tokens = stated(made, "corpus")["licences"]["CC0-1.0"]
    assert [(row[1], row[-2]) for row in rows if row[:1] == ["CC0-1.0"]] == [(f"{documents:,}", f"{tokens:,}")]
    told = json.loads(gristmill("report", str(made / "corpus"), "--json").out)["shares"]
    assert told == {"measured": "in tokens, by the column `token_count`", **stated(made, "corpus")}
    assert gristmill("report", str(made / "corpus"), "--html", "r.html").code == 0
    page = Path("r.html").read_text()
    assert "Shares of this output" in page and ">CC-BY-SA-4.0<" in page and "<script>alert(1)" not in page


@pytest.mark.parametrize("shuffle", ["", "shuffle: true, "])
def test_tokens_of_a_kind_are_those_of_each_documents_text(tmp_path: Path, gristmill: Command, shuffle: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(as_file())
    count = Tokenizer.from_str(as_file().decode())
    for name in ("a", "b"):
        texts = [f"{name * (name == 'b')}{name} the words of {'a text ' * n}" for n in range(9)]
        spdx = ["MIT" if n % 2 else None for n in range(9)]
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"id": texts, "text": texts, "spdx": spdx}), tmp_path / name / "0.parquet")
    kind = f"{{format: megatron, tokenizer: {tmp_path}/tokenizer.json, end_of_document: '{END}', pack: 16}}"
    run(
        f"""
sources:
  a: {{paths: ["{tmp_path}/a/*.parquet"], license: {{spdx: CC0-1.0}}}}
  b: {{paths: ["{tmp_path}/b/*.parquet"], license: {{spdx: CC-BY-4.0}}}}
stages: {{length: {{from: [a, b], least: 1}}, licence: {{allowed: "*", column: spdx}}, repeat: {{times: 3}}}}
outputs: {{o: {{path: "{tmp_path}/out", {shuffle}kinds: {{tokens: {kind}}}}}}}
"""
    )
    rows = rows_of(tmp_path / "out")
    assert any(row["copy"] for row in rows)
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row["licence"]] += len(count.encode(row["text"], add_special_tokens=False).ids) + 1
    told = json.loads(gristmill("report", str(tmp_path / "out"), "--json").out)["shares"]
    assert {name: amount[2] for name, amount in told["licences"].items()} == dict(sums)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())["predicate"]
    assert sum(amount[2] for amount in told["sources"].values()) == manifest["kinds"]["tokens"]["units"]
    unit = "in tokens of the kind `tokens`, with the end of each document"
    assert (
        told["measured"] == unit and f"what the output holds, {unit}" in gristmill("report", str(tmp_path / "out")).out
    )
    card = gristmill("export", "dataset-card", str(tmp_path / "out")).out
    assert unit in card and f" {sums['MIT']:,} | {sums['MIT'] / sum(sums.values()):.2%} |" in card
    assert gristmill("report", str(tmp_path / "out"), "--html", "r.html").code == 0
    assert unit in Path("r.html").read_text()
    next((tmp_path / "out/index/tokens").iterdir()).write_bytes(b"PAR1")
    ran = gristmill("report", str(tmp_path / "out"), "--json")
    assert ran.code == 0, ran.err
    lost = json.loads(ran.out)["shares"]
    assert lost["measured"].startswith("in bytes of text, since the tokens of the kind `tokens` cannot be read (")


def test_where_no_tokens_were_counted_shares_are_in_bytes(tmp_path: Path, gristmill: Command) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["long text", "x"]}), tmp_path / "in/0.parquet")
    config = (
        "sources: {{s: {{format: parquet, paths: [{0}/in/*.parquet]{1}}}}}\noutputs: {{o: {{from: s, path: {0}/{2}}}}}"
    )
    run(config.format(tmp_path, ", license: {spdx: MIT}", "out"))
    assert (
        "what the output holds, in bytes of text, since no tokens were counted"
        in gristmill("report", str(tmp_path / "out")).out
    )
    assert "| MIT | 2 | 0.0 MB | – | 100.00% |" in (tmp_path / "out/README.md").read_text()
    run(config.format(tmp_path, "", "none"))
    assert "shares" not in json.loads((tmp_path / "none/manifest.json").read_text())["predicate"]["accounts"]
    assert "what the output holds" not in gristmill("report", str(tmp_path / "none")).out
