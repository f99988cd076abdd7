"""The audit of an output: runs the checks of `pipeline.audit.result.CHECKS` in order; none stops another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.audit.attested import check_sequence, check_signature
from pipeline.audit.child import Child, ChildDied
from pipeline.audit.documents import check_documents, read_statement
from pipeline.audit.listing import check_presence, check_roots, read_entries
from pipeline.audit.logs import LogAudit, check_models
from pipeline.audit.result import CHECKS, AuditResult, Report
from pipeline.audit.tasks import Entry, TaskJob
from pipeline.audit.ways import AuditGraph
from pipeline.errors import ConfigError, GristmillError
from pipeline.provenance.signing import public_key
from pipeline.reading import READ_RULES
from pipeline.storage import exists, join, reason, sha256_of


def audit_output(
    folder: str,
    *,
    full: bool = False,
    sample: tuple[int, int] | None = None,
    key: bytes | None = None,
    previous: str | None = None,
) -> AuditResult:
    """Verifies an output.

    Args:
        folder: the output's folder, local or a URL.
        full: also read every file: digests of bytes and of content, ledger totals, and the join of ledger and shards.
        sample: (i, n) with 0 ≤ i < n: of what `full` reads, only the files of tasks t with t mod n = i, so that n
            audits with i = 0 … n−1 read everything.
        key: the public key, PEM or 32 raw bytes, that must have signed the manifest.
        previous: the output of the dataset's earlier run, to compare sequence and drop rates with.

    Raises ConfigError for a folder that is not there, and for a sample or a key that is none. Everything else is a
    finding.
    """
    if sample is not None and not 0 <= sample[0] < sample[1]:
        raise ConfigError(f"sample: expected (i, n) with 0 ≤ i < n, found {sample}.")
    if not exists(folder):
        raise ConfigError(
            f"{folder}: there is no such folder. Give the folder of an output: the one with manifest.json."
        )
    begin = time.monotonic()
    report = Report()
    public = None if key is None else public_key(key)
    run, size = _audit(folder, full, sample, public, previous, report)
    results = tuple(report.results[check.name] for check in CHECKS)
    return AuditResult(folder, results, run, size, time.monotonic() - begin)


def _audit(
    folder: str, full: bool, sample: tuple[int, int] | None, public: bytes | None, previous: str | None, report: Report
) -> tuple[str | None, int]:
    reads_rows = tuple(check.name for check in CHECKS if check.full)
    if not full and sample is None:
        report.skip(reads_rows, "reads rows: only in a full audit")
    else:
        report.skip(reads_rows, "this output has nothing of the kind")
    statement, stored = read_statement(folder, report)
    check_signature(folder, stored, public, report)
    if statement is None:
        report.skip(tuple(c.name for c in CHECKS if c.name != "signature"), "needs the manifest")
        return None, 0
    predicate = statement["predicate"]
    check_documents(folder, statement, report)
    check_models(predicate, report)
    check_sequence(predicate, previous, report)
    with Child() as child:
        entries = read_entries(folder, statement, child, report)
        if entries is None:
            for check in CHECKS:
                if not report.results[check.name].looked_at and report.results[check.name].skipped is None:
                    report.unread(check.name, "needs files.parquet")
            return predicate["run"], 0
        present = check_presence(folder, entries, report)
        check_roots(predicate, statement, entries, report)
        graph = AuditGraph.of(predicate)
        logs = LogAudit(folder, predicate, graph, report)
        logs.read(present, child)
        absent = set(entries) - set(present)
        logs.complete = logs.complete and not any(entry.role == "ledger" for entry in absent)
        logs.check_lineage(entries)
        logs.check_accounts()
        logs.check_keys(entries)
        size = 0
        if full or sample is not None:
            size = _rows(folder, predicate, graph, entries, absent, sample, child, report)
    return predicate["run"], size


def _rows(
    folder: str,
    predicate: Mapping[str, Any],
    graph: AuditGraph,
    entries: Sequence[Entry],
    absent: set[Entry],
    sample: tuple[int, int] | None,
    child: Child,
    report: Report,
) -> int:
    """The checks that read whole files, task by task. Returns the bytes that were read."""
    tasks: dict[int, list[Entry]] = {}
    for entry in entries:
        if sample is None or entry.task % sample[1] == sample[0]:
            tasks.setdefault(entry.task, []).append(entry)
    source_rules = {
        name: (*READ_RULES, *predicate["accounts"]["nodes"].get(name, {"rules": {}})["rules"]) for name in graph.sources
    }
    size = 0
    for number, files in sorted(tasks.items()):
        there = [entry for entry in files if entry not in absent]
        sound = [entry for entry in there if _right_bytes(folder, entry, report)]
        broken = tuple(entry.path for entry in files if entry not in sound)
        size += sum(entry.size for entry in there)
        job = TaskJob(
            folder,
            number,
            predicate["output"],
            tuple(sound),
            broken,
            graph.sources,
            graph.nodes,
            graph.outputs,
            source_rules,
        )
        for entry in there:
            if entry not in sound:
                for check in ("pages", "content"):
                    report.unread(check, "not read, since its SHA-256 is wrong or unknown", file=entry.path)
        try:
            answer = child.call("check_task", job.to_json(), sum(entry.size for entry in sound))
        except ChildDied as error:
            for entry in sound:
                report.unread("content", f"{error} while it read the files of task {number}", file=entry.path)
            continue
        for name, count in answer["seen"].items():
            report.saw(name, count)
        for finding in answer["findings"]:
            check, message = finding.pop("check"), finding.pop("message")
            (report.unread if finding.pop("unread", False) else report.fail)(check, message, **finding)
    return size


def _right_bytes(folder: str, entry: Entry, report: Report) -> bool:
    report.saw("sha256")
    try:
        found = sha256_of(join(folder, entry.path))
    except OSError as error:
        report.unread("sha256", reason(error), file=entry.path)
        return False
    except GristmillError as error:
        report.unread("sha256", str(error), file=entry.path)
        return False
    if found != entry.sha256:
        report.fail("sha256", f"expected {entry.sha256}, found {found}", file=entry.path)
        return False
    return True
