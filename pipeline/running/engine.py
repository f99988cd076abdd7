"""The run: passes over tasks, settling between them, accounts checked all along, outputs published at the end."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.pipeline.errors import ConfigError, DataError, StorageError
from gristmill.pipeline.executor import Executor, SetAside
from gristmill.pipeline.lease import Lease
from gristmill.pipeline.planning.config import RunConfig
from gristmill.pipeline.planning.folder_checks import check_places
from gristmill.pipeline.planning.kept_reads import reads_kept
from gristmill.pipeline.planning.plan import Pass, Plan, check_ready
from gristmill.pipeline.planning.plan_file import write_plan
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount
from gristmill.pipeline.provenance.attestation import Attestation
from gristmill.pipeline.provenance.record_index import RecordIndex, TaskDone
from gristmill.pipeline.provenance.statement import Lineage, read_manifest
from gristmill.pipeline.provenance.task_record import uncommit
from gristmill.pipeline.running.capacity import check_capacity
from gristmill.pipeline.running.output_claims import OutputClaims, refuse_taken, sweep
from gristmill.pipeline.running.progress import Listener, Progress, Watch
from gristmill.pipeline.running.resuming import committed_before, tasks_with_records
from gristmill.pipeline.running.reuse import Reuse
from gristmill.pipeline.running.set_aside import TasksSetAside
from gristmill.pipeline.running.settling import settle
from gristmill.pipeline.running.status import StatusFile
from gristmill.pipeline.running.task import run_task
from gristmill.pipeline.running.task_input import TaskInput
from gristmill.pipeline.running.task_keys import TaskKeys
from gristmill.pipeline.slices.settled import SettledFiles
from gristmill.pipeline.storage import is_remote, join, local, probe_conditions
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.file_totals import SourceRead
from gristmill.pipeline.writing.kinds.publish import check_kinds
from gristmill.pipeline.writing.run_files import finish_outputs
from gristmill.pipeline.writing.sample_limits import KnownLimits, known_limits

MIN_QUARANTINED = 10
"""A run never fails for this many unreadable records or fewer."""


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    plan: Plan
    accounts: Accounts
    manifests: Mapping[str, str]
    seconds: float
    reused_tasks: int
    reports: Mapping[str, Mapping[str, Any]]
    already_done: bool = False
    reused_signals: Mapping[str, int] = field(default_factory=dict)
    """By node, the slices whose signals were taken from another run's output."""


class Engine:
    """One run of a plan on an executor.

    Args:
        plan: what to do.
        executor: where tasks run.
        listener: is given the progress after each task. `watch` has a view of the run at any moment, for any thread.
        rehash: read every slice again on resume instead of trusting size and mtime or ETag.
        keep_work: leave the work folder in place after success.
        command: how the run was started, for the manifest.
        attestation: what signs the manifests, and which run they follow.
        reuse: the output whose signals are taken instead of measuring.
        compiling: told that a worker compiles kernels, with about how many seconds that takes, in any thread.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        *,
        listener: Listener | None = None,
        rehash: bool = False,
        keep_work: bool = False,
        command: Sequence[str] = (),
        attestation: Attestation | None = None,
        reuse: Reuse | None = None,
        compiling: Callable[[float], None] | None = None,
    ) -> None:
        self.compiling = compiling
        self.reuse = reuse or Reuse()
        self.plan, self.listener = plan, listener
        self.watch = Watch(plan, executor.workers, reused=self.reuse.nodes)
        self.executor = self.watch.watched(executor)
        self.rehash, self.keep_work, self.command = rehash, keep_work, tuple(command)
        self.attestation = attestation or Attestation()
        self.place = work_folder(plan.config)
        self.work = WorkFolder(self.place)
        self.progress = Progress(plan)
        self.read: dict[str, SourceRead] = {}
        self.left = array("i")
        """Tasks of which earlier attempts left records."""
        self.status: StatusFile | None = None
        self.reads: str | None = None
        """Where workers on this machine keep what they decoded."""
        self.reports: dict[str, Mapping[str, Any]] = {}
        self.settled: dict[str, Sequence[SettledFiles]] = {}
        self.settled_digests: dict[str, str] = {}

    def run(self) -> RunResult:
        """Runs the plan to its end.

        Raises ConfigError for outputs that are taken, DataError when the data stop the run, StorageError for storage;
        the work folder stays then, and the same command goes on from there.
        """
        begin = time.monotonic()
        done = self._finished_before()
        if done is not None:
            self._remove_leftovers()
            return done
        check_places(self.plan, self.place)
        check_ready(self.plan)
        check_kinds(self.plan)
        check_capacity(self.plan, self.executor)
        for place in {self.place, *(output.config.path for output in self.plan.graph.outputs)}:
            if is_remote(place):
                probe_conditions(place)
        for output in self.plan.graph.outputs:
            refuse_taken(self.plan, output)
        links = self.attestation.links([output.name for output in self.plan.graph.outputs])
        with Lease(self.place, "this work folder", waiting=self._say) as lease:
            result = self._finished_before()
            if result is None:
                result = self._run(lease, links, begin)
            # else another driver came to the end while this one waited for nothing but the lease
            if not self.keep_work:
                self.work.remove()  # under the lease, so that no other driver has begun to work in it
                lease.done()
        if not self.keep_work:
            self.work.remove_place()
        return result

    def _run(self, lease: Lease, links: Mapping[str, Lineage], begin: float) -> RunResult:
        self.work.make()
        self.status = StatusFile(
            self.plan,
            self.watch,
            self.executor.workers,
            self.work.root,
            lambda: lease.lost is None,
            self.compiling,
        )
        with self.status, reads_kept() as kept, OutputClaims(self.plan, self.place, self._say) as claims:

            def check() -> None:
                lease.check()
                claims.check()

            if self.executor.workers > 1 and len(self.plan.passes) > 1:
                self.reads = kept.for_workers(self.plan.slices)
            plan_file, plan_digest = self._write_plan()
            records = RecordIndex(len(self.plan.slices), len(self.plan.passes))
            self.left = tasks_with_records(self.work, len(self.plan.slices))
            accounts = Accounts()
            for one in self.plan.passes:
                accounts = self._pass(one, plan_file, plan_digest, records)
                check()
                self._check_quarantine(accounts)
                self._check_irreproducible(accounts)
                self._check_expect(one, accounts)
                for name in one.settles_after:
                    self._settle(name, one, records)
                    check()
            self._say("publishing")
            if not self.keep_work:
                self.work.mark_done_with(self.plan.key)
            manifests = finish_outputs(
                self.plan,
                self.work,
                records,
                self.read,
                accounts,
                self.settled_digests,
                self.reports,
                self.command,
                self.executor,
                links,
                self.attestation.key,
                check,
            )
            claims.done()
        seconds = time.monotonic() - begin
        reused = self.reuse.counts(self.plan.slices, records)
        return RunResult(
            self.plan, accounts, manifests, seconds, self.progress.reused, self.reports, reused_signals=reused
        )

    # Before the first pass

    def _finished_before(self) -> RunResult | None:
        found = {}
        for output in self.plan.graph.outputs:
            manifest = read_manifest(output.config.path)
            if manifest is None or manifest.run != self.plan.key:
                return None
            if manifest.varies.stamps != self.plan.stamps():
                raise ConfigError(
                    f"{self.plan.config.where(f'outputs.{output.name}.path')}: {output.config.path} holds the result of this "
                    "run, but its input files were changed or touched since. Give this run another folder with --output, "
                    "or remove that one first."
                )
            found[output.name] = manifest
        accounts = next(iter(found.values())).accounts
        paths = {output.name: join(output.config.path, "manifest.json") for output in self.plan.graph.outputs}
        reports = next(iter(found.values())).reports
        # What decides nothing about the result may differ from the config that made it: it is held to this one.
        rest = "The outputs of the previous run are unchanged"
        self._check_quarantine(accounts, rest=rest)
        for one in self.plan.passes:
            self._check_expect(one, accounts, rest=rest)
        return RunResult(self.plan, accounts, paths, 0.0, len(self.plan.slices), reports, already_done=True)

    def _remove_leftovers(self) -> None:
        """Ends what a finished run was stopped in the middle of: giving up its claims, removing its work folder."""
        # Whoever else holds a lease is removing the same things, and may have come to the end of that.
        with contextlib.suppress(StorageError, FileNotFoundError):
            sweep(self.plan, self.place)
        if self.keep_work or not self.work.is_left_behind(self.plan.key):
            return
        with contextlib.suppress(StorageError, FileNotFoundError):
            with Lease(self.place, "this work folder") as lease:
                self.work.remove()
                lease.done()
            self.work.remove_place()

    def _write_plan(self) -> tuple[str, str]:
        path = self.work.at(f"plan-{self.plan.key[:32]}.json")
        return path, write_plan(self.plan, path)

    # Passes

    def _pass(self, one: Pass, plan_file: str, plan_digest: str, records: RecordIndex) -> Accounts:
        self.progress.pass_index, self.progress.tasks_done = one.index, 0
        self.progress.documents = self.progress.text_bytes = 0
        self.progress.accounts = Accounts()
        self.read = {}
        name = f"pass {one.index + 1} of {len(self.plan.passes)}"
        self._say(name)
        keys, rehash = TaskKeys(self.plan, one.index, self.settled_digests), self.rehash and one.index == 0

        def key(task: int) -> str:
            return keys.key(self.plan.slices[task], records.slice_digest(task) if one.index else None)

        limits: tuple[KnownLimits, ...] = ()

        def jobs() -> Iterator[TaskInput]:
            for task, piece in enumerate(self.plan.slices):
                if records.has(one.index, task):
                    continue
                if rehash:
                    uncommit(self.work, task, one.index, key(task))
                settled = {node: files[task] for node, files in self.settled.items()}
                before = records.preceding(one.index, task)
                begun.append(task)
                reused = self.reuse.of(piece, one.measures)
                place = self.place, plan_file, plan_digest
                yield TaskInput(
                    *place, task, one.index, piece, key(task), before, settled, reused, limits, reads=self.reads
                )

        begun = array("i")
        if not rehash:
            plan = plan_file, plan_digest
            for before in committed_before(self.executor, self.work, plan, one.index, one.final, key, self.left):
                self.progress.accounts.add(before.accounts)
                for done in before.done:
                    self.progress.reused += 1
                    self._told(done, records, reused=True)
        if one.final and self.progress.tasks_done < len(self.plan.slices):
            limits = known_limits(self.plan, self.work, records, self.executor)
        aside = TasksSetAside(self.work.root, name, len(self.plan.slices))
        for index, found in self.executor.run_independent(run_task, jobs(), self.plan.resources(one)):
            if isinstance(found, SetAside):
                aside.add(begun[index], found)
            else:
                self._told(found, records)
        aside.check()
        accounts = self.progress.accounts
        accounts.check(name)
        return accounts

    def _told(self, done: TaskDone, records: RecordIndex, reused: bool = False) -> None:
        records.add(done)
        self.progress.tasks_done += 1
        self.progress.documents += done.slice.rows
        self.progress.text_bytes += done.slice.text_bytes
        self.progress.accounts.add(done.accounts)
        read = self.read.setdefault(done.slice.source, SourceRead())
        read.slices += 1
        read.rows += done.slice.rows
        read.rejects += done.slice.rejects
        read.text_bytes += done.slice.text_bytes
        self.watch.committed(done, reused, self.progress.accounts)
        if done.pass_ == 0:
            self._check_quarantine(self.progress.accounts, final=False)
        self._say(self.progress.stage)

    def _say(self, stage: str) -> None:
        begins, self.progress.stage = stage != self.progress.stage, stage
        self.watch.told(self.progress)
        if begins and self.status is not None:
            self.status.changed()
        if self.listener is not None:
            self.listener(self.progress)

    def _check_quarantine(self, accounts: Accounts, final: bool = True, rest: str = "Nothing was published") -> None:
        """Stops a run that sets too much aside. While it is on, the whole planned input is the base, so that it stops
        early only when the end is certain."""
        quarantined = [account.quarantined for account in accounts.nodes.values()]
        rows, size = sum(q.rows for q in quarantined), sum(q.bytes for q in quarantined)
        base = self.plan.stored_bytes
        if final:
            base = max(1, sum(accounts.nodes[n].entered.bytes for n in self.plan.graph.sources if n in accounts.nodes))
        if rows > MIN_QUARANTINED and size > self.plan.config.max_quarantined * base:
            worst = [
                f"{name}: {rule} {hits.first[0]}"
                for name, account in accounts.nodes.items()
                if account.quarantined.rows
                for rule, hits in account.rules.items()
            ]
            raise DataError(
                f"{rows} records ({size} bytes, {size / base:.2%} of the input) are in quarantine, more than "
                f"max_quarantined: {self.plan.config.max_quarantined:.2%} allows ({'; '.join(worst)}). {rest}. "
                "Look at the input, or raise `max_quarantined` if this is what you expect."
            )

    def _check_irreproducible(self, accounts: Accounts) -> None:
        """Stops a run in which too many decisions depend on the machine, such as those of time limits."""
        for node in self.plan.graph.nodes:
            account = accounts.nodes.get(node.name)
            for rule, most in node.spec.irreproducible.items():
                rows = 0 if account is None or rule not in account.rules else account.rules[rule].first[0]
                if account is not None and rows > max(MIN_QUARANTINED, most * account.entered.rows):
                    raise DataError(
                        f"{self.plan.config.where(f'stages.{node.name}')}: {rows} of {account.entered.rows} documents have the "
                        f"rule `{rule}`, which depends on the machine; a share of {most:g} may. Nothing was published. Give "
                        "the stage more time or memory, or run it where less else runs."
                    )

    def _check_expect(self, one: Pass, accounts: Accounts, rest: str | None = None) -> None:
        if rest is None:
            rest = (
                f"Nothing was published; signals are kept in {self.work.root}, so a run with other thresholds reads them "
                "instead of computing them"
            )
        for name, shares in self.plan.config.expect.items():
            if self.plan.decided_in.get(name, 0) != one.index:
                continue
            account = accounts.nodes.get(name, NodeAccount())
            total = account.entered.rows
            for what, (least, most) in shares.items():
                count = {
                    "emitted": account.kept.rows,
                    "dropped": account.dropped.rows,
                    "quarantined": account.quarantined.rows,
                    **{port: tally.rows for port, tally in account.ports.items()},
                }[what]
                share = count / total if total else 0.0
                if not least <= share <= most:
                    raise DataError(
                        f"{self.plan.config.where(f'expect.{name}.{what}')}: expected a share from {least} to {most}, "
                        f"found {share:.4f} ({count} of {total} rows). {rest}."
                    )

    def _settle(self, name: str, one: Pass, records: RecordIndex) -> None:
        self._say(f"settling {name}")
        node = self.plan.graph.by_name[name]
        context = self.plan.graph.context(node, decides=True, work=self.work.kept)
        budget, prior = self.plan.config.exchange_bytes, self.plan.prior.get(name, ())
        fingerprint = self.plan.fingerprints[name].full
        answer = settle(node, fingerprint, records, one.index, self.work, self.executor, context, budget, prior)
        self.reports[name] = answer.report
        self.settled_digests[name] = answer.digest
        self.settled[name] = answer.files


def work_folder(config: RunConfig) -> str:
    """Where a run keeps its work: `work:`, else beside the first output. Must be storage that all nodes share."""
    place = config.work or f"{next(iter(config.outputs.values())).path.rstrip('/')}.work"
    return place.rstrip("/") if is_remote(place) else str(local(place))
