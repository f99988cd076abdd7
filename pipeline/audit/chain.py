"""An output's place in the lineage of its dataset's runs: the earlier manifests that it rests on, and drift against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.audit.signature import check_signature
from gristmill.pipeline.audit.trust import Trust
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.signing import ENVELOPE
from gristmill.pipeline.provenance.statement import (
    MANIFEST,
    Predicate,
    Statement,
    read_statement_bytes,
    statement_digest,
)
from gristmill.pipeline.provenance.values import parse, problems
from gristmill.pipeline.storage import join

DRIFT = 0.05
"""A share of dropped rows that moved further than this against the previous run is worth a look."""
LEAST_ROWS = 100
"""Below that many rows a share says little."""


@dataclass(frozen=True)
class _Link:
    """An output of the chain: its folder, its manifest, and the manifest's number."""

    folder: str
    predicate: Predicate

    @property
    def number(self) -> int:
        return self.predicate.varies.chain.sequence

    @property
    def digest(self) -> str:
        return self.predicate.varies.statement


def check_sequence(
    folder: str, predicate: Predicate, previous: Sequence[str], trust: Trust | None, report: Report
) -> None:
    """The manifest's place in the run lineage, and drop rates, against earlier outputs of the dataset.

    Args:
        previous: folders of earlier outputs, in any order; the chain is followed down to the earliest of them.
        trust: where it is dated, each earlier manifest must be signed by a key that was trusted at its time.
    """
    chain = predicate.varies.chain
    first = chain.sequence == 1
    if first != (chain.previous is None):
        report.fail(
            "sequence",
            f"is number {chain.sequence} and names {chain.previous or 'no'} previous manifest",
            file=MANIFEST,
        )
    if not previous:
        report.skip(("sequence", "drift"), "no previous run to compare with was given")
        return
    links = [found for found in (_read(place, trust, report) for place in previous) if found is not None]
    if not links:
        report.unread("drift", "needs the previous manifest")
        return
    report.saw("sequence", len(links))
    links.sort(key=lambda one: -one.number)
    _follow(_Link(folder, predicate), links, report)
    _drift(predicate, links[0].predicate, report)


def _read(folder: str, trust: Trust | None, report: Report) -> _Link | None:
    try:
        found = read_statement_bytes(folder)
    except GristmillError as error:
        report.unread("sequence", f"the previous manifest in {folder} cannot be read: {error}")
        return None
    if found is None:
        report.unread("sequence", f"the previous manifest cannot be read: there is no {MANIFEST} in {folder}")
        return None
    stored, body = found
    followed = None if problems(Statement, stored) else parse(Statement, stored).predicate
    if followed is None or followed.varies.statement != statement_digest(stored):
        report.unread(
            "sequence",
            f"the previous manifest in {folder} is not what a run wrote, so nothing can be compared with it",
        )
        return None
    if trust is not None and trust.dated:
        check_signature(folder, body, followed.varies.written, trust, report, join(folder, ENVELOPE))
    return _Link(folder, followed)


def _follow(output: _Link, links: Sequence[_Link], report: Report) -> None:
    """From the output down, each manifest by the digest that the later one names. `links`: the latest first."""

    def wrong(link: _Link, message: str) -> None:
        report.fail("sequence", message, file=MANIFEST if link is output else join(link.folder, MANIFEST))

    for link in links:
        if link.number == output.number and link.digest != output.digest:
            wrong(output, f"is number {link.number}, and so is another manifest, in {link.folder}: a fork")
        elif link.number > output.number:
            told = f"is number {output.number}, older than number {link.number} in {link.folder}: the output was rolled back"
            wrong(output, told)
    at = output
    for link in (one for one in links if one.number < output.number):
        if link.number == at.number:
            if link.digest != at.digest:
                wrong(at, f"is number {at.number}, and so is another manifest, in {link.folder}: a fork")
            continue
        wanted = at.predicate.varies.chain.previous
        if link.number < at.number - 1:
            report.unread(
                "sequence",
                f"number {at.number}, in {at.folder}, follows the manifest {wanted}, number {at.number - 1}, which is missing: "
                f"it is in none of the earlier outputs that were given. The next is number {link.number}, in {link.folder}, "
                "and nothing ties it to this output. Give the outputs between them too",
            )
        elif wanted != link.digest:
            wrong(
                at, f"follows the manifest {wanted}, but number {link.number} in {link.folder} is {link.digest}: a fork"
            )
        at = link


def _drift(predicate: Predicate, followed: Predicate, report: Report) -> None:
    now, before = predicate.accounts, followed.accounts
    report.saw("drift")
    for name, account in now.nodes.items():
        old = before.nodes.get(name)
        if old is None or min(account.entered.rows, old.entered.rows) < LEAST_ROWS:
            continue
        share, share_before = account.dropped.rows / account.entered.rows, old.dropped.rows / old.entered.rows
        if abs(share - share_before) > DRIFT:
            report.fail("drift", f"dropped {share:.1%} of its rows, {share_before:.1%} in the previous run", node=name)
