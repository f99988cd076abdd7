"""The command `gristmill`. Imports nothing heavy before a command needs it, so that help comes at once."""

from __future__ import annotations

import io
import os
import sys
import traceback
from enum import StrEnum
from typing import Annotated, Any

import typer

from gristmill.launch.commands.cluster_commands import add_cluster_commands
from gristmill.launch.commands.evaluate import evaluate
from gristmill.launch.commands.export_commands import add_export_commands
from gristmill.launch.commands.new import new
from gristmill.launch.commands.options import (
    BesideOption,
    ConfigArgument,
    JsonOption,
    OutputOption,
    PluginOption,
    RemovalKeyOption,
    RevokedOption,
    SetOption,
)
from gristmill.launch.commands.removal_commands import add_removal_commands
from gristmill.launch.commands.signing_keys import keys
from gristmill.launch.commands.train import train
from gristmill.launch.commands.view_commands import add_view_commands
from gristmill.launch.signals import STOPPED, signals_of_libraries, stopping_at_signals
from gristmill.pipeline.errors import ConfigError, GristmillError, with_place
from gristmill.pipeline.key_variable import refuse_key_text, withdraw_key
from gristmill.pipeline.stopping import GRACE_SECONDS, MOST_GRACE_SECONDS, Stopped

DEBUG = "--debug"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

# typer has exported click's errors only in part, and carries its own copy of click since 0.20: these are the classes of
# whichever click it uses.
_UsageError: Any = typer.BadParameter.__base__
_ClickError: Any = _UsageError.__base__

app = typer.Typer(
    name="gristmill",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Turns raw documents into a pretraining corpus: a YAML graph of stages, on Ray, over Parquet, with a "
    "provenance log on every shard.",
    epilog="""\b
Start here:
  gristmill run quickstart         curate a small web that ships with Gristmill
  gristmill sample docs.parquet    what would be kept of your documents, and why
  gristmill init docs.parquet      write a first config for them

Exit codes: 0 done; 2 the config or the arguments are wrong; 3 the data stopped the run; 75 stopped by
SIGTERM, SIGHUP or SIGQUIT, and the same command goes on; 130 stopped by Ctrl-C, likewise;
1 anything else. `audit` has codes of its own.""",
)
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")
app.add_typer(keys, name="keys")
app.add_typer(new, name="new")


class ExecutorName(StrEnum):
    """Values of `--executor`."""

    auto = "auto"
    inline = "inline"
    ray = "ray"


class ProgressName(StrEnum):
    """Values of `--progress`."""

    auto = "auto"
    plain = "plain"
    json = "json"


@app.callback()
def gristmill(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an unexpected error. Works anywhere on the line.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command(
    short_help="Run a config and write its outputs.",
    epilog="""\b
Examples:
  gristmill run quickstart
  gristmill run web.yaml --workers 8
  gristmill run web.yaml --set stages.minhash.bands=20 --output out/bands-20
  gristmill run web.yaml --set stages.quality.thresholds.too_few_words=20 --reuse out/corpus --output out/few-words
  gristmill run web.yaml --address ray://head:10001
  gristmill run web.yaml --key ~/.keys/corpus --previous out/2026-10 --output out/2026-11

The same command goes on where a stopped run left off. A finished one is not computed again.""",
)
def run(
    config: ConfigArgument,
    executor: Annotated[
        ExecutorName,
        typer.Option(
            help="Where tasks run: in this process (inline), or on Ray. auto: in this process what it would finish before "
            "Ray is up (about 5 s of work, by the input's bytes and the stages' costs); with --workers or --address, on "
            "Ray. Results are the same."
        ),
    ] = ExecutorName.auto,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of parallel tasks; default: one per core.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="An existing Ray cluster; default: a local one for this run.")
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
    plugin: PluginOption = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="On resume, read every input again instead of trusting size and time.")
    ] = False,
    keep_work: Annotated[bool, typer.Option("--keep-work", help="Keep the work folder at the end.")] = False,
    reuse: Annotated[
        str | None,
        typer.Option(
            metavar="OUTPUT",
            help="Take signals from this finished output instead of measuring them, to try thresholds.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Sign the manifests with this private key; else $GRISTMILL_SIGNING_KEY, if set."
        ),
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="The output of the dataset's previous run, which this one's manifest follows."
        ),
    ] = None,
    grace: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_GRACE_SECONDS,
            metavar="SECONDS",
            help="After SIGTERM, SIGHUP or SIGQUIT: the time in which tasks under way may still be committed.",
        ),
    ] = GRACE_SECONDS,
    progress: Annotated[
        ProgressName,
        typer.Option(help="On stderr: a screen on a terminal, else lines; always lines; or a JSON value per line."),
    ] = ProgressName.auto,
    progress_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the progress as JSON lines into this file, too.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Run a config: read, decide, write the outputs with their provenance."""
    from gristmill.launch.commands.run import RunOptions
    from gristmill.launch.commands.run import run as run_config

    return run_config(
        RunOptions(
            config, executor.value, workers, address, tuple(overrides or ()), output, tuple(plugin or ()), rehash,
            keep_work, reuse, quiet, as_json, key, previous, progress.value, progress_file, grace,
        )
    )  # fmt: skip


@app.command(
    short_help="Try a config on a few documents, writing nothing.",
    epilog="""\b
Examples:
  gristmill sample docs.parquet
  gristmill sample web.yaml --documents 500 --set stages.quality.on_fail=drop
  gristmill sample 'crawl/*.jsonl.zst' --show 5
  gristmill sample web.yaml --documents 5000 --near too_few_words

Nothing is written. Stages that must see the whole corpus, such as deduplication, are not judged in a sample.""",
)
def sample(
    what: Annotated[list[str], typer.Argument(metavar="CONFIG|FILE…", help="A config or preset, or data to look at.")],
    documents: Annotated[int, typer.Option(min=1, metavar="N", help="How many documents to look at.")] = 200,
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Excerpts per reason, and of kept documents.")] = 2,
    near: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="Show the documents closest to this rule's limit, on either side (or NODE.RULE)."
        ),
    ] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write it as a web page.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--with", metavar="DIR", help="Take corpus-wide decisions from this finished run's output."),
    ] = None,
    beside: BesideOption = None,
    overrides: SetOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try a config on a few documents, in this process: what is kept, what is dropped, and why."""
    from gristmill.launch.commands.sample import sample as take_sample

    taken = (what, documents, show, tuple(overrides or ()), tuple(plugin or ()), as_json, near, html)
    return take_sample(*taken, run, tuple(beside or ()))


@app.command(
    short_help="Write a first config for your data.",
    epilog="""\b
Examples:
  gristmill init docs.parquet
  gristmill init 'crawl/*.jsonl.zst' --output crawl.yaml --keep de,en""",
)
def init(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Data: files, folders or globs.")],
    output: Annotated[str | None, typer.Option(metavar="CONFIG.yaml", help="Where to write it.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="LANGUAGES", help="Languages to keep, by commas: de,en or German,eng_Latn. Default: all."),
    ] = None,
) -> int:
    """Write a first config for your data: format and columns are guessed, and the guesses are said."""
    from gristmill.launch.commands.init import init as write_config

    return write_config(files, output, tuple(keep or ()))


@app.command(
    short_help="Show what a run would do.",
    epilog="""\b
Examples:
  gristmill plan web.yaml
  gristmill plan web.yaml --with out/last-month
  gristmill plan quickstart --json""",
)
def plan(
    config: ConfigArgument,
    earlier: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="OUTPUT",
            help="Also show what budgets come to on the counts of this earlier run's output.",
        ),
    ] = None,
    overrides: SetOption = None,
    output: OutputOption = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what a run would do: graph, passes, memory and disk. Runs nothing."""
    from gristmill.launch.commands.plan import plan_config

    return plan_config(config, tuple(overrides or ()), output, tuple(plugin or ()), as_json, earlier)


@app.command(
    short_help="Verify an output.",
    epilog="""\b
Examples:
  gristmill audit out/web
  gristmill audit out/web --full
  gristmill audit out/web --full --sample 1/20
  gristmill audit out/web --full --sources data/crawl
  gristmill audit out/web --key corpus.pub --previous out/last-month
  gristmill audit out/web --trust trust.yaml --previous out/2026-09 --previous out/2026-10

Exit codes: 0 clean; 3 something could not be read; 4 warnings only; from 10 the code of the first failed check.""",
)
def audit(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="An output folder.")],
    roots: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT]...", help="With --sources: folders or URLs below which the input must lie."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also read every byte and every row; otherwise only manifests, footers and file sizes."
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option("--sample", metavar="K/N", help="Of a full audit, only the K-th of N shares of the files."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Public key, PEM, that must have signed the manifest.")
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Instead: a YAML file of trusted keys with their periods, one of which must have."
        ),
    ] = None,
    previous: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="The output of the dataset's previous run, or several of the chain, to compare."
        ),
    ] = None,
    sources: Annotated[
        bool,
        typer.Option(
            "--sources/--no-sources",
            help="In a full audit, also go back to the input: below ROOT, or wherever the config says if that is local.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes that read rows in a full audit; default: one for each core."),
    ] = None,
    require_licences: Annotated[
        bool,
        typer.Option(
            "--require-licences",
            help="Fail where a source states no licence that SPDX names, no evidence, or not who says so; otherwise list it.",
        ),
    ] = False,
    removal_key: RemovalKeyOption = None,
    revoked: RevokedOption = None,
    plugin: PluginOption = None,
    beside: BesideOption = None,
    as_json: JsonOption = False,
) -> int:
    """Verify an output: files, digests, the chain from input to shard, the accounts, the documents."""
    from gristmill.launch.commands.audit import AuditOptions
    from gristmill.launch.commands.audit import audit as audit_folder

    return audit_folder(
        AuditOptions(
            folder, full, part, key, trust, tuple(previous or ()), sources, tuple(roots or ()), tuple(plugin or ()),
            tuple(beside or ()), as_json, jobs, tuple(removal_key or ()), tuple(revoked or ()),
            require_licences,
        )
    )  # fmt: skip


@app.command(
    short_help="Show what happened to a document, and why.",
    epilog="""\b
Examples:
  gristmill explain out/web 5d41402abc4b2a76b9719d911017c592
  gristmill explain out/web "my-document-17\"""",
)
def explain(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="An output folder.")],
    ident: Annotated[
        str, typer.Argument(metavar="ID", help="A document's id, its doc_key in hexadecimal, or FILE:OFFSET.")
    ],
    roots: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT]...", help="With --sources: folders or URLs below which the input must lie."),
    ] = None,
    sources: Annotated[
        bool,
        typer.Option("--sources", help="Also look into the input for the byte at which a line of JSON lines begins."),
    ] = False,
    removal_key: RemovalKeyOption = None,
    beside: BesideOption = None,
    as_json: JsonOption = False,
) -> int:
    """Tell what happened to a document at each node: rule, value, threshold, witness.

    FILE:OFFSET is a place in a kind of the output, such as kinds/tokens/part-00000-00.bin:1234, its token 1234.
    """
    from gristmill.launch.commands.audit import explain as explain_document

    below = tuple(roots or ()) if sources or roots else None
    return explain_document(folder, ident, as_json, below, tuple(beside or ()), tuple(removal_key or ()))


@app.command(
    short_help="List stages and source formats, or describe one.",
    epilog="""\b
Examples:
  gristmill stages
  gristmill stages quality""",
)
def stages(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A stage or a source format.")] = None,
    plugin: PluginOption = None,
) -> int:
    """List stages and source formats, or one with its settings, ports, rules and columns."""
    from gristmill.launch.commands.stages import show_stages

    return show_stages(name, tuple(plugin or ()))


@app.command(
    short_help="Explain the keys of a config, or print its JSON Schema.",
    epilog="""\b
Examples:
  gristmill config
  gristmill config outputs.columns
  gristmill config max_quarantined
  gristmill config --schema > gristmill.schema.json

An editor with a YAML language server completes and checks a config whose first line is
  # yaml-language-server: $schema=gristmill.schema.json""",
)
def config(
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="A key or a section, such as outputs.columns.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON Schema of configs, for editors.")] = False,
    plugin: PluginOption = None,
) -> int:
    """Explain the keys of a config: type, default, meaning and an example."""
    from gristmill.launch.commands.config_keys import show_config

    return show_config(key, schema, tuple(plugin or ()))


@app.command(
    short_help="Derive a language's quality thresholds and stop words.",
    epilog="""\b
Examples:
  gristmill adapt ukr_Cyrl --reference wikipedia-uk.parquet
  gristmill adapt ukr_Cyrl --reference pages.jsonl --where lang=uk --english pages.jsonl --english-where lang=en
  gristmill adapt tha_Thai --reference th.parquet --stop-words th.txt --method new_line_ratio=english

Methods (Penedo et al. 2025, arXiv:2506.20920): english, mean-deviation, quantile, tail, median-ratio. The second, the third
and the last compare with --english.""",
)
def adapt(
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="A label such as ukr_Cyrl.")],
    reference: Annotated[
        list[str],
        typer.Option("--reference", metavar="FILE", help="Good text: Parquet, JSON lines, CSV, or .txt; repeatable."),
    ],
    english: Annotated[
        list[str] | None,
        typer.Option("--english", metavar="FILE", help="English text of the same kind, to compare with."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="[KEY=]NAME", help="How to choose thresholds, all or a single one; repeatable."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="COLUMN=VALUE", help="Use only rows of the reference where COLUMN equals VALUE."
        ),
    ] = None,
    english_where: Annotated[
        list[str] | None,
        typer.Option(
            "--english-where",
            metavar="COLUMN=VALUE",
            help="Use only rows of the English text where COLUMN equals VALUE.",
        ),
    ] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column of texts.")] = "text",
    stop_words: Annotated[
        str | None, typer.Option(metavar="FILE", help="Stop words, one per line, instead of the most frequent words.")
    ] = None,
    output: OutputOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing config.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Derive a language's quality thresholds and stop words from reference text, and write its config."""
    from gristmill.launch.commands.adapt import AdaptOptions
    from gristmill.launch.commands.adapt import adapt as adapt_language

    return adapt_language(
        AdaptOptions(
            language, tuple(reference), tuple(english or ()), tuple(method or ()), tuple(where or ()),
            tuple(english_where or ()), column, stop_words, output, force, as_json,
        )
    )  # fmt: skip


@app.command(
    short_help="List the presets, or print one.",
    epilog="""\b
Examples:
  gristmill presets
  gristmill presets web > my.yaml""",
)
def presets(name: Annotated[str | None, typer.Argument(metavar="NAME", help="A preset to print.")] = None) -> int:
    """List the presets, or print one as the start of a config of your own."""
    from gristmill.launch.presets import show_presets

    return show_presets(name)


add_cluster_commands(app)
add_view_commands(app)
add_export_commands(app)
add_removal_commands(app)


@app.command()
def version() -> int:
    """Print the version."""
    from gristmill.pipeline import __version__

    typer.echo(f"gristmill {__version__}")
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0, or the code of what went wrong."""
    with stopping_at_signals():
        code = run_command(sys.argv[1:] if arguments is None else arguments)
        if code in (STOPPED, INTERRUPTED) and "ray" in sys.modules and sys.modules["ray"].is_initialized():
            # At once, without the libraries' own handlers at exit: Ray's may abort the process with tasks under way.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code. Errors are printed on stderr, the first line `error: …`."""
    _tolerate_narrow_encodings()
    withdraw_key()
    # Wherever it stands: who needs it adds it to the end of a failed command.
    debug = DEBUG in arguments
    arguments = [argument for argument in arguments if argument != DEBUG]
    try:
        refuse_key_text(arguments)
        with signals_of_libraries():
            code = typer.main.get_command(app).main(arguments, prog_name="gristmill", standalone_mode=False)
        if code == INTERRUPTED:  # typer's newer versions catch Ctrl-C themselves and return this
            return _interrupted(arguments)
        return code if isinstance(code, int) else 0
    except _ClickError as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(arguments)
    except Stopped as signalled:
        rest = " What was committed is kept: the same command goes on from there." if "run" in arguments[:1] else ""
        return _fail(f"stopped by {signalled}.{rest}", STOPPED)
    except BrokenPipeError:
        # The reader has seen enough (`| head`); Python must not complain while closing.
        sys.stdout = io.StringIO()
        return 1
    except GristmillError as error:
        if debug:
            traceback.print_exc()
        return _fail(with_place(error), error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
            return 1
        from gristmill.pipeline.storage.advice import outside

        told = outside(error)
        if told is not None:
            return _fail(f"{type(error).__name__}: {error!s:.300}: {told}.", 1)
        return _fail(
            f"{type(error).__name__}: {error!s:.2000}\nThis is a defect of Gristmill or of a plugin. The same command with "
            f"{DEBUG} shows where.",
            1,
        )


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "gristmill"
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(message + "\n")
        return 0
    return _fail(f"{message}\n`{path} --help` shows what is allowed.", ConfigError.exit_code)


def _interrupted(arguments: list[str]) -> int:
    if "run" in arguments[:1]:
        return _fail("stopped by Ctrl-C. What was committed is kept: the same command goes on from there.", INTERRUPTED)
    return _fail("stopped by Ctrl-C.", INTERRUPTED)


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {message}\n")
    return code


def _tolerate_narrow_encodings() -> None:
    """A terminal that is not UTF-8 gets `?` for what it cannot show; it is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")
