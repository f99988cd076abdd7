"""Sources that bring pages in place of texts: who makes the text, when it is judged, what later passes read."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, ConservationError, DataError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.running.sample import take_sample
from gristmill.pipeline.running.task import _Task
from gristmill.pipeline.slices import routing
from gristmill.pipeline.testing import assert_partition_invariant, doc_key_column
from tests.pipeline.payload_runs import PAGES, write_pages
from tests.pipeline.toy_runs import PLUGINS, plan_of, rows_of, run, shards
from tests.plugins.toy_stages import Reader

ROOT = Path(__file__).parents[3]


def text_of(html: bytes) -> str:
    return re.sub("<[^>]*>", "", html.decode())


def test_texts_are_made_judged_and_read_by_later_passes(tmp_path: Path) -> None:
    pages = write_pages(tmp_path / "in")
    result = run(PAGES.format(root=tmp_path))
    assert len(result.plan.passes) == 2
    rows = rows_of(tmp_path / "out")
    assert set(rows[0]) == {"doc_key", "copy", "id", "url", "text", "tags", "length", "leader"}  # no html
    made = {row["id"]: text_of(row["html"]) for row in pages if row["html"]}
    assert rows and all(row["text"] == made[row["id"]] for row in rows)
    ledger = {row["id"]: row for row in rows_of(tmp_path / "out", "ledger")}
    found = {
        f"p{n}": (ledger[f"p{n}"]["node"], ledger[f"p{n}"]["decision"], ledger[f"p{n}"]["rule"]) for n in range(3, 9)
    }
    assert found == {
        "p3": ("crawl", "dropped", "empty_payload"),
        "p4": ("crawl", "dropped", "empty_payload"),
        "p5": ("reader", "dropped", "empty_text"),
        "p6": ("reader", "dropped", "empty_text"),
        "p7": ("reader", "dropped", "no_page"),
        "p8": ("crawl", "quarantined", "too_large"),
    }
    kept = {row["text"] for row in rows}
    assert kept == {text for text in made.values() if len(text) >= 3 and "x" not in text and "PDF" not in text} - {
        made["p7"]
    } - {made["p5"]}


def test_accounts_and_ledger_go_by_the_size_of_what_is_there(tmp_path: Path) -> None:
    pages = {row["id"]: row["html"] or b"" for row in write_pages(tmp_path / "in")}
    accounts = run(PAGES.format(root=tmp_path)).accounts
    assert accounts.nodes["crawl"].entered.bytes == sum(map(len, pages.values()))
    assert accounts.nodes["reader"].entered.bytes == accounts.nodes["crawl"].kept.bytes
    read = [row for row in rows_of(tmp_path / "out", "ledger") if row["node"] != "crawl"]
    for row in read:
        size = len(pages[row["id"]]) if row["node"] == "reader" else len(text_of(pages[row["id"]]))
        assert row["bytes"] == size
    left = accounts.nodes["reader"].ports["kept"]
    assert left == accounts.nodes["same"].entered and left.bytes < accounts.nodes["reader"].kept.bytes
    assert accounts.nodes["length"].kept.bytes == sum(len(row["text"]) for row in rows_of(tmp_path / "out"))
    dropped = {row["id"]: row["text"] for row in rows_of(tmp_path / "out", "dropped")}
    assert dropped["p3"] is None and dropped["p7"] == "no tags at all"
    assert all(dropped[row["id"]] == text_of(pages[row["id"]]) for row in read if row["node"] != "reader")


def test_a_pass_that_needs_no_payload_does_not_open_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, removed in (("whole", False), ("gone", True)):
        write_pages(tmp_path / name / "in")

        def remove(progress: object, name: str = name, removed: bool = removed) -> None:
            if removed and progress.pass_index == 0 and progress.tasks_done == 3:  # type: ignore[attr-defined]
                for path in (tmp_path / name / "in").iterdir():
                    path.unlink()

        run(PAGES.format(root=tmp_path / name), listener=remove)
    assert not list((tmp_path / "gone/in").iterdir())
    assert shards(tmp_path / "gone/out") == shards(tmp_path / "whole/out")


def test_an_output_that_asks_for_the_payload_gets_it(tmp_path: Path) -> None:
    pages = {row["id"]: row["html"] for row in write_pages(tmp_path / "in")}
    run(PAGES.format(root=tmp_path).replace("dropped: all", "dropped: all, columns: [html, url]"))
    rows = rows_of(tmp_path / "out")
    assert rows and set(rows[0]) == {"doc_key", "copy", "id", "text", "html", "url"}
    assert all(row["html"] == pages[row["id"]] for row in rows)


def test_work_files_that_changed_stop_the_run(tmp_path: Path) -> None:
    write_pages(tmp_path / "in")

    def change(progress: object) -> None:
        if progress.pass_index == 0 and progress.tasks_done == 3:  # type: ignore[attr-defined]
            path = next(tmp_path.rglob("input-[0-9a-f]*.arrow"))
            path.write_bytes(path.read_bytes()[:-9] + b"different")

    with pytest.raises(ConservationError, match="changed since they were committed"):
        run(PAGES.format(root=tmp_path), listener=change)


def test_batches_go_by_bytes_of_pages_and_then_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pages(tmp_path / "in", files=1, rows=60)
    seen: dict[str, list[int]] = {}
    measure = routing.SliceRows.batches

    def batches(self, node, columns, *, after=False):  # type: ignore[no-untyped-def]
        for part, batch in measure(self, node, columns, after=after):
            seen.setdefault(node.name, []).append(batch.num_rows)
            yield part, batch

    monkeypatch.setattr(routing.SliceRows, "batches", batches)
    monkeypatch.setattr(routing, "BATCH_BYTES", 500)
    run(PAGES.format(root=tmp_path))
    assert 5 < len(seen["reader"]) and 2 < len(seen["length"]) < len(seen["reader"]) / 2


def test_the_made_text_does_not_depend_on_batches() -> None:
    rows = pa.table(
        {"doc_key": doc_key_column(9), "html": pa.array([b"<p>" + bytes([65 + n]) for n in range(8)] + [b"%PDF <"])}
    )
    result = assert_partition_invariant(Reader, {"makes_text": True}, rows)
    rules = [result.decisions[key]["rule"] for key in rows["doc_key"].to_pylist()]
    assert rules == [None] * 8 + ["empty_text"]


@pytest.mark.parametrize(("point", "number"), [("told", 2), ("told", 5), ("replace", 3), ("link", 4)])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, point: str, number: int) -> None:
    write_pages(tmp_path / "in")
    config = tmp_path / "config.yaml"
    config.write_text(PAGES.format(root=tmp_path))
    command = [sys.executable, "-m", "tests.pipeline.running.killed_run", str(config), str(tmp_path / "killed"), point]
    done = subprocess.run([*command, str(number)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run(PAGES.format(root=tmp_path), output=str(tmp_path / "killed"))
    run(PAGES.format(root=tmp_path))
    assert shards(tmp_path / "killed") == shards(tmp_path / "out")


def test_another_threshold_after_a_stopped_run_reads_the_texts_instead_of_making_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pages(tmp_path / "in")

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if progress.pass_index == 1:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        run(PAGES.format(root=tmp_path), listener=stop)
    measured = []
    before = Reader.measure
    monkeypatch.setattr(sys.modules["toy_stages"].Reader, "measure", lambda *args: measured.append(1) or before(*args))
    run(PAGES.format(root=tmp_path).replace("least: 3", "least: 9"))
    assert not measured
    assert {len(row["text"]) >= 9 for row in rows_of(tmp_path / "out")} == {True}


@pytest.mark.ray
def test_ray_gives_what_one_process_gives(tmp_path: Path) -> None:
    write_pages(tmp_path / "in", files=4)
    with RayExecutor(workers=2, plugin_folders=[PLUGINS]) as executor:
        run(PAGES.format(root=tmp_path), executor, output=str(tmp_path / "ray"))
    run(PAGES.format(root=tmp_path), InlineExecutor(order=3))
    assert shards(tmp_path / "ray") == shards(tmp_path / "out")


def test_a_sample_makes_texts_too(tmp_path: Path) -> None:
    write_pages(tmp_path / "in")
    plan = plan_of(PAGES.format(root=tmp_path))
    sample = take_sample(plan, 60, 3)
    assert sample.ends["corpus"].examples[0].text.startswith("word") or sample.ends["corpus"].examples[0].text
    assert ("reader", "empty_text") in sample.dropped and ("crawl", "empty_payload") in sample.dropped
    assert sample.unjudged == ("same",)


# What a graph refuses


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        (
            "length: {}\n  reader: {makes_text: true}",
            r"stages.length: its stage reads the column `text`, but documents of the source `crawl` come from `crawl` "
            r"without one. Put a stage before it that makes text from `html`, such as `extract`",
        ),
        (
            "reader: {makes_text: true}\n  second: {use: reader, makes_text: true}",
            r"stages.second: the stage `reader` makes the text, but documents from `reader.kept` have one already: the "
            r"node `reader` makes it",
        ),
        (
            "reader: {from: [crawl, texts], makes_text: true}",
            r"stages.reader: the stage `reader` makes the text, but documents from `texts` have one already: the source "
            r"`texts` brings it. Connect it to what has no text yet, under `from:`",
        ),
        (
            "reader: {from: crawl, makes_text: true}\n  aside: {use: reader, from: [crawl], column: url}\n"
            "  length: {from: [reader, aside, texts]}",
            r"stages.length: its stage reads the column `text`, but documents of the source `crawl` come from `aside`",
        ),
        (
            "reader: {from: [crawl, other], makes_text: true}",
            r"stages.reader: it makes the text from the column `html`, which documents from `other` do not have",
        ),
        (
            "told: {from: [crawl]}",
            r"outputs.corpus: documents of the source `crawl` come from `told` without one.*list what the output is to "
            r"hold under `columns:`",
        ),
        (
            "told: {from: [crawl, texts]}",
            r"outputs.corpus: only some of its documents have a text: documents of the source `crawl`",
        ),
    ],
)
def test_a_graph_in_which_texts_are_missing_or_made_twice_is_refused(
    tmp_path: Path, stages: str, complaint: str
) -> None:
    write_pages(tmp_path / "in")
    for name, column in (("texts", "text"), ("other", "bytes")):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({column: ["<b>"]}), tmp_path / name / "a.parquet")
    sources = "".join(
        f"  {name}: {{format: parquet, paths: ['{tmp_path}/{path}/*.parquet']}}\n"
        for name, path in (("crawl", "in"), ("texts", "texts"), ("other", "other"))
        if name == "crawl" or re.search(rf"\b{name}\b[,\]]", stages)
    )
    text = f"name: x\nsources:\n{sources}stages:\n  {stages}\noutputs:\n  corpus: {{path: '{tmp_path}/out'}}\n"
    with pytest.raises(ConfigError, match=complaint):
        plan_of(text)


def test_an_output_without_text_lists_its_columns(tmp_path: Path) -> None:
    write_pages(tmp_path / "in", files=1)
    text = PAGES.format(root=tmp_path)
    text = text[: text.index("stages:")] + f"outputs:\n  urls: {{path: '{tmp_path}/urls', columns: [url]}}\n"
    run(text)
    rows = rows_of(tmp_path / "urls")
    assert len(rows) == 20 and set(rows[0]) == {"doc_key", "copy", "id", "url"}


def test_a_source_brings_text_or_a_payload(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["a"], "html": pa.array([3])}), tmp_path / "in/a.parquet")
    with pytest.raises(DataError, match=r"there is no column `text`; found id, html. Map one.*or `\{html: NAME\}`"):
        plan_of(PAGES.format(root=tmp_path))


def test_payloads_are_read_in_the_first_pass_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later stage that reads the page itself is the reason to open the source again."""
    write_pages(tmp_path / "in", files=1)
    asked: list[tuple[int, frozenset[str] | None]] = []
    columns = _Task._columns
    monkeypatch.setattr(_Task, "_columns", lambda self: asked.append((self.one.index, columns(self))) or columns(self))
    run(PAGES.format(root=tmp_path))
    assert [(index, "html" in (names or ())) for index, names in asked] == [(0, True), (1, False)]
    asked.clear()
    later = PAGES.replace("  length:", "  again: {{use: reader}}\n  length:")
    run(later.format(root=tmp_path), output=str(tmp_path / "again"))
    assert [(index, "html" in (names or ())) for index, names in asked] == [(0, True), (1, True)]
