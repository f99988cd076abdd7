"""Documents and files of another form than any run writes, with all outer digests recomputed: the audit names them and goes on.

None of them may end the audit, which would hide whatever else is wrong; and what cannot be compared then is not read, so
the result is never clean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.pipeline.audit.tampering import Output

PLUGINS = ("toy_stages", "audit_stages")
Change = Callable[[Output], None]


def log(**new: Any) -> Change:
    """A ledger's log with other values; None takes a key away."""

    def change(output: Output) -> None:
        def edit(old: dict[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in {**old, **new}.items() if value is not None}

        output.rewrite(output.named("ledger")[0], log=edit)
        output.seal()

    return change


def column(role: str, name: str, make: Callable[[pa.ChunkedArray], Any] | None = None) -> Change:
    """A file's column made anew, or taken away."""

    def change(output: Output) -> None:
        def edit(table: pa.Table) -> pa.Table:
            if make is None:
                return table.drop_columns([name])
            return table.set_column(table.column_names.index(name), name, make(table[name]))

        output.rewrite(output.named(role)[0], edit, consistent=True)
        output.seal(content=[output.named(role)[0]])

    return change


def predicate(edit: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda output: output.set_manifest(lambda statement: edit(statement["predicate"]))


def shuffled(value: Any) -> Change:
    return predicate(lambda p: p["identity"]["outputs"]["corpus"].update(shuffle=value))


def foreign_task(output: Output) -> None:
    entries = output.entries()
    last = [index for index, entry in enumerate(entries) if entry["role"] == "ledger"][-1]
    entries[last]["task"] = 99
    output.seal(entries=entries)


LOST = {"ledger", "join"}
"""What cannot be compared without a ledger."""


@pytest.mark.parametrize(
    ("change", "checks", "unread"),
    [
        (log(slices=[]), ["schema"], LOST | {"accounts", "lineage"}),
        (log(tasks=None), ["schema"], LOST | {"accounts", "lineage"}),
        (column("ledger", "port"), ["footer", "vocabulary"], LOST | {"text", "replay"}),
        (column("ledger", "doc_key"), ["footer", "content"], LOST | {"text", "replay"}),
        (column("ledger", "copies", lambda c: c.cast(pa.string())), ["footer", "vocabulary"], LOST),
        (column("data", "text"), ["footer"], set()),
        (column("data", "text", lambda c: pa.array(range(len(c)))), ["footer", "text"], set()),
        (column("dropped", "rule", lambda c: pa.array([1] * len(c))), ["dropped", "columns"], set()),
        (column("signals:bounds", "doc_key", lambda c: pa.nulls(len(c), c.type)), ["content"], set()),
        (foreign_task, ["footer", "lineage"], {"ledger", "join"}),
        (predicate(lambda p: p.update(tasks=10**9)), ["lineage"], {"lineage"}),
    ],
    ids=lambda value: None if callable(value) else "-".join(value) if isinstance(value, list) else "",
)
def test_files_of_another_form_are_named_and_the_audit_goes_on(
    output: Output, change: Change, checks: list[str], unread: set[str]
) -> None:
    change(output)
    result = output.expect(*checks, plugins=PLUGINS)
    assert unread <= {item.name for item in result.checks if item.unread}
    assert all(item.status != "skipped" for item in result.checks if item.name in ("sha256", "content", "join"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (predicate(lambda p: p.update(output="other")), "output: 'other' is not an output of the run"),
        (predicate(lambda p: p["identity"]["outputs"].clear()), "output: 'corpus' is not an output of the run"),
        (predicate(lambda p: p["identity"]["outputs"]["corpus"].pop("from")), "identity.outputs.corpus.from"),
        (predicate(lambda p: p["identity"]["outputs"]["corpus"].update({"from": 5})), "identity.outputs.corpus.from"),
        (shuffled(5), "identity.outputs.corpus.shuffle"),
        (shuffled({"seed": -1}), "identity.outputs.corpus.shuffle.seed"),
        (predicate(lambda p: p["identity"].update(seed=1 << 64)), "identity.seed"),
    ],
    ids=lambda value: None if callable(value) else value,
)
def test_a_manifest_whose_graph_cannot_be_followed_is_of_another_form(
    output: Output, change: Change, where: str
) -> None:
    change(output)
    result = output.expect("schema", full=False)
    assert any(where in problem for problem in result.problems), result.problems


def test_a_plain_output_declared_shuffled(output: Output) -> None:
    shuffled({"seed": None})(output)
    result = output.expect("schema", "lineage", plugins=PLUGINS)
    assert result["join"].status == "unread", "its shards have no shuffled output's logs"
