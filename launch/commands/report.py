"""`gristmill report`: what a run did, from one of its outputs: in the terminal, as a picture, and as a web page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.console import columns, out, say, say_json, write_file
from gristmill.launch.terminal.numbers import number, plain, size
from gristmill.launch.terminal.random_baseline import SIDES, Beside, signals_against_baseline
from gristmill.pipeline.errors import ConfigError, looked_for

if TYPE_CHECKING:
    from gristmill.pipeline.provenance.shares import Shares

SIGNALS_SHOWN = 8
"""Signals in the table of a filter; --json has all."""


FOUND_SHOWN, FOUND_LOOKED_AT = 3, 300
"""Documents that are named for an evaluation set, and those that are looked at for these."""
MOST_AUDIT = 64 << 20
"""Bytes of an audit's JSON."""


def write_html(folder: str, file: str, audit: str | None = None, beside: Sequence[str] = ()) -> int:
    """Writes the report of an output, or of a run that is not finished, as one HTML file.

    Args:
        folder: an output, or a work folder.
        file: of the page.
        audit: a file with the JSON of an audit of this output; without one the fast audit is made.
        beside: folders of other outputs of the run, which may hold its ledger.

    Raises ConfigError for a folder without a run and for an audit that is none, StorageError where the page cannot be
    written.
    """
    from gristmill.launch.report.html import damaged_page, report_page, unfinished_page
    from gristmill.pipeline.audit.run import audit_output
    from gristmill.pipeline.errors import DataError
    from gristmill.pipeline.provenance.statement import read_manifest
    from gristmill.pipeline.running.status import read_status

    found = None if audit is None else _read_audit(audit)
    manifest, problem = None, ""
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        problem = str(error)
    if manifest is None and not problem:
        status = read_status(folder)
        if status is None:
            raise ConfigError(
                f"{folder}: there is no run, finished or not. Give the folder of an output, or a work folder."
            )
        write_file("--html", file, unfinished_page(folder, status))
        say(f"report: {file} (the run is not finished)")
        return 0
    if found is None:
        found = audit_output(folder, beside=beside).to_json()
    page = damaged_page(folder, problem, found) if manifest is None else report_page(folder, manifest, found, beside)
    write_file("--html", file, page)
    verdict = "" if found.get("exit_code") in (0, 4) else f"; the audit: {found.get('verdict')}"
    say(f"report: {file} ({size(len(page.encode()))}), opens in any browser{verdict}")
    return 0


def _read_audit(file: str) -> Mapping[str, Any]:
    """The JSON that `gristmill audit --json` printed."""
    from gristmill.pipeline.provenance.statement import parse_strictly
    from gristmill.pipeline.storage import read_small

    try:
        data = read_small(file, MOST_AUDIT)
        value = None if data is None else parse_strictly(data)
    except ValueError as error:
        raise ConfigError(
            f"--audit {file}: this is no JSON ({error}). Give what `gristmill audit DIR --json` printed."
        ) from error
    if value is None:
        raise ConfigError(f"--audit {file}: there is no such file.")
    if not isinstance(value, dict) or not isinstance(value.get("checks"), list):
        raise ConfigError(f"--audit {file}: this is no audit. Give what `gristmill audit DIR --json` printed.")
    return value


def report(folder: str, svg: str | None = None, as_json: bool = False) -> int:
    """Shows the funnel, what filters keep beside what chance would, for nodes that repeat documents shares before and
    after and repeats by cluster size, and for mixes their budgets and what they came to.

    Args:
        folder: an output.
        svg: a file for the picture.
        as_json: print one JSON value instead.

    Raises ConfigError for a folder without a manifest, and for a picture of a run that repeats nothing; DataError for a
    manifest that no run writes.
    """
    from gristmill.launch.report.kind_tokens import shares_in_tokens
    from gristmill.launch.terminal.funnel import funnel_json, print_funnel
    from gristmill.pipeline.provenance.statement import read_manifest
    from gristmill.pipeline.provenance.values import to_json
    from gristmill.pipeline.writing.card import baseline_rows, random_baselines
    from gristmill.stages.classifier.label_report import label_counts, label_lines
    from gristmill.stages.decontamination.set_report import set_counts, set_rows
    from gristmill.stages.deduplication.cluster_report import survivor_lines
    from gristmill.stages.rebalancing.budget_views import budget_lines
    from gristmill.stages.rebalancing.report import (
        amounts_met,
        budget_reports,
        group_tallies,
        picture,
        rebalancing_reports,
        repeats_table,
        shares_table,
        sizes_table,
    )

    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError(f"{folder}: there is no manifest.json{looked_for(folder)}. Give the folder of an output.")
    reports, tallies, budgets = rebalancing_reports(manifest), group_tallies(manifest), budget_reports(manifest)
    labelled, searched = label_counts(manifest), set_counts(manifest)
    if svg is not None:
        if not reports and not tallies:
            raise ConfigError(f"--svg: no node of the run of {folder} repeats documents, so there is nothing to draw.")
        write_file("--svg", svg, picture(reports, tallies, budgets))
    order = [*manifest.sources, *(node.name for node in manifest.nodes)]
    accounts = manifest.accounts
    measured = shares_in_tokens(folder, manifest)
    if as_json:
        rebalanced = {name: {"tallies": counts, **reports.get(name, {})} for name, counts in tallies.items()}
        filters = random_baselines(manifest.reports)
        signals = {name: beside.to_json() for name, beside in signals_against_baseline(folder, manifest).items()}
        found = {
            "funnel": funnel_json(accounts, order),
            "rebalanced": rebalanced,
            "budgets": {name: manifest.reports[name] for name in budgets},
            "shares": None if measured is None else {"measured": measured[1], **to_json(measured[0])},
            "labels": labelled,
            "evaluation_sets": searched,
            "beside_chance": filters,
            "signals_beside_chance": signals,
        }
        say_json({"run": manifest.run, **found})
        return 0
    data = manifest.data
    say(f"{manifest.name}, output {manifest.output}: {data.rows:,} rows in {data.files:,} shards")
    say()
    print_funnel(out(), accounts, order)
    if measured is not None:
        _print_shares(*measured)
    for name, kept in random_baselines(manifest.reports).items():
        table = columns(("", "left"), *((heading, "right") for heading in ("all", "kept", "random")))
        for row in baseline_rows(kept):
            table.add_row(*row)
        say(f"\n{name}: what it kept, against a random baseline of as many documents\n")
        out().print(table)
    shown = random_baselines(manifest.reports)
    for name, beside in signals_against_baseline(folder, manifest).items():
        if name not in shown:  # a filter that compares itself with chance has said it better
            _print_signals(name, beside)
    for name, found in manifest.reports.items():
        lines = survivor_lines(found.get("survivors"))
        if lines:
            say(f"\n{name}: clusters by size whose keeper has no mark, and whose lowest doc_key has none\n")
            for line in lines:
                say(line)
    for name, rows in labelled.items():
        say(f"\n{name}: documents by label\n")
        for line in label_lines(rows):
            say(line)
    for name, sets in searched.items():
        say(f"\n{name}: items of evaluation sets, and documents in which they were found\n")
        heading, *rows_of_sets = set_rows(sets)
        sets_table = columns((heading[0], "left"), *((title, "right") for title in heading[1:]))
        for cells in rows_of_sets:
            sets_table.add_row(*cells)
        out().print(sets_table)
        _print_found(folder, name, sets)
    for name, counts in tallies.items():
        say(f"\n{name}: shares before and after\n\n{shares_table(counts)}")
        if name in budgets:
            say(f"\n{name}: budgets, and what they came to\n")
            for line in budget_lines(budgets[name], amounts_met(counts)):
                say(line)
        if name in reports:
            say(f"\n{name}: repeats by cluster size, and under them what the quality rules remove\n")
            say(sizes_table(reports[name]))
            others = {c: v for c, v in reports[name]["curves"].items() if c not in reports[name]["bins"]}
            if others:
                say(f"\n{name}: smaller curves\n\n{repeats_table({'curves': others})}")
    if svg is not None:
        say(f"\npicture: {svg}")
    return 0


def _print_shares(shares: Shares, unit: str) -> None:
    """Shares by licence, creator and source."""
    from gristmill.pipeline.writing.share_tables import share_tables

    say(f"\nwhat the output holds, {unit}; copies count as often as they are written")
    for table in share_tables(shares):
        say(f"\n{table.note}" if table.note else "")
        if not table.rows:
            continue
        shown = columns((table.by, "left"), *((title, "right") for title in ("documents", "text", "tokens", "share")))
        for row in table.rows:
            tokens = "–" if row.tokens is None else f"{row.tokens:,}"
            shown.add_row(plain(row.name), f"{row.documents:,}", size(row.bytes), tokens, f"{row.share:.2%}")
        out().print(shown)
        if table.more:
            say(f"… and {table.more:,} more")


def _print_found(folder: str, node: str, sets: Mapping[str, Any]) -> None:
    """A few documents with items of each set, from the ledger."""
    from gristmill.pipeline.audit.examples import rule_examples
    from gristmill.stages.decontamination.set_report import set_of
    from gristmill.stages.decontamination.stage import CONTAMINATED, CUT

    shown: Counter[str] = Counter()
    lines = []
    for rule in (CONTAMINATED, CUT):
        for example in rule_examples(folder, node, rule, FOUND_LOOKED_AT):
            name = set_of(example.witness or "", sets)
            if name is not None and shown[name] < FOUND_SHOWN:
                shown[name] += 1
                lines.append((name, f"  {plain(example.id)[:40]}  {plain(example.witness or '')}"))
    if lines:
        say("\nfor example")
        for _, line in sorted(lines):
            say(line)


def _print_signals(name: str, beside: Beside) -> None:
    """The signals in which what passed differs most from a random selection of as many documents."""
    widest = sorted(beside.apart, key=lambda signal: (-beside.apart[signal], signal))[:SIGNALS_SHOWN]
    table = columns(("mean of", "left"), *((side, "right") for side in (*SIDES, "apart")))
    table.add_row("documents", *(f"{beside.documents[side]:,}" for side in SIDES), "")
    for signal in widest:
        cells = [number(beside.means[signal][side]) for side in SIDES]
        table.add_row(signal, *cells, f"{beside.apart[signal]:.2f}")
    say(f"\n{name}: documents without a failed rule, against a random baseline of as many documents")
    say(
        "apart: distance between passed and random in standard deviations, largest first. The rules apply thresholds\n"
        "to these signals, so a shift is expected: it shows what the rules change, not that the text is better.\n"
    )
    out().print(table)
