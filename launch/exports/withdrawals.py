"""What was left out or taken out of an output on request: by a run's revocation lists, and by removals since."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.launch.exports.finished import Finished
from gristmill.launch.exports.forms import Fact, evidence
from gristmill.pipeline.stage_spec import REVOKED


def withdrawals(output: Finished) -> Iterator[Fact]:
    """A fact for each source of which documents were on a revocation list, and for each removal, in order."""
    manifest = output.manifest
    for name in manifest.sources:
        hits = manifest.accounts.nodes[name].rules.get(REVOKED) if name in manifest.accounts.nodes else None
        if hits is not None:
            yield Fact(
                f"revocation list: {hits.first[0]:,} documents of source {name} were left out",
                evidence("accounts", "nodes", name, "rules", REVOKED),
            )
    for number, one in enumerate(manifest.removals):
        yield Fact(
            f"{one.rows.get(manifest.output, 0):,} rows were removed on {one.removed_at}, of {one.documents:,} documents: "
            f"{one.reason}",
            evidence("removals", str(number)),
        )
