"""Sixty and more ways to tamper with an output, each with the check that must find it: what stands in the folder (attacks of
`test_outputs`), damage, and forgeries whose author recomputed every digest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tests.hostile.test_outputs import ATTACKS
from tests.pipeline.audit import test_tampering as matrix
from tests.pipeline.audit.tampering import Output
from tests.pipeline.audit.test_sources import changed

Tampering = Callable[[Output], None]


def column(role: str, name: str, make: Callable[[list[Any]], list[Any]]) -> Tampering:
    """Other values in a column of every file of a role, with every digest recomputed."""

    def tamper(output: Output) -> None:
        for path in output.named(role):
            table = output.rows(path).replace_schema_metadata(None)
            values = pa.array(make(table[name].to_pylist()), table.schema.field(name).type)
            index = table.column_names.index(name)
            output.rewrite(path, lambda t, i=index, v=values: t.set_column(i, name, v), consistent=True)  # type: ignore[misc]
        output.seal(content=output.named(role))

    return tamper


def all_changed(values: list[Any]) -> list[Any]:
    return [None if value is None else changed(value) for value in values]


def last_changed(values: list[Any]) -> list[Any]:
    last = max((row for row, value in enumerate(values) if value is not None), default=-1)
    return [changed(value) if row == last else value for row, value in enumerate(values)]


def all_null(values: list[Any]) -> list[Any]:
    return [None] * len(values)


def backwards(role: str) -> Tampering:
    def tamper(output: Output) -> None:
        for path in output.named(role):
            output.rewrite(path, lambda t: t.take(pa.array(range(t.num_rows - 1, -1, -1))), consistent=True)
        output.seal(content=output.named(role))

    return tamper


def rows(role: str, change: Callable[[pa.Table], pa.Table]) -> Tampering:
    def tamper(output: Output) -> None:
        path = output.named(role)[0]
        output.rewrite(path, change, consistent=True)
        output.seal(content=[path])

    return tamper


def manifest(change: Callable[[dict[str, Any]], Any]) -> Tampering:
    """The manifest says something else, and its digests follow."""

    def tamper(output: Output) -> None:
        output.set_manifest(lambda statement: change(statement["predicate"]))
        output.seal()

    return tamper


def left_out(role: str) -> Tampering:
    def tamper(output: Output) -> None:
        path = output.named(role)[-1]
        output.path(path).unlink()
        output.seal(entries=[entry for entry in output.entries() if entry["path"] != path])

    return tamper


def all_signals_left_out(output: Output) -> None:
    shutil.rmtree(output.path("signals"))
    output.seal(entries=[entry for entry in output.entries() if not entry["role"].startswith("signals:")])


def signals_and_shards(output: Output) -> None:
    for role in ("signals:bounds", "signals:again", "data"):
        column(role, "share", all_changed)(output)


def flipped(role: str) -> Tampering:
    return lambda output: output.flip(output.named(role)[0], 40)


def log(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Tampering:
    def tamper(output: Output) -> None:
        output.rewrite(output.named("ledger")[0], log=change)
        output.seal()

    return tamper


TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    **{attack.__name__: (attack, check) for attack, check in ATTACKS.items()},
    "urls": (column("data", "url", all_changed), "agreement"),
    "last_url": (column("data", "url", last_changed), "columns"),
    "urls_null": (column("data", "url", all_null), "agreement"),
    "ids": (column("data", "id", all_changed), "agreement"),
    "last_id": (column("data", "id", last_changed), "columns"),
    "last_text": (column("data", "text", last_changed), "text"),
    "scores_in_shards": (column("data", "share", all_changed), "agreement"),
    "last_score_in_shards": (column("data", "size", last_changed), "agreement"),
    "scores_null": (column("data", "share", all_null), "agreement"),
    "signals": (column("signals:bounds", "size", all_changed), "columns"),
    "last_signal": (column("signals:again", "share", last_changed), "agreement"),
    "signals_null": (column("signals:bounds", "share", all_null), "columns"),
    "signals_and_shards": (signals_and_shards, "columns"),
    "signals_left_out": (left_out("signals:bounds"), "agreement"),
    "all_signals_left_out": (all_signals_left_out, "columns"),
    "signals_backwards": (backwards("signals:bounds"), "agreement"),
    "ledger_values": (column("ledger", "value", all_changed), "replay"),
    "last_ledger_value": (column("ledger", "value", last_changed), "replay"),
    "ledger_thresholds": (column("ledger", "threshold", all_changed), "replay"),
    "last_ledger_threshold": (column("ledger", "threshold", last_changed), "replay"),
    "ledger_witnesses": (column("ledger", "witness", lambda v: ["00" * 16] * len(v)), "replay"),
    "ledger_urls": (column("ledger", "url", all_changed), "agreement"),
    "last_ledger_url": (column("ledger", "url", last_changed), "replay"),
    "ledger_ids": (column("ledger", "id", all_changed), "agreement"),
    "ledger_bytes": (column("ledger", "bytes", all_changed), "ledger"),
    "ledger_backwards": (backwards("ledger"), "agreement"),
    "ledger_row_left_out": (rows("ledger", lambda t: t.slice(1)), "ledger"),
    "dropped_texts": (column("dropped", "text", all_changed), "agreement"),
    "dropped_texts_of_equal_length": (
        column("dropped", "text", lambda v: [None if t is None else "z" * len(t.encode()) for t in v]),
        "columns",
    ),
    "dropped_ids": (column("dropped", "id", all_changed), "agreement"),
    "dropped_languages": (column("dropped", "language", lambda v: ["deu_Latn"] * len(v)), "columns"),
    "dropped_ranks": (column("dropped", "rank", lambda v: [0] * len(v)), "agreement"),
    "dropped_left_out": (left_out("dropped"), "agreement"),
    "dropped_row_left_out": (rows("dropped", lambda t: t.slice(1)), "agreement"),
    "shards_backwards": (backwards("data"), "agreement"),
    "shard_left_out": (left_out("data"), "keys"),
    "row_doubled": (rows("data", lambda t: pa.concat_tables([t, t.slice(0, 1)])), "keys"),
    "further_footer_key": (matrix.further_footer_key, "footer"),
    "bare_pages": (matrix.pages_without_checksums, "pages"),
    "notices": (manifest(lambda p: p["notices"].append("checked by hand")), "config"),
    "node_columns": (manifest(lambda p: p["nodes"][0]["columns"].update(quality="double")), "config"),
    "node_rules": (manifest(lambda p: p["nodes"][0]["rules"].append("because")), "config"),
    "source_rows": (manifest(lambda p: p["sources"]["a"].update(rows=1)), "lineage"),
    "licence": (manifest(lambda p: p["sources"]["a"]["license"].update(spdx="MIT")), "footer"),
    "name": (manifest(lambda p: p.update(name="another")), "config"),
    "threshold_field": (manifest(lambda p: p["nodes"][0]["fields"]["threshold"].update(least=9)), "models"),
    "accounts": (manifest(lambda p: p["accounts"]["nodes"]["bounds"]["dropped"].update(rows=0)), "accounts"),
    "settled": (manifest(lambda p: p["settled"].update({next(iter(p["settled"])): "0" * 64})), "footer"),
    "config": (manifest(lambda p: p["varies"].update(config="a: &a [*a]")), "replay"),
    "flipped_shard": (flipped("data"), "sha256"),
    "flipped_ledger": (flipped("ledger"), "sha256"),
    "log_of_another_seed": (log(lambda one: {**one, "seed": 8}), "footer"),
    "log_of_other_accounts": (log(lambda one: {**one, "accounts": {"nodes": {}, "outputs": {}, "discarded": {}}}), "accounts"),
}  # fmt: skip
"""Name → what is done, and the check that must say so in a full audit with the input at hand."""
