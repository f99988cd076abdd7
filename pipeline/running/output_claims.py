"""A run's claims on its outputs: taken before anything is written there, given up when the manifests stand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.lease import Lease, is_claim
from gristmill.pipeline.planning.graph import Output
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.statement import read_manifest
from gristmill.pipeline.storage import exists, is_remote, join, list_files, local, names_in, remove, sha256_of
from gristmill.pipeline.writing.attempt import attempt_folder, attempt_name, is_attempt, published_before


class OutputClaims:
    """Holds all outputs of a plan.

    Args:
        plan: the run.
        work: its work folder, for the messages that others get.
        waiting: see `Lease`.

    On entry raises StorageError when another run holds an output, ConfigError when one holds what is not this run's.
    """

    def __init__(self, plan: Plan, work: str, waiting: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        # In one order for all runs, so that of two that share outputs one gets them all.
        self._outputs = sorted(plan.graph.outputs, key=lambda output: output.config.path)
        says = {"run": plan.key, "attempt": attempt_name(plan.key), "work": work}
        self._leases = {
            output.name: Lease(output.config.path, f"the output `{output.name}`", says, waiting)
            for output in self._outputs
        }
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> OutputClaims:
        with contextlib.ExitStack() as stack:
            for output in self._outputs:
                refuse_taken(self.plan, output)
                stack.enter_context(self._leases[output.name])
            try:
                for output in self._outputs:
                    refuse_taken(self.plan, output)
                    self._clear(output, self._leases[output.name])
            except ConfigError:
                for lease in self._leases.values():
                    if not lease.superseded:
                        lease.done()  # nothing is left there of a run that was refused
                raise
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raises StorageError when an output is no longer this run's."""
        for lease in self._leases.values():
            lease.check()

    def done(self) -> None:
        """The outputs are published: what is left of the attempt goes, and on exit the claims."""
        for output in self._outputs:
            remove(attempt_folder(self.plan, output))
            self._leases[output.name].done()

    def _clear(self, output: Output, lease: Lease) -> None:
        """Refuses an output with files of somebody else, and removes what runs that are gone have left in it.

        What is removed is the attempt folders that their claims name; nobody but their runs ever wrote there.
        """
        folder, attempt = output.config.path, attempt_folder(self.plan, output)
        left = {str(says["attempt"]) for says in lease.superseded if is_attempt(says.get("attempt"))}
        left.discard(attempt_name(self.plan.key))
        ours = left | {attempt_name(self.plan.key)}
        others = [name for name in names_in(folder) if name not in ours and not is_claim(name)]
        if others:
            own = published_before(attempt)
            for path in list_files(folder):
                if path.partition("/")[0] in ours or is_claim(path):
                    continue
                if path not in own or sha256_of(join(folder, path)) not in own[path]:
                    rest = (
                        " Another run may have been stopped while it published: its command ends that." if left else ""
                    )
                    where = self.plan.config.where(f"outputs.{output.name}.path")
                    raise ConfigError(
                        f"{where}: {folder} holds files that are not a Gristmill output (`{path}`). Choose an empty or "
                        f"a new folder.{rest}"
                    )
        for name in sorted(left):
            remove(join(folder, name))
        lease.forget()


def refuse_taken(plan: Plan, output: Output) -> None:
    """Raises ConfigError for an output that holds another run's result, or is a file."""
    path = output.config.path
    where = plan.config.where(f"outputs.{output.name}.path")
    if not is_remote(path) and local(path).is_file():
        raise ConfigError(f"{where}: {path} is a file. Choose an empty or a new folder.")
    manifest = read_manifest(path)
    if manifest is not None and manifest.run != plan.key:
        raise ConfigError(
            f"{where}: {path} already holds the result of another run (other input, config, stages or seed). Give this run "
            "another folder with --output, or remove that one first."
        )
    if manifest is None and exists(path) and not any(is_claim(name) or is_attempt(name) for name in names_in(path)):
        files = list_files(path)
        if files:
            raise ConfigError(
                f"{where}: {path} holds files that are not a Gristmill output (`{files[0]}`). Choose an empty or a new folder."
            )


def sweep(plan: Plan, work: str) -> None:
    """Removes what is left, in the outputs of a finished run, of claims and attempts: it was stopped in the end."""
    for output in plan.graph.outputs:
        names = names_in(output.config.path)
        if any(is_claim(name) or name == attempt_name(plan.key) for name in names):
            lease = Lease(output.config.path, f"the output `{output.name}`", {"run": plan.key, "work": work})
            with lease:
                remove(attempt_folder(plan, output))
                lease.done()
