"""What the reading process of a removal answers: which documents are meant and what goes with them, then files without them.

Outputs may be anybody's, so whatever is read of their rows is read here; manifests, signatures and publishing are the driver's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from gristmill.pipeline.audit.open_files import what_a_run_wrote
from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.provenance.removal import Removal, RemovalKey, summed, without_named
from gristmill.pipeline.provenance.statement import Files, Shards
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.removal.condition import matching
from gristmill.pipeline.removal.dependents import notes_digests
from gristmill.pipeline.removal.losses import Losses, losses
from gristmill.pipeline.removal.new_version import Change, SharedFiles, Version, write_version
from gristmill.pipeline.removal.old_run import OldOutput, OldRun
from gristmill.pipeline.removal.selection import Request, Selection, answers_concerned, select


@dataclass(frozen=True)
class _Prepared:
    change: Change
    lost: Losses
    record: Removal
    missing: Sequence[str]


@lru_cache(maxsize=1)
def _prepared(text: str) -> _Prepared:
    what = json.loads(text)
    run, key = OldRun(what["folders"]), RemovalKey.from_text(what["key"], "--removal-key")
    request = Request(**{**what["request"], "wanted": tuple(what["request"]["wanted"])})
    if request.by == "where":
        request = replace(request, matches=matching(request.wanted[0]))
    selection = select(run, request)
    lost = losses(run, selection)
    keyed = {task: key.digests(keys_from_words(keys)) for task, keys in selection.tasks.items()}
    record = _record(run, selection, lost, request, key, keyed, what)
    change = Change(run, selection.every(), lost.entries, keyed, len(run.manifest.removals))
    return _Prepared(change, lost, record, selection.missing)


def _record(
    run: OldRun,
    selection: Selection,
    lost: Losses,
    request: Request,
    key: RemovalKey,
    keyed: Mapping[int, Sequence[bytes]],
    what: Mapping[str, Any],
) -> Removal:
    return Removal(
        reason=what["reason"],
        removed_at=what["now"],
        taken_from={name: output.manifest.varies.statement for name, output in run.outputs.items()},
        chosen_by=request.by,
        request=key.request("\n".join(request.wanted)),
        near_duplicates=request.near_duplicates,
        documents=selection.count,
        chosen=selection.chosen,
        rows=dict(lost.rows),
        key=key.key_id,
        digests=summed(one for some in keyed.values() for one in some),
        answers=answers_concerned(run, lost.entered, selection.split),
        tallies=list(lost.tallies),
        payloads=lost.payloads,
    )


def prepare(argument: Mapping[str, Any]) -> dict[str, Any]:
    """The removal's record, the entries that no document answers to, and the digests of the run's kept notes. Raises as
    `select` and `losses`. `argument`: folders, request (a Request without `matches`), key (as in its file), reason, now."""
    with what_a_run_wrote(argument["folders"][0]):
        found = _prepared(json.dumps(argument))
    notes = notes_digests(found.change.run)
    return {"record": to_json(found.record), "missing": list(found.missing), "notes": notes}


def write(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the new versions' files into attempt folders. `argument`: `what` was prepared, targets and attempts by output.

    Returns what manifests say of them: reports, accounts, removed rows and bytes by source, and by output its files.
    """
    with what_a_run_wrote(argument["what"]["folders"][0]):
        return _written(argument)


def _written(argument: Mapping[str, Any]) -> dict[str, Any]:
    found = _prepared(json.dumps(argument["what"]))
    run, lost = found.change.run, found.lost
    shared = SharedFiles(found.change, argument["attempts"])
    versions = {
        name: _told(run, old, write_version(found.change, old, argument["targets"][name], shared))
        for name, old in run.outputs.items()
    }
    names = {key.tobytes().hex() for key in found.change.removed.astype(">u8")}
    return {
        "reports": without_named({name: dict(report) for name, report in run.manifest.reports.items()}, names),
        "accounts": to_json(lost.accounts),
        "removed": dict(lost.removed),
        "read_bytes": dict(lost.read_bytes),
        "versions": versions,
    }


def _told(run: OldRun, old: OldOutput, version: Version) -> dict[str, Any]:
    files, columns = version.files, old.manifest.data.columns
    in_order = next(([item.name for item in run.schema(row)] for row in old.shards), list(columns))
    root = files.data_contents.root()
    data = Shards(files=files.data.count, rows=files.data.rows, bytes=files.data.bytes, root=root, columns=columns)
    every = Files(count=files.files.leaves, root=files.files.root(), content_root=files.contents.root())
    return {
        "data": to_json(data),
        "files": to_json(every),
        "table": version.table.file.sha256,
        "kinds": {name: to_json(one) for name, one in version.kinds.items()},
        "written": list(files.written()),
        "columns": in_order,
    }


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"prepare": prepare, "write": write}
