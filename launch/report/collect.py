"""Everything that a report shows beside the manifest, read in a process of its own: an output's files may be anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gristmill.launch.report.decisions import Ledger, dropped_texts, find_texts
from gristmill.launch.report.histograms import Signals
from gristmill.launch.report.kind_tokens import count_tokens, token_kind
from gristmill.launch.report.output_files import output_files
from gristmill.launch.report.pool import Pool
from gristmill.launch.report.shards import Shards, label_columns
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, what_a_run_wrote
from gristmill.pipeline.errors import DataError, GristmillError
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.reader_process import shared_reader

MOST_CLUSTERS = 20
"""Largest clusters whose members are shown."""


def collect(folder: str, manifest: Predicate, beside: Sequence[str] = ()) -> dict[str, Any]:
    """What an output's files say, each part as far as it could be read; `problems` names the others. Nothing is raised for
    damaged files: the report of an output that fails its audit is the one that is needed most."""
    try:
        size = 16 * manifest.data.bytes
        found: dict[str, Any] = shared_reader(__name__).call("collect", [folder, list(beside)], size)
    except GristmillError as error:  # also ReaderCrashed
        return {"problems": [str(error)]}
    return found


def _collect(argument: Sequence[Any]) -> dict[str, Any]:
    folder, beside = argument
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no manifest.json.")
    problems: list[str] = []

    def part(what: str, run: Callable[[], Any]) -> Any:
        try:
            with what_a_run_wrote(folder):
                return run()
        except (Damaged, Unreadable, GristmillError, OSError) as error:  # OSError: removed while it is looked at
            problems.append(f"{what}: {error}")
        return None

    files = part("files.parquet", lambda: output_files(folder, manifest, beside))
    if files is None:
        return {"problems": problems}
    pool, ledger, shards, signals = Pool(), Ledger(), Shards(), Signals()
    label = label_columns(manifest.nodes)
    part("dropped texts", lambda: dropped_texts(files, pool))
    part("clusters", lambda: _clusters(manifest, pool))
    part("ledger", lambda: ledger.read(files, pool))
    part("shards", lambda: shards.read(manifest, files, pool))
    part("signals", lambda: signals.read(manifest.nodes, files, pool, label))
    part("texts", lambda: find_texts(files, pool, manifest.output))
    for role in sorted(files.elsewhere):
        problems.append(
            f"{role.replace(':', ' of ')}: lies in the folder of another output of the run, which is not beside this one "
            "(name it with --beside)"
        )
    kind = token_kind(manifest)
    counted = None if kind is None else part("tokens", lambda: count_tokens(files, manifest, kind))
    return {
        "problems": problems,
        "tokens": counted,
        **pool.to_json(),
        **ledger.to_json(),
        "labels_before": None if signals.labels is None else signals.labels.to_json(),
        "labels_after": None if shards.labels is None else shards.labels.to_json(),
        "levels": shards.levels,
        "sources_after": shards.sources,
        "sources_at": signals.sources,
        "signals": signals.found,
        "decided_by": [[*key, n] for key, n in signals.decided.items()],
        "hosts": [[host, *figures] for host, figures in sorted(files.hosts.items())],
        "has_signals": any(role.startswith("signals:") for role in files.by_role),
        "has_dropped": bool(files.of("dropped")),
    }


def _clusters(manifest: Predicate, pool: Pool) -> None:
    """Asks for members of the largest clusters that nodes reported."""
    for node, report in manifest.reports.items():
        largest = report.get("largest")
        for number, one in enumerate(largest[:MOST_CLUSTERS] if isinstance(largest, list) else ()):
            for member in one.get("members", ())[:3]:
                pool.show(bytes.fromhex(member), f"cluster:{node}:{number}")


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"collect": _collect}
"""What the reading process is asked for."""
