"""Digests of what a run read of its sources, from its ledgers: a Merkle root by source, and slices where they are few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gristmill.launch.exports.finished import Finished
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.planning.prior_runs import slices_of_run
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.logs import SliceRead

LISTED = 200
"""Slices of a source that are named one by one; of a source with more, the root alone is."""


@dataclass(frozen=True)
class SourceDigest:
    """What was read of a source: the Merkle root of its slices' digests, in the order of tasks, how many there are, and which
    (path below the source's root, part, bytes, documents, digest), where they are few."""

    root: str
    count: int
    slices: Sequence[SliceRead]


def source_digests(output: Finished) -> Mapping[str, SourceDigest]:
    """By source; nothing where the run's ledgers lie in another output's folder that is not beside this one.

    Raises ConfigError for ledgers that cannot be read, or that name other slices than the manifest's root is of.
    """
    ledgers = output.ledgers
    if not ledgers or not holding_folders(output.folder, output.manifest, [ledgers[0]["output"]]):
        return {}
    found = slices_of_run(output.folder, output.folder, output.manifest, ledgers)
    if merkle_root([one.digest for one in found]) != output.manifest.slices_root:
        raise ConfigError(
            f"{output.folder}: its ledgers name slices with other digests than its manifest. `gristmill audit {output.folder}` "
            "shows what else differs. Restore the folder, or repeat that run."
        )
    by_source: dict[str, list[SliceRead]] = {}
    for one in found:
        by_source.setdefault(one.source, []).append(one)
    return {
        name: SourceDigest(merkle_root([one.digest for one in mine]), len(mine), mine if len(mine) <= LISTED else ())
        for name, mine in by_source.items()
    }


def digests_of_runs(outputs: Sequence[Finished]) -> dict[str, Mapping[str, SourceDigest]]:
    """`source_digests` by run, of the first of its outputs beside which its ledgers lie. Raises what that raises."""
    found: dict[str, Mapping[str, SourceDigest]] = {}
    for output in outputs:
        if not found.get(output.manifest.run):
            found[output.manifest.run] = source_digests(output)
    return found


def part_of(one: SliceRead) -> str:
    """A slice's part of its file, as `files.parquet` has it: `from=0,to=4096`; empty for a whole file."""
    return ",".join(f"{name}={value}" for name, value in sorted(one.part.items()))
