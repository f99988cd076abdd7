"""`gristmill run` says what else its outputs were written as."""

from __future__ import annotations

from pathlib import Path

from tests.launch.running import Command
from tests.pipeline.tokenization.tokenizers_for_tests import END, as_file, trained
from tests.pipeline.toy_runs import rows_of
from tests.pipeline.writing.kind_runs import graph, write_topics


def test_the_end_of_a_run_names_each_kind_with_its_files_and_tokens(tmp_path: Path, gristmill: Command) -> None:
    write_topics(tmp_path / "in")
    (tmp_path / "tokenizer.json").write_bytes(as_file())
    tokens = f"{{format: megatron, tokenizer: {tmp_path}/tokenizer.json, end_of_document: '{END}'}}"
    config = graph(tmp_path, tmp_path / "out", f"{{lines: {{format: jsonl}}, tokens: {tokens}}}", shard_bytes=10**9)
    (tmp_path / "run.yaml").write_text(config)
    ran = gristmill("run", str(tmp_path / "run.yaml"), "--executor", "inline", "--plugin", "toy_stages")
    assert ran.code == 0, ran.err
    every = [trained().encode(row["text"], add_special_tokens=False).ids for row in rows_of(tmp_path / "out")]
    total = sum(map(len, every)) + len(every)
    # The tokenizer is one of the files of tokens.
    shards = len(list((tmp_path / "out/data").iterdir()))
    assert f"  also as jsonl: {tmp_path}/out/kinds/lines, {shards} files" in ran.out.splitlines()
    assert (
        f"  also as megatron: {tmp_path}/out/kinds/tokens, {2 * shards + 1} files, {total:,} tokens"
        in ran.out.splitlines()
    )
