"""`gristmill run`: a config on an executor, with progress while it is on and the funnel at its end."""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.launch.commands.keys import attest_finished
from gristmill.launch.plugins import plugin_folders
from gristmill.launch.presets import ConfigText, read_config
from gristmill.launch.terminal.console import err, out, say, say_json
from gristmill.launch.terminal.funnel import end_rows, funnel_json, print_funnel
from gristmill.launch.terminal.losses import loss_lines, losses_json
from gristmill.launch.terminal.numbers import count, documents, duration, size
from gristmill.launch.terminal.progress import JSON_SECONDS, Display, JsonProgress, PlainProgress, progress_display
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stopping import GRACE_SECONDS, set_grace

if TYPE_CHECKING:
    from gristmill.pipeline.executor import Executor
    from gristmill.pipeline.executor.ray import RayExecutor
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.running.engine import RunResult
    from gristmill.pipeline.running.reuse import Reuse


FILES_WORTH_RAY = 4096
"""Files from which on `--executor auto` starts Ray to look at them: this process takes about a millisecond for each, and more
on an object store."""


@dataclass(frozen=True)
class RunOptions:
    """The arguments of `gristmill run`."""

    config: str
    executor: str = "auto"
    workers: int | None = None
    address: str | None = None
    overrides: Sequence[str] = ()
    output: str | None = None
    plugins: Sequence[str] = ()
    rehash: bool = False
    keep_work: bool = False
    reuse: str | None = None
    quiet: bool = False
    json: bool = False
    key: str | None = None
    previous: str | None = None
    progress: str = "auto"
    progress_file: str | None = None
    grace: int = GRACE_SECONDS


def run(options: RunOptions) -> int:
    """Runs a config and prints what became of the documents. Returns the exit code.

    Raises GristmillError for what is wrong with the config, the data or the storage.
    """
    set_grace(options.grace)
    text = read_config(options.config)
    with _display(options) as progress, contextlib.ExitStack() as stack:
        begun = None
        if _is_ray(options) and not options.plugins:  # whose folders are known when the config is read
            begun = _begin_ray(options, text)  # before our own imports, which take as long
        try:
            from gristmill.pipeline.planning.config import load
            from gristmill.pipeline.provenance.attestation import Attestation
            from gristmill.pipeline.provenance.key_files import find_signing_key

            # First of all: a key that cannot be used must not show after hours of work.
            attestation = Attestation(find_signing_key(options.key), options.previous)
            progress.note(f"reading {text.name}")
            config = load(
                text.text, text.name, overrides=options.overrides, output=options.output, plugins=options.plugins
            )
        except BaseException:
            if begun is not None:
                atexit.register(begun.abandon)  # what is wrong is told at once, and not when Ray has started
            raise
        from gristmill.pipeline.kernel_cache import compiling_told
        from gristmill.pipeline.planning.plan import make_plan
        from gristmill.pipeline.running.engine import Engine
        from gristmill.pipeline.running.reuse import reusable
        from gristmill.pipeline.running.status import Reporter

        hint = _CompilingHint(progress)
        stack.enter_context(compiling_told(hint))  # before planning, which may compile the first of them
        if _is_ray(options) and begun is None:
            begun = _begin_ray(options, text)
        workers = _Workers(options, begun, stack)
        try:
            plan = make_plan(config, workers.for_files)
            reuse = None if options.reuse is None else reusable(plan, options.reuse)
        except BaseException:
            workers.abandon()
            raise
        chosen, why = _chosen(options, plan, workers.started, reuse)
        progress.note(f"{_headline(plan)}; starting {why}")
        executor = workers.ray() if chosen == "ray" else workers.inline()
        engine = Engine(
            plan,
            executor,
            listener=progress,
            rehash=options.rehash,
            keep_work=options.keep_work,
            command=["gristmill", *sys.argv[1:]],
            attestation=attestation,
            reuse=reuse,
            compiling=hint if chosen == "ray" else None,
        )
        progress.follow(Reporter(plan, engine.watch, executor.workers, JSON_SECONDS).status)
        if options.address is not None and not options.address.startswith("ray://"):  # whose driver is no process of it
            from gristmill.launch.terminal.ray_metrics import RayMetrics

            metrics = stack.enter_context(RayMetrics())
            metrics.follow(Reporter(plan, engine.watch, executor.workers, JSON_SECONDS).status)
        result = engine.run()
    if result.already_done:
        attest_finished(result, attestation)
    if options.json:
        say_json(result_json(result))
    elif not options.quiet:
        report(result, reuse)
        if attestation.key is not None:
            say(f"signed by {attestation.key.key_id}")
        if has_answers(plan):
            from gristmill.launch.quickstart.summary import report_quickstart

            return report_quickstart(out(), plan)
    return 0


class _CompilingHint:
    """Says once that kernels are compiled, here or by a worker."""

    def __init__(self, progress: Display) -> None:
        self._progress, self._said = progress, False

    def __call__(self, seconds: float) -> None:
        if not self._said:
            self._said = True
            self._progress.hint(f"compiling kernels, once on this machine: about {duration(seconds)}")


def has_answers(plan: Plan) -> bool:
    """Whether the run curates the small web, whose right answers are known."""
    return any(spec.config.format == "small_web" for spec in plan.config.sources)


def _headline(plan: Plan) -> str:
    stored = sum(one.bytes for one in plan.slices)
    return (
        f"{plan.config.name}: {count(len(plan.slices))} slices of {size(stored)}, {len(plan.graph.nodes)} stages in "
        f"{len(plan.passes)} pass{'es' if len(plan.passes) != 1 else ''}"
    )


def _is_ray(options: RunOptions) -> bool:
    """Whether the arguments alone say that tasks run on Ray."""
    if options.executor == "inline":
        if options.workers not in (None, 1) or options.address is not None:
            raise ConfigError("--executor inline is one process: leave --workers and --address out, or take `ray`.")
        return False
    return options.executor == "ray" or options.address is not None or options.workers is not None


def _chosen(options: RunOptions, plan: Plan, started: bool = False, reuse: Reuse | None = None) -> tuple[str, str]:
    """`inline` or `ray`, and in words where tasks run, and why. `started`: Ray was needed already, to plan so many files."""
    from gristmill.pipeline.running.costs import RAY_SECONDS, core_seconds

    if _is_ray(options):
        return "ray", f"on the Ray cluster {options.address}" if options.address else "Ray on this machine"
    if options.executor == "inline":
        return "inline", "in this process"
    seconds = core_seconds(plan, frozenset() if reuse is None else reuse.nodes)
    if seconds <= RAY_SECONDS and not started:
        return "inline", f"in this process (about {duration(seconds)} of work, less than Ray's start)"
    return "ray", f"Ray on this machine (about {duration(seconds)} of work for one core)"


def _begin_ray(options: RunOptions, text: ConfigText) -> RayExecutor:
    """Ray as the arguments say, which starts while the run is planned."""
    from gristmill.pipeline.executor.ray import RayExecutor
    from gristmill.pipeline.running.worker_start import Preparation, prepare

    executor = RayExecutor(options.workers, options.address, plugin_folders(options.plugins))
    executor.start(prepare, Preparation(text.text, text.name, options.overrides, options.output, options.plugins))
    return executor


@contextlib.contextmanager
def _display(options: RunOptions) -> Iterator[Display]:
    shown = Display() if options.quiet else progress_display(err())
    if not options.quiet and options.progress == "plain":
        shown = PlainProgress(err())
    elif not options.quiet and options.progress == "json":
        shown = JsonProgress(sys.stderr)
    with contextlib.ExitStack() as stack:
        if options.progress_file is not None:
            try:
                stream = stack.enter_context(open(options.progress_file, "a", encoding="utf-8"))
            except OSError as error:
                from gristmill.pipeline.storage import reason

                raise ConfigError(
                    f"--progress-file {options.progress_file}: cannot be written: {reason(error)}"
                ) from error
            shown = JsonProgress(stream, shown)
        yield stack.enter_context(shown)


class _Workers:
    """Where tasks run. Ray is entered when it is first asked for: by a plan of many files, or by the run."""

    def __init__(self, options: RunOptions, begun: RayExecutor | None, stack: contextlib.ExitStack) -> None:
        self._options, self._begun, self._stack = options, begun, stack
        self._entered: Executor | None = None

    @property
    def started(self) -> bool:
        """Whether Ray was asked for."""
        return self._entered is not None

    def ray(self) -> Executor:
        """Ray, as the arguments say."""
        if self._entered is None:
            from gristmill.pipeline.executor.ray import RayExecutor

            made = self._begun or RayExecutor(
                self._options.workers, self._options.address, plugin_folders(self._options.plugins)
            )
            self._begun, self._entered = None, self._stack.enter_context(made)
        return self._entered

    def for_files(self, files: int) -> Executor | None:
        """Workers that look at so many files of a plan, where the arguments allow for them and they are worth their start."""
        if self._options.executor == "inline" or not (_is_ray(self._options) or files > FILES_WORTH_RAY):
            return None
        return self.ray()

    def inline(self) -> Executor:
        """This process."""
        from gristmill.pipeline.executor.inline import InlineExecutor

        return InlineExecutor()

    def abandon(self) -> None:
        """Ends what began to start and nobody has asked for."""
        if self._begun is not None:
            self._begun.abandon()


def report(result: RunResult, reuse: Reuse | None = None) -> None:
    """The end of a run for a person: what was done, the funnel, where the outputs are, what to do next."""
    from gristmill.launch.commands.plan import notices

    plan, console = result.plan, out()
    say(_verdict(result))
    if reuse is not None and not result.already_done:
        for line in reuse_lines(result, reuse):
            say(line)
    if plan.graph.notices:
        say()
        say("notes")
        for line in notices(plan):
            say(line)
    say()
    print_funnel(console, result.accounts, graph_order(plan))
    say()
    paths = {output.name: output.config.path for output in plan.graph.outputs}
    # Accounts count the bytes that a document came with, so that what goes in comes out, whatever stages do to texts.
    text = "text as it was read" if any(node.spec.changes_text for node in plan.graph.nodes) else "text"
    for row in end_rows(result.accounts, list(paths)):
        where = f" in {paths[row.name]}" if row.kind == "output" else " (discarded, as the config says)"
        say(f"{row.name}: {documents(row.amount.documents)}, {size(row.amount.bytes)} of {text}{where}")
        for line in kind_lines(paths[row.name]) if row.kind == "output" else ():
            say(f"  {line}")
    if not has_answers(plan):
        lost = loss_lines(plan, result.accounts, max(60, console.width))
        if lost:
            say()
            say("look at this")
            for line in lost:
                say(f"  {line}".rstrip())
        first = next(iter(paths.values()))
        say()
        say(f"See it:           gristmill report {first} --html report.html")
        say(f"Look at it:       gristmill explore {first}")
        say(f"Verify it:        gristmill audit {first}")
        say(f"Follow one:       gristmill explain {first} ID")


def kind_lines(folder: str) -> list[str]:
    """What else an output was written as: format, files, and tokens where it has any."""
    from gristmill.pipeline.provenance.kinds import units
    from gristmill.pipeline.provenance.statement import read_manifest

    manifest = read_manifest(folder)
    if manifest is None:
        return []
    settings = manifest.identity.outputs[manifest.output].kinds
    lines = []
    for name, totals in manifest.kinds.items():
        format_ = settings[name].format
        amount = f", {count(totals.units)} tokens" if units(format_) == "tokens" else ""
        lines.append(f"also as {format_}: {folder}/kinds/{name}, {count(totals.files)} files{amount}")
    return lines


def reuse_lines(result: RunResult, reuse: Reuse) -> list[str]:
    """Whose signals were taken from another output, and whose were not, and why."""
    total = count(len(result.plan.slices))
    taken = [f"{name} ({count(slices)} of {total} slices)" for name, slices in result.reused_signals.items()]
    lines = [f"signals from {reuse.folder}: {', '.join(taken) or 'none'}"]
    if min(result.reused_signals.values(), default=0) < len(result.plan.slices):
        lines.append("measured here: slices that are not there, or not with this content")
    return lines + [f"measured here: {name}, since {why}" for name, why in reuse.measured.items()]


def graph_order(plan: Plan) -> list[str]:
    """Sources, then nodes in graph order."""
    return [*plan.graph.sources, *(node.name for node in plan.graph.nodes)]


def _verdict(result: RunResult) -> str:
    plan = result.plan
    text = sum(
        result.accounts.nodes[name].entered.bytes for name in plan.graph.sources if name in result.accounts.nodes
    )
    if result.already_done:
        return f"{plan.config.name}: done before, with this very config and input; nothing was computed"
    line = f"{plan.config.name}: done in {duration(result.seconds)}"
    if result.reused_tasks:
        total = len(plan.slices) * len(plan.passes)
        return f"{line}; {count(result.reused_tasks)} of {count(total)} tasks were there from an interrupted attempt"
    # Of a few megabytes, starting up would be most of what is measured.
    return f"{line}, {size(text / result.seconds)}/s of text" if text >= 50e6 and result.seconds > 0 else line


def result_json(result: RunResult) -> dict[str, Any]:
    """A run for programs."""
    plan = result.plan
    scored = {}
    if has_answers(plan):
        from gristmill.launch.quickstart.summary import score_run

        scored = {"score": score_run(plan).to_json()}
    return {
        "name": plan.config.name,
        "run": plan.key,
        "already_done": result.already_done,
        "seconds": round(result.seconds, 3),
        "tasks": len(plan.slices) * len(plan.passes),
        "reused_tasks": result.reused_tasks,
        "reused_signals": dict(result.reused_signals),
        "outputs": {
            output.name: {"path": output.config.path, "manifest": result.manifests[output.name]}
            for output in plan.graph.outputs
        },
        "funnel": funnel_json(result.accounts, graph_order(plan)),
        "reports": {name: dict(value) for name, value in result.reports.items()},
        "notices": list(plan.graph.notices),
        **losses_json(plan.graph, result.accounts),
        **scored,
    }
