"""The audit of an output: runs the checks of `pipeline.audit.result.CHECKS` in order; none stops another."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from gristmill.pipeline.audit.chain import check_sequence
from gristmill.pipeline.audit.documents import check_documents, read_statement
from gristmill.pipeline.audit.file_list import check_presence, check_roots, read_entries, with_folders
from gristmill.pipeline.audit.fingerprints import check_models
from gristmill.pipeline.audit.footer_logs import LogAudit, read_footers
from gristmill.pipeline.audit.in_order import Countdown, in_order, processes_for
from gristmill.pipeline.audit.kinds import KindAudit, KindOfShard
from gristmill.pipeline.audit.licences import NOT_ASKED, Licences, check_licences, licences_of
from gristmill.pipeline.audit.messages import HELD_ROWS, Entry, SourceJob, TaskJob, ask, stated
from gristmill.pipeline.audit.removals import check_keyed_digests, keys_that_tell
from gristmill.pipeline.audit.result import CHECKS, ONLY_FULL, AuditResult, Deferred, Report
from gristmill.pipeline.audit.routes import AuditGraph
from gristmill.pipeline.audit.shares import check_shuffled_shares, unseen
from gristmill.pipeline.audit.signature import check_signature
from gristmill.pipeline.audit.trust import Trust
from gristmill.pipeline.errors import ConfigError, GristmillError, looked_for
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.kinds import is_of_kind
from gristmill.pipeline.provenance.removal import REMOVED_ROLE
from gristmill.pipeline.provenance.sidecar_tables import MOST_TASKS
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.reader_template import ReaderTemplate, template_for
from gristmill.pipeline.stage_spec import EMPTY_PAYLOAD, TEXT_RULES
from gristmill.pipeline.storage import exists, is_remote, join, local, reason, sha256_within

BACK = ("source", "text", "replay", "columns", "config")
"""Checks that go back to the input."""
READERS = {
    "rows": "gristmill.pipeline.audit.row_requests",
    "sources": "gristmill.pipeline.audit.reader_requests",
}
"""Modules of the reading processes' functions, without and with going back to the input."""
MOST_CRASHES = 3
"""Tasks whose comparison with the input may end its process; each costs its whole time limit."""


def audit_output(
    folder: str,
    *,
    full: bool = False,
    sample: tuple[int, int] | None = None,
    key: bytes | None = None,
    trust: Trust | None = None,
    previous: Sequence[str] | str = (),
    sources: Sequence[str] | None = None,
    plugins: Sequence[str] = (),
    beside: Sequence[str] = (),
    jobs: int | None = None,
    removal_keys: Sequence[str] = (),
    revoked: Sequence[str] = (),
    require_licences: bool = False,
) -> AuditResult:
    """Verifies an output.

    Args:
        folder: the output's folder, local or a URL.
        full: also read every file: digests of bytes and of content, ledger totals, and the join of ledger and shards.
        sample: (i, n) with 0 ≤ i < n: of what `full` reads, only the files of tasks t with t mod n = i, so that n
            audits with i = 0 … n−1 read everything.
        key: the public key, PEM or 32 raw bytes, that must have signed the manifest.
        trust: instead of `key`, the keys of which one must have signed it; the outputs in `previous` likewise.
        previous: earlier outputs of the dataset: the chain of manifests is followed down to the earliest, drop rates are
            compared with the latest.
        sources: whether a full audit also goes back to the input: None for not; folders, local or URLs, below which it must
            lie; an empty list for local input wherever the config says. The config is the word of whoever wrote the output.
        plugins: modules with stages and sources that the run used and that may be imported for that.
        beside: folders of other outputs of the run, which may hold files that this output shares with them; those that
            lie beside this one are found without.
        jobs: processes that read rows at once, each about its own task; None for as many as there are cores, fewer for a
            small output. The report is the same whatever it is, memory grows with it.
        removal_keys: keys of removals, as their files hold them: going back to the input, they tell which of its documents
            were removed.
        revoked: the files of the run's revocation lists, in the order of its config: a full audit looks all documents up.
        require_licences: whether a source without a licence that SPDX names, evidence and who states it is a failure.

    Raises ConfigError for a folder that is not there, and for a sample, a key or a number of jobs that is none. Everything
    else is a finding.
    """
    if sample is not None and not 0 <= sample[0] < sample[1]:
        raise ConfigError(f"sample: expected (i, n) with 0 ≤ i < n, found {sample}.")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs: expected at least 1 process, found {jobs}.")
    if not exists(folder):
        raise ConfigError(
            f"{folder}: there is no such folder{looked_for(folder)}. Give the folder of an output: the one with manifest.json."
        )
    if not is_remote(folder) and local(folder).is_file():
        raise ConfigError(f"{folder}: this is a file. Give the folder of an output: the one with manifest.json.")
    begin = time.monotonic()
    if key is not None and trust is not None:
        raise ConfigError("key and trust both say whose signature counts: give one of them.")
    trust = trust if key is None else Trust.of(key)
    # Lists that are given may be read as well.
    roots = None if sources is None else (*sources, *(revoked if sources else ()))
    audit = _Audit(
        folder,
        full or sample is not None,
        sample or (0, 1),
        trust,
        (previous,) if isinstance(previous, str) else tuple(previous),
        roots,
        tuple(plugins),
        tuple(beside),
        jobs,
        tuple(removal_keys),
        tuple(revoked),
        require_licences,
    )
    with audit.opened:
        audit.run()
    results = tuple(audit.report.results[check.name] for check in CHECKS)
    licences = None if audit.licences is None else (audit.licences.to_json(), audit.licences.lines())
    return AuditResult(folder, results, audit.key, audit.bytes_read, time.monotonic() - begin, sample, licences)


@dataclass
class _Audit:
    folder: str
    rows: bool
    sample: tuple[int, int]
    trust: Trust | None
    previous: tuple[str, ...]
    sources: tuple[str, ...] | None
    plugins: tuple[str, ...]
    beside: tuple[str, ...]
    jobs: int | None
    removal_keys: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    require_licences: bool = False
    licences: Licences | None = None
    opened: ExitStack = field(default_factory=ExitStack)
    readers: list[ReaderProcess] = field(default_factory=list)
    template: ReaderTemplate | None = None
    """What readers are forked from, once it has loaded what they need and before any file is read."""
    report: Report = field(default_factory=Report)
    key: str | None = None
    bytes_read: int = 0
    crashes: int = 0
    right: dict[Entry, bool] = field(default_factory=dict)
    left: str = ""
    """A folder for what one request leaves for others."""

    def run(self) -> None:
        report, folder = self.report, self.folder
        reader = self._reader()
        reader.start()  # it loads while this process reads the manifest
        whole = tuple(check.name for check in CHECKS if check.full)
        report.skip(whole, "this output has nothing of this kind" if self.rows else ONLY_FULL)
        report.skip(("licences",), NOT_ASKED)
        statement, stored = read_statement(folder, report)
        check_signature(
            folder, stored, "" if statement is None else statement.predicate.varies.written, self.trust, report
        )
        if statement is None:
            report.skip(tuple(check.name for check in CHECKS if check.name != "signature"), "needs the manifest")
            return
        predicate = statement.predicate
        self.key = predicate.run
        check_documents(folder, statement, report)
        self.licences = licences_of(predicate)
        if self.require_licences:
            check_licences(self.licences, report)
        check_models(predicate, report)
        check_sequence(folder, predicate, self.previous, self.trust, report)
        entries = read_entries(folder, statement, reader, report)
        if entries is None:
            for name, result in report.results.items():
                if not result.looked_at and result.skipped is None:
                    report.unread(name, "needs files.parquet")
            return
        entries = with_folders(folder, predicate, entries, self.beside)
        present = check_presence(folder, entries, report)
        check_roots(statement, entries, report)
        graph = AuditGraph.of(predicate)
        kinds = KindAudit(predicate, entries, report)
        kinds.check(read_footers([entry for entry in present if entry.role.startswith("index:")], reader))
        absent = set(entries) - set(present)
        entries = [entry for entry in entries if not is_of_kind(entry.role)]
        logs = LogAudit(predicate, graph, report)
        logs.read([entry for entry in present if not is_of_kind(entry.role)], reader)
        logs.complete = logs.complete and not any(entry.role == "ledger" for entry in absent)
        logs.check_lineage(entries)
        logs.check_accounts()
        logs.check_keys(entries)
        if not self.rows:
            return
        self.left = self.opened.enter_context(tempfile.TemporaryDirectory(prefix="gristmill-audit-"))
        self._kinds(kinds, absent)
        self._keyed_digests(predicate, [entry for entry in present if entry.role == REMOVED_ROLE])
        self._revoked(predicate, logs, present)
        if predicate.removals and self.sample[1] == 1:
            from gristmill.pipeline.audit.pair import check_pair

            check_pair(predicate, present, self.previous, self.removal_keys, self.left, self._pool, report)
        if logs.shuffle is None:
            self._tasks(predicate, graph, entries, absent)
            return
        seed = logs.shuffle.seed if logs.shuffle.seed is not None else predicate.identity.seed
        shards = self._shards(predicate, entries, absent, seed, self.left, logs)
        rest = [entry for entry in entries if entry.role != "data"]
        self._tasks(predicate, graph, rest, absent, self.left, shards)

    def _kinds(self, kinds: KindAudit, absent: set[Entry]) -> None:
        """The checks that make kinds again from their shards; of a sample those of every N-th task or bucket."""

        def one(reader: ReaderProcess, item: KindOfShard) -> Deferred:
            told = Deferred()
            entries = item.entries
            if not all(self.right.get(entry) for entry in entries):
                message = f"not made again from {item.shard.path}, since a file of it is not what was listed"
                told.unread("derived", message, file=item.index.path)
                return told
            job, size = item.to_json(kinds.settings[item.kind]), sum(entry.size for entry in entries)
            # Making a kind again takes longer than reading its files, and what is compressed is longer than it seems.
            _answer(reader, "check_kind", job, 20 * size, "derived", [item.index], told)
            return told

        def bytes_of(reader: ReaderProcess, entry: Entry) -> Deferred:
            told = Deferred()
            self._right_bytes(entry, told)
            return told

        self.report.saw("derived")
        share, of = self.sample
        number = {path: place for place, path in enumerate(sorted({item.shard.path for item in kinds.found}))}
        wanted = [item for item in kinds.found if number[item.shard.path] % of == share]
        entries = [entry for item in wanted for entry in item.entries if entry not in absent]
        pool = self._pool(entries)
        for told in in_order(pool, list(dict.fromkeys(entries)), bytes_of):
            self._tell(told)
        for told in in_order(pool, wanted, one):
            self._tell(told)

    def _keyed_digests(self, predicate: Predicate, entries: Sequence[Entry]) -> None:
        """The checks of what is left of documents that were removed."""
        found: dict[int, list[str]] = {}
        for entry in entries:
            told = Deferred()
            answer: dict[str, Any] = {"damaged": "it is not what was listed"}
            if self._right_bytes(entry, told):
                answer = ask(self.readers[0], "keyed_digests", [entry.folder, entry.path], entry.size)
            self._tell(told)
            if "damaged" in answer:
                self.report.unread("ledger", f"keyed digests were not compared: {answer['damaged']}", file=entry.path)
                return
            for number, digests in dict(answer["found"]).items():
                found.setdefault(int(number), []).extend(digests)
        check_keyed_digests(predicate, found, self.report)

    def _revoked(self, predicate: Predicate, logs: LogAudit, entries: Sequence[Entry]) -> None:
        """The check of all documents that the output names against the run's revocation list, if it is given."""
        has_rule = any("revoked" in account.rules for account in predicate.accounts.nodes.values())
        if predicate.identity.revoked is None and not self.lists and not has_rule:
            return
        from gristmill.pipeline.audit.revoked import NAMING, job_of, known_list, runs_of

        found = known_list(predicate, self.lists, self.report)
        if found is None:
            return
        folder = self.opened.enter_context(tempfile.TemporaryDirectory(prefix="gristmill-audit-"))
        location = join(folder, "revoked")
        local(location).write_bytes(found.packed)
        sources = runs_of({number: task.slice.source for number, task in logs.tasks.items() if task.slice is not None})
        share, of = self.sample
        named = [entry for entry in entries if entry.role in NAMING]
        wanted = [entry for number, entry in enumerate(named) if number % of == share]

        def one(reader: ReaderProcess, entry: Entry) -> Deferred:
            told = Deferred()
            if self._right_bytes(entry, told):
                job = job_of(found, location, entry, sources, predicate)
                _answer(reader, "check_revoked", job, entry.size, "revoked", [entry], told)
            return told

        for told in in_order(self._pool(wanted), wanted, one):
            self._tell(told)

    def _shards(
        self, predicate: Predicate, entries: Sequence[Entry], absent: set[Entry], seed: int, spill: str, logs: LogAudit
    ) -> list[str] | None:
        """The checks of a shuffled output's shards, whose rows' identities they leave in `spill`. A sample needs them
        all, since a task's rows are in all of them. None when not all could be read: then no task can be joined."""

        counted = predicate.accounts.shares.get(predicate.output) is not None
        sources = logs.sources_by_task() if counted else []

        def one(reader: ReaderProcess, item: tuple[int, Entry]) -> tuple[Deferred, bool, Any]:
            number, entry = item
            told = Deferred()
            if entry in absent or not self._right_bytes(entry, told):
                return told, False, None
            job = {
                "folder": self.folder,
                "entry": asdict(entry),
                "seed": seed,
                "tasks": predicate.tasks,
                "spill": spill,
                "number": number,
                "sources": sources,
                "licenses": logs.licenses,
            }
            answer = _answer(reader, "check_shard", job, entry.size, "content", [entry], told)
            return told, answer is not None and answer["left"], answer and answer["shares"]

        shards = [entry for entry in entries if entry.role == "data"]
        whole, shares = True, []
        for entry, (told, sound, found) in zip(
            shards, in_order(self._pool(shards), enumerate(shards), one), strict=True
        ):
            self._tell(told)
            shares.append(found)
            if not sound:
                whole = False
                message = "the tasks' rows were not joined with their ledgers, since this shard could not be read"
                self.report.unread("join", message, file=entry.path)
        check_shuffled_shares(predicate, shares if sources or not shards else [None], self.report)
        return [entry.path for entry in shards] if whole else None

    def _shared_file(self, reader: ReaderProcess, entry: Entry) -> Deferred:
        """The checks of a file that several tasks read, before any of them does: one that ends its reader is not read again
        for each of its tasks."""
        told = Deferred()
        if self._right_bytes(entry, told) and entry.role != "data":
            job = {"entry": asdict(entry), "lengths": self.left}
            answer = _answer(reader, "check_sidecar", job, entry.size, "content", [entry], told)
            self.right[entry] = answer is not None
        return told

    def _tasks(
        self,
        predicate: Predicate,
        graph: AuditGraph,
        entries: Sequence[Entry],
        absent: set[Entry],
        spill: str | None = None,
        shards: Sequence[str] | None = (),
    ) -> None:
        """The checks that read whole files, task by task; with `spill`, those of a shuffled output."""
        tasks: dict[int, list[Entry]] = {}
        for entry in entries:
            for number in range(max(0, entry.task), min(entry.task + min(entry.tasks, MOST_TASKS), predicate.tasks)):
                if number % self.sample[1] == self.sample[0]:
                    tasks.setdefault(number, []).append(entry)
        everything = list(dict.fromkeys(entry for files in tasks.values() for entry in files))
        shared = [entry for entry in everything if entry not in absent and (entry.role != "data" or entry.tasks > 1)]
        shared.sort(key=lambda entry: -entry.size)  # the longest first: tasks wait for all of them
        accounts = predicate.accounts.nodes
        source_rules = {
            name: (*TEXT_RULES, EMPTY_PAYLOAD, *accounts.get(name, NodeAccount()).rules) for name in graph.sources
        }
        if self.sources is None:
            self.report.skip(BACK, "not requested: --sources goes back to the input")
        elif tasks and not self._plans(predicate, self.readers[0]):
            self.sources = None
        measuring = tuple(sorted({entry.role[8:] for entry in entries if entry.role.startswith("signals:")}))

        def job_of(number: int, files: Sequence[Entry], sound: Sequence[Entry]) -> TaskJob:
            return TaskJob(
                self.folder,
                number,
                predicate.output,
                tuple(sound),
                tuple(entry.path for entry in files if entry not in sound),
                graph.sources,
                graph.nodes,
                graph.outputs,
                source_rules,
                spill is not None,
                tuple(shards or ()),
                None if shards is None else spill,
                max(1, predicate.tasks * HELD_ROWS // max(1, predicate.data.rows)),
                measuring,
                str((predicate.identity.outputs[predicate.output].model_extra or {}).get("dropped")),
                unseen(predicate),
                self.left,
            )

        pool = self._pool(everything)[: max(1, len(shared) + len(tasks))]
        left = Countdown(len(shared))

        def one(reader: ReaderProcess, item: Entry | tuple[int, list[Entry]]) -> tuple[Deferred, Deferred | None, bool]:
            """(findings about the files, those about the input if it was looked at, whether that crashed)."""
            if isinstance(item, Entry):
                with left:
                    return self._shared_file(reader, item), None, False
            number, files = item
            told, roots, ended = Deferred(), self.sources, None
            own = [entry for entry in files if entry.role == "data" and entry not in absent]
            if len(pool) > 1 and own and all(entry.tasks == 1 for entry in own):
                # While another reader is at a file that all tasks wait for.
                own = [entry for entry in own if self._right_bytes(entry, told)]
                try:
                    ask(reader, "scan_shards", job_of(number, own, own).to_json(), sum(entry.size for entry in own))
                except ReaderCrashed as error:
                    ended = error
            left.wait()
            sound = [entry for entry in files if entry not in absent and self._right_bytes(entry, told)]
            if ended is not None:
                _tell_ended(ended, "content", sound, told)
                return told, None, False
            job, size = job_of(number, files, sound), sum(entry.size // max(1, entry.tasks) for entry in sound)
            answered = _answer(reader, "check_task", job.to_json(), size, "content", sound, told)
            if answered is None or roots is None:
                return told, None, False
            back = Deferred()
            mine = [] if job.shuffled else [entry for entry in files if entry.role == "data" and entry not in absent]
            changed = tuple(entry for entry in mine if entry not in sound)
            config = self._config(predicate)
            again = SourceJob(job, config, predicate.run, self.plugins, roots, changed, tuple(keys))
            # The slice is read and its documents are judged again: that takes far longer than reading the files.
            found = _answer(reader, "check_sources", again.to_json(), 50 * size, "source", sound, back)
            return told, back, found is None

        keys = keys_that_tell(predicate, self.removal_keys)
        items: list[Entry | tuple[int, list[Entry]]] = [*shared, *sorted(tasks.items())]
        for told, back, crashed in in_order(pool, items, one, more=len(shared)):
            self._tell(told)
            if back is None or self.sources is None:
                continue  # what is found after giving up is not told, so that the report is the same however many read
            self._tell(back)
            self.crashes += crashed
            if self.crashes == MOST_CRASHES:
                self._not_gone_back(f"given up after {MOST_CRASHES} tasks whose comparison with the input failed")

    def _pool(self, entries: Sequence[Entry]) -> Sequence[ReaderProcess]:
        """The readers for these files: as many as were asked for, or else as their bytes are worth."""
        wanted = processes_for(sum(entry.size for entry in entries)) if self.jobs is None else self.jobs
        while len(self.readers) < wanted:
            self._reader()
        return self.readers[:wanted]

    def _reader(self) -> ReaderProcess:
        """One more reading process; only one that goes back to the input loads what plans and runs."""
        functions = READERS["rows" if self.sources is None else "sources"]
        if not self.readers and (made := template_for(functions, self.rows)) is not None:
            self.template = self.opened.enter_context(made)
        reader = self.opened.enter_context(ReaderProcess(functions))
        reader.template = self.template
        self.readers.append(reader)
        return reader

    def _tell(self, told: Deferred) -> None:
        told.tell(self.report)
        self.bytes_read += told.bytes_read

    def _plans(self, predicate: Predicate, reader: ReaderProcess) -> bool:
        """Whether the run can be planned here, as everything that goes back to the input must."""
        job = {"config": self._config(predicate), "run": predicate.run, "plugins": self.plugins, "roots": self.sources}
        try:
            answer = ask(reader, "plan_sources", {**job, "manifest": stated(predicate)})
            why = answer.get("skipped")
            if why is None:
                _record(answer, self.report)
        except ReaderCrashed as error:
            why = f"{error} while it planned the run of the manifest's config"
        if why is not None:
            self._not_gone_back(why)
        return why is None

    def _config(self, predicate: Predicate) -> str:
        """The run's config, with its revocation lists where they are given."""
        if not self.lists:
            return predicate.varies.config
        from gristmill.pipeline.audit.revoked import with_lists

        return with_lists(predicate.varies.config, self.lists)

    def _not_gone_back(self, why: str) -> None:
        """Says why the input was not compared. It was asked for, so the output is not verified without it."""
        for name in BACK:
            self.report.unread(name, why)
        self.sources = None

    def _right_bytes(self, entry: Entry, told: Deferred) -> bool:
        """Whether a file has its SHA-256, found out once: files of several tasks are looked at before any task is."""
        if entry not in self.right:
            told.bytes_read += entry.size
            self.right[entry] = _bytes_as_listed(entry, told)
        return self.right[entry]


def _answer(
    reader: ReaderProcess, function: str, job: Any, size: int, check: str, files: Sequence[Entry], told: Deferred
) -> Mapping[str, Any] | None:
    """The answer to one request about files, its findings told; None when it could not be answered."""
    try:
        answer: dict[str, Any] = ask(reader, function, job, size)
    except ReaderCrashed as error:
        _tell_ended(error, check, files, told)
        return None
    _record(answer, told)
    return answer


def _tell_ended(error: ReaderCrashed, check: str, files: Sequence[Entry], told: Deferred) -> None:
    for entry in files:
        told.unread(check, f"{error} while it read the files of task {entry.task}", file=entry.path)


def _record(answer: Mapping[str, Any], told: Deferred | Report) -> None:
    for name, count in answer["seen"].items():
        told.saw(name, count)
    for finding in answer["findings"]:
        name, message = finding.pop("check"), finding.pop("message")
        (told.unread if finding.pop("unread", False) else told.fail)(name, message, **finding)


def _bytes_as_listed(entry: Entry, told: Deferred) -> bool:
    told.saw("sha256")
    try:
        found = sha256_within(entry.folder, entry.path, entry.size)
    except (OSError, GristmillError) as error:
        told.unread("sha256", reason(error) if isinstance(error, OSError) else str(error), file=entry.path)
    else:
        if found == entry.sha256:
            return True
        found = found or f"that of another file: this one has more than the {entry.size} bytes listed"
        told.fail("sha256", f"expected {entry.sha256}, found {found}", file=entry.path)
    for check in ("pages", "content"):
        told.unread(check, "not read, since its SHA-256 is wrong or unknown", file=entry.path)
    return False
