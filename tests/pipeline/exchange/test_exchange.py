"""The exchange against brute force in plain Python: any files, any order of tasks, any budget give equal rows."""

from __future__ import annotations

import pickle
import random
import resource
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import KEY_TYPE, keys_from_bytes, keys_from_words
from gristmill.pipeline.errors import ConservationError, ContractError, StorageError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.external_sort import SortedRows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.shuffle import MapTask, map_path, run_fold, run_index, run_map, run_merge
from gristmill.pipeline.exchange.shuffle_plan import Layout, Rounds
from gristmill.pipeline.exchange.union_find import EDGE_SCHEMA, NODE_BYTES
from gristmill.pipeline.executor.inline import InlineExecutor
from tests.benchmarks.exchange import run_one

SCHEMA = pa.schema(
    [
        ("band", pa.int16()),
        ("bucket", pa.uint64()),
        ("word", pa.string()),
        ("doc_key", KEY_TYPE),
        ("task", pa.int32()),
    ]
)


def made_rows(count: int, seed: int, keys: int = 20) -> pa.Table:
    """Rows with few distinct keys, nulls among the words, and some rows that agree in key and doc_key."""
    rng = random.Random(seed)
    pool = [rng.randbytes(16) for _ in range(max(1, count * 2 // 3))]
    words = [None, "", "a", "ab", "a\0", "é", "zebra" * 9]
    return pa.table(
        [
            [rng.randrange(-3, 3) for _ in range(count)],
            [rng.randrange(keys) * 0x9E3779B97F4A7C15 % 2**64 for _ in range(count)],
            [rng.choice(words) for _ in range(count)],
            [rng.choice(pool) for _ in range(count)],
            [rng.randrange(7) for _ in range(count)],
        ],
        schema=SCHEMA,
    )


def in_files(table: pa.Table, folder: Path, cuts: Sequence[int] = (), batch: int = 1000) -> Rows:
    """The table in files that end at `cuts`."""
    folder.mkdir(parents=True)
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    files = []
    for index, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        path = str(folder / f"rows-{index:05d}.arrow")
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table.slice(start, stop - start), max_chunksize=batch)
        files.append(path)
    return Rows(tuple(files), table.schema, table.num_rows)


def read(paths: Iterable[str], schema: pa.Schema) -> pa.Table:
    tables = [pa.ipc.open_file(path).read_all() for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def tuples(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def nulls_first(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((value is not None, value.encode() if isinstance(value, str) else value or 0) for value in row)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where rows are put in order: a folder of the test's own."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def exchange_in(folder: Path, budget: int = 1 << 29, order: int | None = None, **options: Any) -> FileExchange:
    return FileExchange(InlineExecutor(order), folder, budget_bytes=budget, **options)


# Folds and combines: at module level, as the exchange demands.


def unchanged(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield from tables


def group_summaries(tables: Iterator[pa.Table], key: list[str]) -> Iterator[pa.Table]:
    """Per group its key, its number of rows, and its doc_keys in the order in which they came."""
    kinds = [SCHEMA.field(name) for name in key]
    schema = pa.schema([*kinds, ("rows", pa.int64()), ("docs", pa.list_(KEY_TYPE))])
    found: list[list[Any]] = []
    for table in tables:
        for *values, doc in tuples(table.select([*key, "doc_key"])):
            if not found or found[-1][:-2] != values:
                found.append([*values, 0, []])
            found[-1][-2] += 1
            found[-1][-1].append(doc)
    yield (
        pa.table([list(column) for column in zip(*found, strict=True)], schema=schema)
        if found
        else schema.empty_table()
    )


def silent(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for _ in tables:
        pass
    yield from ()


def hasty(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield next(tables).slice(0, 1)


def batches(tables: Iterator[pa.Table]) -> Iterator[Any]:
    for table in tables:
        yield from table.to_batches()


def fickle(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield table.select(["band"]) if table.column("band")[0].as_py() % 2 else table.select(["task"])


def several_copies(table: pa.Table, times: int) -> pa.Table:
    return pa.concat_tables([table] * times)


def joined(tables: list[pa.Table], mark: str = "") -> pa.Table:
    """Associative and not commutative: shows that order is kept."""
    words = [word or "" for table in tables for word in table.column("word").to_pylist()]
    return pa.table({"word": ["".join(words)]}, schema=pa.schema([("word", pa.string())]))


def most_given(tables: list[pa.Table]) -> pa.Table:
    """Rows, and the most bytes of rows as they lie in files that one call was given."""
    raw = [table for table in tables if "most" not in table.schema.names]
    made = [table.to_pylist()[0] for table in tables if "most" in table.schema.names]
    rows = sum(table.num_rows for table in raw) + sum(row["rows"] for row in made)
    most = max([sum(table.nbytes for table in raw), *(row["most"] for row in made)])
    return pa.table({"rows": [rows], "most": [most]})


def not_a_table(tables: list[pa.Table]) -> Any:
    return tables


# Group


@settings(max_examples=25)
@given(
    count=st.integers(0, 400),
    seed=st.integers(0, 2**20),
    cuts=st.lists(st.integers(0, 400), max_size=5),
    order=st.none() | st.integers(0, 99),
    budget=st.sampled_from([1 << 12, 1 << 14, 1 << 17, 1 << 29]),
    key=st.sampled_from([["band", "bucket"], ["bucket"], ["word"], ["word", "task"], ["doc_key"]]),
)
def test_any_files_order_and_budget_give_the_groups_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    seed: int,
    cuts: list[int],
    order: int | None,
    budget: int,
    key: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("group")
    table = made_rows(count, seed)
    expected: dict[tuple[Any, ...], list[bytes]] = defaultdict(list)
    for *values, doc in tuples(table.select([*key, "doc_key"])):
        expected[tuple(values)].append(doc)
    exchange = exchange_in(folder / "work", budget, order)
    found = exchange.group(in_files(table, folder / "in", cuts, batch=97), key, group_summaries, {"key": key})
    summary = {tuple(row[: len(key)]): (row[-2], row[-1]) for row in tuples(read(found.files, found.schema))}
    assert summary == {group: (len(docs), sorted(docs)) for group, docs in expected.items()}
    assert found.count == len(expected)
    assert not list((folder / "work").rglob("*.parts")), "partition files are removed once they are folded"
    shutil.rmtree(folder)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 500),
    seed=st.integers(0, 2**20),
    cuts=st.lists(st.integers(0, 500), max_size=4),
    order=st.none() | st.integers(0, 99),
    fan_ins=st.data(),
    key=st.sampled_from([["bucket"], ["word", "band"], ["doc_key"]]),
    chunk=st.sampled_from([1 << 10, 1 << 13, 1 << 20]),
)
def test_rounds_and_fan_ins_change_no_row_and_no_order(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    seed: int,
    cuts: list[int],
    order: int | None,
    fan_ins: st.DataObject,
    key: list[str],
    chunk: int,
) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    rows = in_files(made_rows(count, seed, 300), folder / "in", cuts, batch=13)
    exponent = fan_ins.draw(st.integers(0, 6))
    cells = fan_ins.draw(st.integers(0, exponent))
    groups = fan_ins.draw(st.integers(0, cells))
    together = 1 << fan_ins.draw(st.integers(0, exponent - groups))
    plan = Layout(fan_ins.draw(st.integers(300, 30_000)), 1 << exponent, 1 << cells)
    chosen = Rounds(1 << groups, fan_ins.draw(st.integers(1, 5)), together)

    def grouped(name: str, plan: Layout, chosen: Rounds, order: int | None, budget: int) -> pa.Table:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gristmill.pipeline.exchange.shuffle_driver.layout", lambda *_: plan)
            patch.setattr("gristmill.pipeline.exchange.shuffle_driver.rounds", lambda *_: chosen)
            patch.setattr(FileExchange, "partitions", lambda *_: plan.partitions)
            out = exchange_in(folder / name, budget, order).group(rows, key, unchanged)
        assert out.count == count and not list((folder / name).rglob("*.parts"))
        return read(out.files, out.schema)

    whole = grouped("whole", Layout(1 << 30, plan.partitions, plan.partitions), Rounds(0, 0, 1), None, 1 << 29)
    assert grouped("rounds", plan, chosen, order, 5 * chunk).equals(whole)
    shutil.rmtree(folder)


@pytest.mark.parametrize("key", [["band", "bucket"], ["word"]])
def test_the_same_partitions_come_out_whatever_the_files_and_the_order(tmp_path: Path, key: list[str]) -> None:
    table = made_rows(3000, 5)
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(3000)))
    found = []
    for index, (rows, cuts, order) in enumerate([(table, [], None), (shuffled, [7, 7, 1999], 3)]):
        exchange = exchange_in(tmp_path / f"work-{index}", 1 << 16, order)
        out = exchange.group(in_files(rows, tmp_path / f"in-{index}", cuts), key, unchanged)
        assert len(out.files) > 1
        found.append([Path(path).read_bytes() for path in out.files])
    # The very bytes: rows that agree in key and doc_key are ordered by the rest of their content.
    assert found[0] == found[1]


def test_a_partition_is_sorted_by_key_then_doc_key_with_nulls_first(tmp_path: Path) -> None:
    table = made_rows(2000, 9)
    out = exchange_in(tmp_path / "work", 1 << 15).group(in_files(table, tmp_path / "in"), ["word", "band"], unchanged)
    for path in out.files:
        rows = tuples(pa.ipc.open_file(path).read_all().select(["word", "band", "doc_key"]))
        assert [nulls_first(row) for row in rows] == sorted(nulls_first(row) for row in rows)
    assert sorted(map(repr, tuples(read(out.files, out.schema)))) == sorted(map(repr, tuples(table)))


def test_one_group_far_larger_than_the_budget_is_sorted_on_disk_and_streams(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    cleanup = tempfile.TemporaryDirectory.cleanup

    def counted(folder: Any) -> None:
        runs.append(len(list(Path(folder.name).glob("run-*"))))
        cleanup(folder)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", counted)
    count = 40_000
    rng = np.random.default_rng(2)
    words = rng.integers(0, 1 << 63, (count, 2)).astype(np.uint64)
    for name, given_words in (
        ("random", words),
        ("sorted", np.sort(words.view("u8,u8"), axis=0).view("u8").reshape(-1, 2)),
    ):
        table = pa.table({"key": pa.array(np.full(count, 7)), "doc_key": keys_from_words(given_words)})
        # 40,000 rows need 4.8 MB with their sort buffers: about 75 runs, merged in two passes.
        exchange = exchange_in(tmp_path / name, 1 << 16)
        out = exchange.group(in_files(table, tmp_path / f"in-{name}"), ["key"], unchanged)
        assert len(out.files) == 1
        found = read(out.files, out.schema).column("doc_key").to_pylist()
        assert found == sorted(table.column("doc_key").to_pylist())
        assert runs.pop() >= 2 and not list(scratch.iterdir())


@pytest.mark.parametrize(("width", "rows", "on_disk"), [(1_000, 600, True), (1_000, 400, False), (8, 8_000, False)])
def test_rows_that_fit_the_budget_once_but_not_twice_are_sorted_on_disk(
    scratch: Path, width: int, rows: int, on_disk: bool
) -> None:
    """Putting columns together holds wide rows twice; narrow ones leave that room to the sort buffers."""
    kind = pa.binary(width)
    values = [number.to_bytes(4, "big") + bytes(width - 4) for number in random.Random(5).sample(range(rows), rows)]
    given = pa.table({"key": pa.array(values, kind)})
    pieces = (given.slice(start, 50) for start in range(0, rows, 50))
    with SortedRows(
        pieces,
        schema=given.schema,
        sort=("key",),
        budget_bytes=1_000_000,
        row_bytes=width + 96,
        sort_bytes=96,
    ) as opened:
        found = []
        for table in opened.tables():
            assert bool(list(scratch.rglob("run-*"))) == on_disk
            found += table["key"].to_pylist()
    assert found == sorted(values)


def test_rows_without_a_doc_key_are_grouped_and_ordered_by_all_columns(tmp_path: Path) -> None:
    rng = random.Random(4)
    table = pa.table({"key": [rng.randrange(5) for _ in range(500)], "n": [rng.randrange(9) for _ in range(500)]})
    out = exchange_in(tmp_path / "work").group(in_files(table, tmp_path / "in", [100]), ["key"], unchanged)
    assert tuples(read(out.files, out.schema)) == sorted(tuples(table))


def test_rows_are_prepared_as_they_are_read(tmp_path: Path) -> None:
    table = made_rows(300, 6)
    out = exchange_in(tmp_path / "work", 1 << 14).group(
        in_files(table, tmp_path / "in", [10]),
        ["bucket"],
        unchanged,
        prepare=several_copies,
        prepare_params={"times": 3},
    )
    assert sorted(map(repr, tuples(read(out.files, out.schema)))) == sorted(map(repr, tuples(table) * 3))


def test_no_rows_make_an_empty_result_with_the_columns_of_the_fold(tmp_path: Path) -> None:
    for rows in (in_files(made_rows(0, 0), tmp_path / "in"), Rows((), SCHEMA, 0)):
        out = exchange_in(tmp_path / "work").group(rows, ["word"], group_summaries, {"key": ["word"]})
        assert (out.files, out.count, out.schema.names) == ((), 0, ["word", "rows", "docs"])


def test_a_map_task_that_runs_again_writes_the_same_bytes(tmp_path: Path) -> None:
    tasks: list[MapTask] = []

    class Recording(InlineExecutor):
        def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            payloads = list(payloads)
            tasks.extend(payload for payload in payloads if isinstance(payload, MapTask))
            yield from super().run(function, payloads)
            if function is run_map:
                before = {task.path: Path(task.path).read_bytes() for task in tasks}
                for task in reversed(tasks):
                    run_map(task)
                assert before == {task.path: Path(task.path).read_bytes() for task in tasks}

    FileExchange(Recording(), tmp_path / "work", budget_bytes=1 << 15).group(
        in_files(made_rows(3000, 1), tmp_path / "in", [1000, 2000]), ["bucket"], unchanged
    )
    assert len(tasks) > 1


# What the exchange refuses


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ([], "at least one key column"),
        (["nope"], "no such column: they have band, bucket"),
        (["share"], "found double"),
    ],
)
def test_a_wrong_key_is_refused_with_the_columns_there_are(tmp_path: Path, key: list[str], message: str) -> None:
    rows = Rows((), SCHEMA.append(pa.field("share", pa.float64())), 0)
    with pytest.raises(ContractError, match=message):
        exchange_in(tmp_path).group(rows, key, unchanged)


def test_functions_that_cannot_travel_are_refused(tmp_path: Path) -> None:
    rows = Rows((), SCHEMA, 0)

    def closure(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        yield from tables

    for function in (lambda tables: tables, closure, [].append):
        with pytest.raises(ContractError, match="top level of a module"):
            exchange_in(tmp_path).group(rows, ["word"], function)
        with pytest.raises(ContractError, match="top level of a module"):
            exchange_in(tmp_path).reduce(rows, function)


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        (silent, "yields no table"),
        (hasty, "stopped before the end"),
        (fickle, "different columns"),
        (batches, "yielded a RecordBatch"),
    ],
)
def test_a_fold_that_breaks_its_contract_is_named(tmp_path: Path, fold: Callable[..., Any], message: str) -> None:
    rows = in_files(made_rows(2000, 3), tmp_path / "in")
    with pytest.raises(ContractError, match=f"test_exchange:{fold.__name__}.*{message}"):
        exchange_in(tmp_path / "work", 1 << 16).group(rows, ["bucket"], fold)


def test_dictionary_columns_and_foreign_doc_keys_are_refused(tmp_path: Path) -> None:
    encoded = pa.schema([("key", pa.dictionary(pa.int32(), pa.string()))])
    with pytest.raises(ContractError, match="`key` .*dictionary-encoded"):
        exchange_in(tmp_path).group(Rows((), encoded, 0), ["key"], unchanged)
    with pytest.raises(ContractError, match=r"`doc_key` .*type string, expected fixed_size_binary\[16\]"):
        exchange_in(tmp_path).group(Rows((), pa.schema([("doc_key", pa.string())]), 0), ["doc_key"], unchanged)


# Faults: what storage or an executor may do to rows


TWO_ROUNDS = {"map_bytes": 1 << 14, "partition_bytes": 1 << 12}
"""Options with which 4,000 rows go through merge tasks."""


class Tampering(InlineExecutor):
    """Lets `damage` loose on the folder of map tasks' partition files before the tasks of a kind."""

    def __init__(self, damage: Callable[[Path], None], before: Callable[..., Any]) -> None:
        super().__init__()
        self.damage = damage
        self.before = before

    def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        payloads = list(payloads)
        if function is self.before and Path(payloads[0].pieces).name == "pieces":
            self.damage(Path(payloads[0].pieces))
        yield from super().run(function, payloads)


def tampered(tmp_path: Path, damage: Callable[[Path], None], before: Callable[..., Any] = run_fold) -> None:
    """In one round where folds read what the map tasks wrote, in two where merge tasks do."""
    rows = in_files(made_rows(4000, 8, 1000), tmp_path / "in", [1300, 2600], batch=100)
    executor = Tampering(damage, before)
    exchange = FileExchange(
        executor, tmp_path / "work", budget_bytes=1 << 17, **(TWO_ROUNDS if before is run_merge else {})
    )
    exchange.group(rows, ["bucket"], unchanged)


def second(pieces: Path) -> Path:
    return Path(map_path(str(pieces), 1))


IN_PIECES = [(run_fold, r"partition \d+: "), (run_merge, r"partitions \d+ to \d+ of 0000-group: ")]


@pytest.mark.parametrize(("before", "where"), [*IN_PIECES, (run_index, "")])
def test_a_lost_piece_is_named(tmp_path: Path, before: Any, where: str) -> None:
    with pytest.raises(StorageError, match=rf"^{where}.*map-00001.parts is missing"):
        tampered(tmp_path, lambda pieces: second(pieces).unlink(), before)


@pytest.mark.parametrize(("before", "where"), [*IN_PIECES, (run_index, "")])
@pytest.mark.parametrize("kept", [0, 10, 2000, -1])
def test_a_truncated_piece_is_named(tmp_path: Path, kept: int, before: Any, where: str) -> None:
    def cut(pieces: Path) -> None:
        # The last byte is one of the index, which is read once, by an index task.
        size = second(pieces).stat().st_size
        kept_bytes = kept if kept >= 0 else size - 1 if before is run_index else size // 3
        second(pieces).write_bytes(second(pieces).read_bytes()[:kept_bytes])

    with pytest.raises(StorageError, match=rf"^{where}.*map-00001.parts is truncated or damaged"):
        tampered(tmp_path, cut, before)


@pytest.mark.parametrize(("before", "where"), IN_PIECES)
def test_a_changed_byte_is_found(tmp_path: Path, before: Any, where: str) -> None:
    def flip(pieces: Path) -> None:
        path = Path(map_path(str(pieces), 0))
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(bytes(data))

    with pytest.raises(ConservationError, match=rf"^{where}.*map-00000.parts: .* are not those that were written"):
        tampered(tmp_path, flip, before)


@pytest.mark.parametrize("at", [0, 17, 60, -9, -1])
@pytest.mark.parametrize(("before", "name"), [(run_index, "map-00001.parts"), (run_fold, "index-00000")])
def test_a_changed_byte_of_an_index_is_found(tmp_path: Path, at: int, before: Any, name: str) -> None:
    def flip(pieces: Path) -> None:
        data = bytearray((pieces / name).read_bytes())
        data[-1 - at if before is run_index and at >= 0 else at] ^= 1
        (pieces / name).write_bytes(bytes(data))

    with pytest.raises(ConservationError, match=rf"{name}: its (index|row \d+) is not what was written"):
        tampered(tmp_path, flip, before)


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (run_fold, r"partition \d+: .*map-00001.parts: .* are not those that were written"),
        (run_merge, r"partitions \d+ to \d+ of 0000-group: .*map-00001.parts: .* are not those that were written"),
        (
            run_index,
            r"map-00001.parts.*(its index is not what was written .* took the place of another|is truncated or damaged)",
        ),
    ],
)
def test_a_whole_file_in_the_place_of_another_is_found(tmp_path: Path, before: Any, told: str) -> None:
    # Valid in itself, so that only the index can tell: rows of one task are doubled, those of another lost.
    def swap(pieces: Path) -> None:
        assert second(pieces).exists()
        shutil.copy(map_path(str(pieces), 0), second(pieces))

    with pytest.raises((ConservationError, StorageError), match=told):
        tampered(tmp_path, swap, before)


def test_an_index_in_the_place_of_another_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.pipeline.exchange.shuffle_driver.rounds", lambda *_: Rounds(4, 3, 1))

    class Swapping(InlineExecutor):
        def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            payloads = list(payloads)
            if function is run_merge:
                # The index of other map files, with as many of them: each row of it is in order.
                shutil.copy(payloads[1].block.path, payloads[0].block.path)
            yield from super().run(function, payloads)

    rows = in_files(made_rows(4000, 8, 1000), tmp_path / "in", batch=100)
    exchange = FileExchange(Swapping(), tmp_path / "work", budget_bytes=1 << 17, **TWO_ROUNDS)
    with pytest.raises(ConservationError, match="index-00000: its row 0 is not what was written"):
        exchange.group(rows, ["bucket"], unchanged)


@pytest.mark.parametrize("function", [run_map, run_merge, run_fold])
def test_rows_that_a_task_leaves_out_or_reads_twice_are_missed_by_the_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    """What no checksum tells: files in order, read by too few tasks, or by too many."""
    monkeypatch.setattr("gristmill.pipeline.exchange.shuffle_driver.rounds", lambda *_: Rounds(4, 3, 1))

    class Confused(InlineExecutor):
        def run(self, started: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            payloads = list(payloads)
            if started is function:
                payloads[-1] = (
                    replace(payloads[0], path=payloads[-1].path, number=1) if started is not run_fold else payloads[0]
                )
            yield from super().run(started, payloads)

    rows = in_files(made_rows(4000, 8, 1000), tmp_path / "in", [2000], batch=100)
    exchange = FileExchange(Confused(), tmp_path / "work", budget_bytes=1 << 17, map_bytes=1 << 14)
    with pytest.raises(
        ConservationError, match="rows were handed to the exchange|rows with doc_key sum .* were written"
    ):
        exchange.group(rows, ["bucket"], unchanged)


def test_rows_lost_between_survey_and_settle_are_found(tmp_path: Path) -> None:
    rows = in_files(made_rows(300, 8), tmp_path / "in", [100, 200])
    short = Rows(rows.files[:2], rows.schema, rows.count)
    for call in (
        lambda: exchange_in(tmp_path / "a").group(short, ["bucket"], unchanged),
        lambda: exchange_in(tmp_path / "b").reduce(short, joined),
    ):
        with pytest.raises(ConservationError, match="300 rows were handed .* but 200 were read"):
            call()
    Path(rows.files[1]).unlink()
    with pytest.raises(StorageError, match="rows-00001.arrow is missing"):
        exchange_in(tmp_path / "c").group(rows, ["bucket"], unchanged)
    with pytest.raises(StorageError, match="rows-00001.arrow is missing"):
        exchange_in(tmp_path / "d").reduce(rows, joined)


def test_an_executor_that_loses_or_doubles_a_result_is_found(tmp_path: Path) -> None:
    class Losing(InlineExecutor):
        def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            yield from list(super().run(function, payloads))[1:]

    class Doubling(InlineExecutor):
        def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            for found in super().run(function, payloads):
                yield found
                yield found

    rows = in_files(made_rows(300, 8), tmp_path / "in")
    for index, (executor, message) in enumerate(
        [(Losing(), "run_map: 1 tasks were started, 0 came back"), (Doubling(), "twice")]
    ):
        with pytest.raises(ConservationError, match=message):
            FileExchange(executor, tmp_path / f"work-{index}").group(rows, ["bucket"], unchanged)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    rows = in_files(made_rows(20_000, 3), tmp_path / "in")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=r"map-00000.parts: cannot be written"):
            exchange_in(tmp_path / "work").group(rows, ["bucket"], unchanged)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


def test_tasks_and_results_can_be_pickled(tmp_path: Path) -> None:
    class Pickling(InlineExecutor):
        def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            function, payloads = pickle.loads(pickle.dumps((function, list(payloads))))
            for found in super().run(function, payloads):
                yield pickle.loads(pickle.dumps(found))

    exchange = FileExchange(Pickling(), tmp_path / "work", budget_bytes=1 << 12, partition_bytes=1 << 13)
    table = made_edges(np.arange(200), np.arange(1, 201), random_words(201))
    found = exchange.components(in_files(table, tmp_path / "in"))
    assert sum(1 for _ in exchange.deliver(found, 5)) == 5
    assert exchange.reduce(in_files(made_rows(9, 0), tmp_path / "words"), joined).num_rows == 1


def test_a_failed_task_leaves_no_half_written_file(tmp_path: Path) -> None:
    rows = in_files(made_rows(2000, 3), tmp_path / "in")
    with pytest.raises(ContractError):
        exchange_in(tmp_path / "work", 1 << 16).group(rows, ["bucket"], hasty)
    assert not list((tmp_path / "work").glob("*/part-*")) and not list((tmp_path / "work").glob("*/.*"))


# Reduce


@pytest.mark.parametrize(("files", "budget"), [(0, 1 << 29), (1, 1 << 29), (5, 4096), (40, 1 << 29), (300, 1 << 29)])
def test_reduce_combines_all_files_in_order(tmp_path: Path, files: int, budget: int) -> None:
    table = made_rows(files * 3, 2)
    rows = in_files(table, tmp_path / "in", range(3, files * 3, 3)) if files else Rows((), SCHEMA, 0)
    assert len(rows.files) == files
    found = exchange_in(tmp_path / "work", budget, order=4).reduce(rows, joined, {"mark": "x"})
    assert found.column("word").to_pylist() == ["".join(word or "" for word in table.column("word").to_pylist())]
    assert not list((tmp_path / "work").rglob("*.arrow"))


def test_a_combine_is_given_rows_of_files_in_portions_well_below_the_budget(tmp_path: Path) -> None:
    table = made_rows(20_000, 3)
    rows = in_files(table, tmp_path / "in", range(2_000, 20_000, 2_000), batch=100)
    budget = table.nbytes
    found = exchange_in(tmp_path / "work", budget).reduce(rows, most_given).to_pylist()
    one_batch = table.nbytes // 100
    assert [row["rows"] for row in found] == [20_000]
    assert budget // 16 < found[0]["most"] <= budget // 8 + one_batch


def test_a_combine_that_returns_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="not_a_table` returned a list"):
        exchange_in(tmp_path).reduce(Rows((), SCHEMA, 0), not_a_table)


# Components


def made_edges(a: Any, b: Any, words: np.ndarray) -> pa.Table:
    """Edges between documents by number; document n belongs to task n mod 5."""
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    return pa.table(
        [
            keys_from_words(words[a]),
            pa.array((a % 5).astype(np.int32)),
            keys_from_words(words[b]),
            pa.array((b % 5).astype(np.int32)),
        ],
        schema=EDGE_SCHEMA,
    )


def random_words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 63, (count, 2)).astype(np.uint64)


def brute_force_components(edges: list[tuple[Any, ...]]) -> list[tuple[bytes, int, bytes, int]]:
    near: dict[bytes, set[bytes]] = defaultdict(set)
    tasks = {}
    for a, a_task, b, b_task in edges:
        near[a].add(b)
        near[b].add(a)
        tasks[a], tasks[b] = a_task, b_task
    found: list[tuple[bytes, int, bytes, int]] = []
    seen: set[bytes] = set()
    for start in near:
        if start in seen:
            continue
        members, waiting = {start}, [start]
        while waiting:
            for other in near[waiting.pop()] - members:
                members.add(other)
                waiting.append(other)
        seen |= members
        found += [(doc, tasks[doc], min(members), len(members)) for doc in members]
    return sorted(found)


@settings(max_examples=30)
@given(
    edges=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=3),
    order=st.none() | st.integers(0, 99),
    budget=st.sampled_from([1 << 10, 1 << 11, 1 << 12, 1 << 29]),
    foreign=st.booleans(),
)
def test_components_of_random_graphs_are_those_of_brute_force_on_every_path(
    tmp_path_factory: pytest.TempPathFactory,
    edges: list[tuple[int, int]],
    cuts: list[int],
    order: int | None,
    budget: int,
    foreign: bool,
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    table = made_edges([a for a, _ in edges], [b for _, b in edges], random_words(61))
    if foreign:  # documents of earlier runs, which no task owns
        for index, name in ((1, "task"), (3, "other_task")):
            table = table.set_column(index, name, pc.subtract(table[name], pa.scalar(3, pa.int32())))
    exchange = exchange_in(folder / "work", budget, order, partition_bytes=max(budget // 2, 4096))
    found = exchange.components(in_files(table, folder / "in", cuts, batch=11))
    assert sorted(tuples(read(found.files, found.schema))) == brute_force_components(tuples(table))
    assert found.schema.names == ["doc_key", "task", "label", "size"]
    shutil.rmtree(folder)


@pytest.mark.parametrize("in_key_order", [False, True])
@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_long_chain_settles_in_few_rounds_in_both_ways(tmp_path: Path, count: int, in_key_order: bool) -> None:
    ordered = np.stack([np.zeros(count, np.uint64), np.arange(count, dtype=np.uint64)], axis=1)
    words = ordered if in_key_order else random_words(count)
    table = made_edges(np.arange(count - 1), np.arange(1, count), words)
    rows = in_files(table, tmp_path / "in", [count // 3, count // 2], batch=10_000)
    whole = exchange_in(tmp_path / "whole").components(rows)
    # Room for a third of the chain.
    exchange = exchange_in(tmp_path / "rounds", count * NODE_BYTES // 3)
    found = exchange.components(rows)
    tables = [read(rows.files, rows.schema).sort_by("doc_key").combine_chunks() for rows in (whole, found)]
    assert tables[0].equals(tables[1])
    assert set(tables[0].column("size").to_pylist()) == {count}
    rounds = len(exchange.costs) - 1
    assert 4 <= rounds <= 24, "rounds grow with the logarithm of the length"


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_star_larger_than_memory_keeps_its_label_and_size(tmp_path: Path, scratch: Path, count: int) -> None:
    words = random_words(count, 3)
    rows = in_files(
        made_edges(np.zeros(count - 1), np.arange(1, count), words), tmp_path / "in", [30_000], batch=10_000
    )
    found = exchange_in(tmp_path / "work", count * NODE_BYTES // 3).components(rows)
    table = read(found.files, found.schema)
    lowest = min(tuples(pa.table({"key": keys_from_words(words)})))[0]
    assert found.count == len(set(table.column("doc_key").to_pylist())) == count
    assert set(table.column("label").to_pylist()) == {lowest} and set(table.column("size").to_pylist()) == {count}
    assert not list(scratch.iterdir()), "what waited on disk is removed"


@pytest.mark.parametrize("budget", [1 << 10, 1 << 29])
def test_a_document_with_two_tasks_is_refused(tmp_path: Path, budget: int) -> None:
    table = made_edges(np.arange(200), np.arange(1, 201), random_words(201))
    wrong = table.slice(70, 1).set_column(1, "task", pa.array([3], pa.int32()))
    key = table.column("doc_key")[70].as_py().hex()
    rows = in_files(pa.concat_tables([table, wrong]).combine_chunks(), tmp_path / "in", batch=50)
    with pytest.raises(ConservationError, match=f"document {key} with task [03] and with task [03]"):
        exchange_in(tmp_path / "work", budget, partition_bytes=1 << 13).components(rows)


def test_edges_need_their_four_columns(tmp_path: Path) -> None:
    rows = Rows((), EDGE_SCHEMA.remove(3), 0)
    with pytest.raises(ContractError, match="`other_task` of type int32, found no such column"):
        exchange_in(tmp_path).components(rows)


# Delivery


def keyed(count: int, tasks: int, seed: int = 0) -> pa.Table:
    rng = random.Random(seed)
    return pa.table(
        {
            "doc_key": keys_from_bytes(rng.randbytes(16 * count)),
            "label": [rng.choice(["x", None, "yy"]) for _ in range(count)],
            "task": pa.array([rng.randrange(tasks) ** 2 // tasks for _ in range(count)], pa.int32()),
        }
    )


@pytest.mark.parametrize(
    ("count", "tasks", "budget"), [(0, 3, 1 << 29), (50, 1, 1 << 29), (5000, 40, 1 << 15), (900, 2000, 1 << 16)]
)
def test_every_row_reaches_its_owner_once_sorted(tmp_path: Path, count: int, tasks: int, budget: int) -> None:
    table = keyed(count, tasks)
    expected = defaultdict(list)
    for row in tuples(table):
        expected[row[2]].append(row)
    found = exchange_in(tmp_path / "work", budget, order=2).deliver(in_files(table, tmp_path / "in", [20]), tasks)
    assert list(found) == sorted(expected)
    for task, path in found.items():
        assert tuples(pa.ipc.open_file(path).read_all()) == sorted(expected[task])


def test_delivered_bytes_depend_on_the_rows_alone(tmp_path: Path) -> None:
    table = keyed(20_000, 6)
    turned = table.take(pa.array(np.arange(20_000)[::-1]))
    one = exchange_in(tmp_path / "a").deliver(in_files(table, tmp_path / "in-a"), 6)
    other = exchange_in(tmp_path / "b", 1 << 16, order=1).deliver(in_files(turned, tmp_path / "in-b", [5, 9000]), 6)
    assert [Path(path).read_bytes() for path in one.values()] == [Path(path).read_bytes() for path in other.values()]


def test_a_document_with_two_settled_rows_is_refused(tmp_path: Path) -> None:
    table = keyed(3000, 4)
    doubled = pa.concat_tables([table, table.slice(1234, 1)]).combine_chunks()
    key = table.column("doc_key")[1234].as_py().hex()
    for budget in (1 << 15, 1 << 29):
        with pytest.raises(ConservationError, match=f"document {key} of task .* more than one settled row"):
            exchange_in(tmp_path / str(budget), budget).deliver(in_files(doubled, tmp_path / f"in-{budget}"), 4)


@pytest.mark.parametrize("place", range(0, 39))
def test_two_settled_rows_are_found_wherever_the_stream_is_cut(tmp_path: Path, place: int) -> None:
    # Within this budget the sorted rows come in tables of 16.
    table = keyed(39, 1).sort_by("doc_key")
    doubled = pa.concat_tables([table, table.slice(place, 1)]).combine_chunks()
    with pytest.raises(ConservationError, match=f"document {table.column('doc_key')[place].as_py().hex()} of task 0"):
        exchange_in(tmp_path / "work", 1 << 13).deliver(in_files(doubled, tmp_path / "in"), 1)


@pytest.mark.parametrize(("task", "found"), [(4, "4"), (-1, "-1"), (None, "null")])
def test_a_row_for_a_task_that_does_not_exist_is_refused(tmp_path: Path, task: int | None, found: str) -> None:
    table = pa.concat_tables([keyed(10, 4), keyed(1, 4, 1).set_column(2, "task", pa.array([task], pa.int32()))])
    with pytest.raises(ConservationError, match=f"names the task {found}, but the plan has tasks 0 to 3"):
        exchange_in(tmp_path / "work").deliver(in_files(table.combine_chunks(), tmp_path / "in"), 4)


# Memory


@pytest.mark.long
def test_ten_million_rows_stay_within_the_budget_and_the_libraries(tmp_path: Path) -> None:
    found = run_one(715_000, budget_mib=512, folder=tmp_path)
    assert found["rows"] == 10_010_000
    assert found["peak_mb"] <= found["peak_before_mb"] + 512 * 1.048576
    assert found["peak_mb"] <= 1000
