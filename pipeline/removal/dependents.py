"""What else has documents that are taken out: old folders, and later outputs that settled against the notes of this run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest, merkle_root
from gristmill.pipeline.planning.prior_runs import PRIOR
from gristmill.pipeline.planning.yaml_reader import parse
from gristmill.pipeline.provenance.files import notes_role
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, read_manifest
from gristmill.pipeline.removal.old_run import OldRun
from gristmill.pipeline.storage import exists, is_remote, join, local, names_in

MOST_BESIDE = 10_000
"""Folders beside an output that are looked at."""


@dataclass
class Dependents:
    """Outputs that settled against a run's notes, with their nodes; and those whose manifest cannot be read, with why."""

    found: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def notes_digests(run: OldRun) -> list[str]:
    """The digests by which later runs name the notes that this one kept (see `planning.prior_runs`)."""
    found = set()
    for output in run.outputs.values():
        for node in run.manifest.nodes:
            kept = [row["content_digest"] for row in output.listed if row["role"] == notes_role(node.name)]
            if kept:
                found.add(digest("gristmill.notes", [run.manifest.run, node.name, merkle_root(kept)]))
    return sorted(found)


def dependents(notes: Iterable[str], folders: Sequence[str], later: Sequence[str]) -> Dependents:
    """Outputs that settled against some notes: among those in `later`, and those that lie beside some folders.

    Args:
        notes: digests, as `notes_digests` gives them.
    """
    wanted, made = set(notes), Dependents()
    for folder in dict.fromkeys([*later, *(place for one in folders for place in _beside(one))] if wanted else []):
        try:
            manifest = read_manifest(folder)
        except DataError as error:
            made.unread.append(str(error))
            continue
        if manifest is not None:
            made.found += [(folder, name) for name, rests in _prior(manifest).items() if wanted & rests]
    return made


def left_over(outputs: Mapping[str, Predicate]) -> list[str]:
    """Folders that still hold the documents: the outputs, and local work folders of their run, as far as those are known.

    Args:
        outputs: manifests by folder.
    """
    places = [f"{folder.rstrip('/')}.work" for folder in outputs]
    for manifest in outputs.values():
        config = parse(manifest.varies.config, MANIFEST).value
        places += [str(config["work"])] if isinstance(config, dict) and config.get("work") else []
    # Nothing is asked of a server because a manifest names it.
    return [*outputs, *(place for place in dict.fromkeys(places) if not is_remote(place) and exists(place))]


def _prior(manifest: Predicate) -> Mapping[str, set[str]]:
    """By node, the digests of the notes that it settled with."""
    prior = {node.name: node.fields.threshold.get(PRIOR) for node in manifest.nodes}
    return {name: {str(one) for one in found} for name, found in prior.items() if isinstance(found, list)}


def _beside(folder: str) -> list[str]:
    place = folder.rstrip("/") if is_remote(folder) else str(local(folder).absolute())
    parent, _, own = place.rpartition("/")
    names = sorted(name for name in names_in(parent) if name != own)[:MOST_BESIDE]
    return [join(parent, name) for name in names if exists(join(parent, name, MANIFEST))]
