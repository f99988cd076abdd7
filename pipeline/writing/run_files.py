"""The end of a run: dropped samples thinned, `files.parquet`, card and metadata; then everything moved to its place.

An output exists when its `manifest.json` does, so that is moved last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from gristmill.pipeline.executor import Executor
from gristmill.pipeline.planning.graph import Output
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.attestation import FIRST, write_envelope
from gristmill.pipeline.provenance.files import FILES, FILES_TABLE, file_row
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey
from gristmill.pipeline.provenance.statement import Lineage, manifest_bytes
from gristmill.pipeline.provenance.task_record import CandidateFile, OutputFile, StagedFile, TaskRecord
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.storage import join, sha256_of, write_checked
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.attempt import attempt_folder, publish, publish_last
from gristmill.pipeline.writing.card import croissant, dataset_card
from gristmill.pipeline.writing.dropped_texts import Thinning, rank_limits, thin
from gristmill.pipeline.writing.manifest import make_manifest, seal
from gristmill.pipeline.writing.parquet import write_parquet
from gristmill.pipeline.writing.shuffle import publish_shuffled
from gristmill.pipeline.writing.task_files import data_columns, node_log

MANIFEST = "manifest.json"


def finish_outputs(
    plan: Plan,
    work: WorkFolder,
    records: Sequence[TaskRecord],
    accounts: Accounts,
    settled: Mapping[str, str],
    reports: Mapping[str, Mapping[str, Any]],
    command: Sequence[str],
    executor: Executor,
    links: Mapping[str, Lineage] | None = None,
    key: SigningKey | None = None,
    check: Callable[[], None] | None = None,
) -> dict[str, str]:
    """Publishes every output and returns the paths of the manifests.

    Args:
        links: each output's place after the dataset's previous run; default: the first.
        key: signs the manifests.
        check: raises StorageError when the outputs are no longer this run's; asked before anything is moved.
    """
    complete: list[tuple[Output, dict[str, str], dict[str, str]]] = []
    thinned = _thin_dropped(plan, work, records, executor)
    for output in plan.graph.outputs:
        attempt = attempt_folder(plan, output)
        files = list(_files(output, records, thinned[output.name]))
        if output.config.shuffle is not None:
            nodes = [node_log(plan, node) for node in plan.graph.nodes]
            schema = pa.schema(data_columns(plan, output))
            files += publish_shuffled(plan, work, output, schema, records, nodes, settled, executor)
        shard = write_parquet(join(attempt, FILES_TABLE), FILES, _tables(files, FILES))
        chain = FIRST if links is None else links[output.name]
        manifest = make_manifest(plan, output, files, shard, records, accounts, settled, reports, command, chain)
        documents = {
            "README.md": _write_text(join(attempt, "README.md"), dataset_card(plan, output, manifest, accounts)),
            "croissant.json": _write_text(join(attempt, "croissant.json"), croissant(plan, output, manifest)),
        }
        sealed = to_json(seal(manifest, documents))
        written = {str(item["path"]): str(item["sha256"]) for item in files}
        written |= {FILES_TABLE: shard.file.sha256, **documents}
        if key is not None:
            write_envelope(attempt, sealed, key)
            written[ENVELOPE] = sha256_of(join(attempt, ENVELOPE))
        last = {MANIFEST: _write_bytes(join(attempt, MANIFEST), manifest_bytes(sealed))}
        complete.append((output, written, last))
    if check is not None:
        check()
    for output, written, last in complete:
        publish(output.config.path, attempt_folder(plan, output), written, last, executor)
    if check is not None:
        check()
    # All outputs are complete before the first manifest says so.
    for output, _, last in complete:
        publish_last(output.config.path, attempt_folder(plan, output), MANIFEST, last[MANIFEST])
    return {output.name: join(output.config.path, MANIFEST) for output, _, _ in complete}


def _files(
    output: Output, records: Sequence[TaskRecord], thinned: Mapping[int, OutputFile | None]
) -> Iterator[dict[str, Any]]:
    for record in records:
        for item in record.outputs[output.name]:
            if isinstance(item, StagedFile):
                continue
            file = thinned[record.task] if isinstance(item, CandidateFile) else item
            if file is not None:
                yield file_row(file, record.task, record.slice, record.varies)


def _tables(files: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    chunk: list[Mapping[str, Any]] = []
    for item in files:
        chunk.append(item)
        if len(chunk) == 10_000:
            yield pa.Table.from_pylist(chunk, schema=schema)
            chunk = []
    if chunk:
        yield pa.Table.from_pylist(chunk, schema=schema)


def _write_text(location: str, text: str) -> str:
    return _write_bytes(location, text.encode("utf-8"))


def _write_bytes(location: str, data: bytes) -> str:
    return write_checked(location, lambda stream: stream.write(data)).sha256


def _thin_dropped(
    plan: Plan, work: WorkFolder, records: Sequence[TaskRecord], executor: Executor
) -> dict[str, dict[int, OutputFile | None]]:
    """Cuts the tasks' candidates down to the lowest ranks of each node, rule and language over the whole corpus.

    Returns, by output and task, the file in the output; None for candidates that come to nothing.
    """
    result: dict[str, dict[int, OutputFile | None]] = {output.name: {} for output in plan.graph.outputs}
    # Outputs with samples of one size share their candidates, and get equal files.
    shared: dict[int, list[str]] = {}
    for output in plan.graph.outputs:
        if output.config.dropped == "sample":
            shared.setdefault(output.config.dropped_sample, []).append(output.name)
    paths = {output.name: attempt_folder(plan, output) for output in plan.graph.outputs}
    for most, names in shared.items():
        found = [
            (record.task, item)
            for record in records
            for item in record.outputs[names[0]]
            if isinstance(item, CandidateFile)
        ]
        limits = rank_limits((work.at(item.candidate) for _, item in found), most)
        jobs = [
            Thinning(work.at(item.candidate), item, tuple(join(paths[name], item.path) for name in names), limits)
            for _, item in found
        ]
        for index, kept in executor.run(thin, jobs):
            for name in names:
                result[name][found[index][0]] = kept
    return result
