"""Checks beyond digests: the signature, the run lineage, and drift against the previous run."""

from __future__ import annotations

from gristmill.pipeline.audit.documents import read_bytes
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.signing import (
    ENVELOPE,
    SignatureError,
    envelope_bytes,
    key_id,
    payload_of,
    verify_envelope,
)
from gristmill.pipeline.provenance.statement import (
    MANIFEST,
    MOST_BYTES,
    Predicate,
    Statement,
    parse_strictly,
    read_statement_bytes,
    statement_digest,
)
from gristmill.pipeline.provenance.values import parse, problems
from gristmill.pipeline.storage import exists, join

DRIFT = 0.05
"""A share of dropped rows that moved further than this against the previous run is worth a look."""
LEAST_ROWS = 100
"""Below that many rows a share says little."""


def check_signature(folder: str, manifest: bytes, public: bytes | None, report: Report) -> None:
    """The envelope holds this manifest's bytes, and the given key has signed it."""
    if not exists(join(folder, ENVELOPE)):
        if public is None:
            report.skip(("signature",), "the manifest is not signed: digests detect accidents, not forgery")
        else:
            report.fail(
                "signature",
                f"is not there: the manifest is not signed by the key {key_id(public)[:16]}…",
                file=ENVELOPE,
            )
        return
    data = read_bytes(folder, ENVELOPE, "signature", report, 2 * MOST_BYTES)  # the manifest, in base64
    if data is None:
        return
    try:
        envelope = parse_strictly(data)
        payload = payload_of(envelope)
        if envelope_bytes(envelope) != data:
            raise SignatureError("it is not stored in the canonical form (indented by 1, sorted keys, one line feed)")
        if public is not None:
            payload = verify_envelope(envelope, public)
    except (ValueError, SignatureError) as error:
        report.fail("signature", str(error), file=ENVELOPE)
        return
    if payload != manifest:
        report.fail("signature", "its payload differs from manifest.json as stored", file=ENVELOPE)
    elif public is None:
        names = ", ".join(f"{item['keyid'][:16]}…" for item in envelope["signatures"])
        report.skip(("signature",), f"signed by {names}, but no public key was given to verify that with")
    else:
        report.saw("signature")


def check_sequence(predicate: Predicate, previous: str | None, report: Report) -> None:
    """The manifest's place in the run lineage, and drop rates, against a previous output of the dataset."""
    chain = predicate.varies.chain
    first = chain.sequence == 1
    if first != (chain.previous is None):
        report.fail(
            "sequence",
            f"is number {chain.sequence} and names {chain.previous or 'no'} previous manifest",
            file=MANIFEST,
        )
    if previous is None:
        report.skip(("sequence", "drift"), "no previous run to compare with was given")
        return
    try:
        found = read_statement_bytes(previous)
    except GristmillError as error:
        report.unread("sequence", f"the previous manifest in {previous} cannot be read: {error}")
        report.unread("drift", "needs the previous manifest")
        return
    if found is None:
        report.unread("sequence", f"the previous manifest cannot be read: there is no {MANIFEST} in {previous}")
        report.unread("drift", "needs the previous manifest")
        return
    stored = found[0]
    followed = None if problems(Statement, stored) else parse(Statement, stored).predicate
    if followed is None or followed.varies.statement != statement_digest(stored):
        report.unread(
            "sequence",
            f"the previous manifest in {previous} is not what a run wrote, so nothing can be compared with it",
        )
        report.unread("drift", "needs the previous manifest")
        return
    report.saw("sequence")
    theirs = followed.varies.chain.sequence
    digest = followed.varies.statement
    if chain.sequence == theirs and digest != predicate.varies.statement:
        report.fail(
            "sequence",
            f"is number {theirs}, and so is another manifest, in {previous}: a fork",
            file=MANIFEST,
        )
    elif chain.sequence < theirs:
        message = f"is number {chain.sequence}, older than number {theirs} in {previous}: the output was rolled back"
        report.fail("sequence", message, file=MANIFEST)
    elif chain.sequence == theirs + 1 and chain.previous != digest:
        message = f"follows the manifest {chain.previous}, but number {theirs} in {previous} is {digest}: a fork"
        report.fail("sequence", message, file=MANIFEST)
    _drift(predicate, followed, report)


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
