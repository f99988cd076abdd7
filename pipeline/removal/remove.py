"""`remove_documents`: new versions of a run's outputs without some documents, their duplicates, and whatever is kept of them.

Everything is read from the outputs themselves; neither the input nor the stages are needed. A killed removal leaves no
manifest, and the same command does it again from the beginning.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.lease import Lease, is_claim
from gristmill.pipeline.provenance.attestation import write_envelope
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.removal import MOST_REASON, Removal, RemovalKey, summed
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey
from gristmill.pipeline.provenance.statement import (
    MANIFEST,
    PREDICATE,
    STATEMENT,
    Files,
    Lineage,
    Predicate,
    Shards,
    SourceTotals,
    Statement,
    Subject,
    manifest_bytes,
    manifest_digest,
)
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.removal.losses import Losses, losses
from gristmill.pipeline.removal.new_version import Change, SharedFiles, Version, write_version
from gristmill.pipeline.removal.old_run import OldOutput, OldRun
from gristmill.pipeline.removal.selection import Request, Selection, answers_concerned, select
from gristmill.pipeline.storage import (
    exists,
    folders_synced_once,
    is_remote,
    join,
    list_files,
    local,
    remove,
    sha256_of,
    write_checked,
)
from gristmill.pipeline.writing.attempt import attempt_name, publish, publish_last, published_before
from gristmill.pipeline.writing.card import SHARDS, card_body, croissant_metadata, front_matter, one_licence
from gristmill.pipeline.writing.manifest import seal


@dataclass(frozen=True)
class Removed:
    """What was done.

    Attributes:
        folders: the new versions, by output.
        record: as their manifests have it.
        missing: entries that no document answers to.
        left: copies of the documents elsewhere, which are not touched: the old folders.
    """

    folders: Mapping[str, str]
    record: Removal
    missing: Sequence[str]
    left: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """How a removal is made.

    Attributes:
        reason: in words; it stands in the manifest.
        removal_key: makes the digests of what goes.
        key: signs the new manifests.
        signed_by: public key that must have signed the old ones; default: that of `key`.
        unsigned: whether the old or the new ones may be unsigned.
        unaudited: whether an audit of the old ones may fail.
    """

    reason: str
    removal_key: RemovalKey
    key: SigningKey | None = None
    signed_by: bytes | None = None
    unsigned: bool = False
    unaudited: bool = False


def remove_documents(folders: Sequence[str], target: str, request: Request, terms: Terms) -> Removed:
    """Writes new versions of all outputs of a run without some documents.

    Args:
        folders: of all its outputs.
        target: the new folder; of several outputs the one in which theirs lie by their names.

    Raises ConfigError for what is asked for and cannot be done, DataError for outputs that are not what a run wrote,
    StorageError where the new folder is somebody else's.
    """
    if not terms.reason.strip() or len(terms.reason) > MOST_REASON:
        raise ConfigError(f"--reason: expected 1 to {MOST_REASON:,} characters, found {len(terms.reason):,}.")
    run = OldRun(folders)
    targets = {name: target if len(run.outputs) == 1 else join(target, name) for name in run.outputs}
    for folder in targets.values():
        _refuse_inside(folder, run)
    _refuse_unsound(run, terms)
    selection = select(run, request)
    _refuse_telling(terms.reason, request)
    lost = losses(run, selection)
    record, keyed = _record(run, selection, lost, request, terms)
    change = Change(run, selection.every(), lost.entries, keyed, len(run.manifest.removals))
    _write(change, targets, lost, record, terms.key)
    left = [output.folder for output in run.outputs.values()]
    return Removed(targets, record, selection.missing, left)


def _record(
    run: OldRun, selection: Selection, lost: Losses, request: Request, terms: Terms
) -> tuple[Removal, dict[int, list[bytes]]]:
    keyed = {task: terms.removal_key.digests(keys_from_words(keys)) for task, keys in selection.tasks.items()}
    record = Removal(
        reason=terms.reason,
        removed_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        taken_from={name: output.manifest.varies.statement for name, output in run.outputs.items()},
        chosen_by=request.by,
        request=terms.removal_key.request("\n".join(request.wanted)),
        near_duplicates=request.near_duplicates,
        documents=selection.count,
        chosen=selection.chosen,
        rows=dict(lost.rows),
        key=terms.removal_key.key_id,
        digests=summed(one for some in keyed.values() for one in some),
        answers=answers_concerned(run, lost.entered, selection.split),
        tallies=list(lost.tallies),
        payloads=lost.payloads,
    )
    return record, keyed


# What is refused


def _refuse_inside(folder: str, run: OldRun) -> None:
    if not is_remote(folder):
        real = local(folder).resolve()
        for output in run.outputs.values():
            if is_remote(output.folder):
                continue
            other = local(output.folder).resolve()
            if real == other or other in real.parents or real in other.parents:
                raise ConfigError(f"--output {folder}: lies in {output.folder}, or around it. Name another folder.")
    if exists(join(folder, MANIFEST)):
        raise ConfigError(f"--output {folder}: already holds an output. Name a new folder: no version is overwritten.")


def _refuse_unsound(run: OldRun, terms: Terms) -> None:
    """Raises ConfigError for outputs that are not signed, or fail an audit, unless that is accepted."""
    folders = [output.folder for output in run.outputs.values()]
    for folder in folders:
        signed = exists(join(folder, ENVELOPE))
        if not signed and not terms.unsigned:
            raise ConfigError(
                f"{folder}: is not signed, so nobody can tell whether this is what its run wrote. Sign it first (`gristmill "
                "keys sign`), or say --unsigned."
            )
        if signed and terms.key is None and not terms.unsigned:
            raise ConfigError(
                f"{folder}: is signed, and its new version would not be. Give --key FILE, or say --unsigned."
            )
        public = terms.signed_by or (terms.key.public if terms.key is not None and signed else None)
        result = audit_output(folder, key=public if signed else None, beside=[one for one in folders if one != folder])
        if result.exit_code not in (0, 4) and not terms.unaudited:
            raise ConfigError(
                f"{folder}: fails its audit ({result.problems[0] if result.problems else 'it could not be read'}). "
                "Restore it first, or say --unaudited."
            )


def _refuse_telling(reason: str, request: Request) -> None:
    """The reason stays in the manifest, so it must not name what goes."""
    if request.by != "where" and any(len(one) > 3 and one in reason for one in request.wanted):
        raise ConfigError(
            "--reason: names a document that is to be removed, and would stay in the manifest. Word it otherwise."
        )


# Writing


def _write(change: Change, targets: Mapping[str, str], lost: Losses, record: Removal, key: SigningKey | None) -> None:
    run = change.run
    name = attempt_name(digest("gristmill.removal", [record.taken_from, record.request, record.key]))
    attempts = {output: join(folder, name) for output, folder in targets.items()}
    with ExitStack() as stack:
        leases = {
            output: stack.enter_context(Lease(folder, f"the output `{output}`", {"attempt": name}))
            for output, folder in sorted(targets.items())
        }
        try:
            for output, folder in targets.items():
                _clear(folder, attempts[output], leases[output])
        except ConfigError:
            for lease in leases.values():
                lease.done()  # nothing of this removal stays where it was refused
            raise
        with folders_synced_once():
            shared = SharedFiles(change, attempts)
            complete = []
            for output, old in run.outputs.items():
                version = write_version(change, old, targets[output], shared)
                complete.append(
                    (output, version, _documents(change, old, targets, version, lost, record, attempts[output], key))
                )
        for lease in leases.values():
            lease.check()
        for output, version, (written, last) in complete:
            every = {**dict(version.files.written()), **written}
            publish(targets[output], attempts[output], every, last, InlineExecutor())
        for output, _, (_, last) in complete:
            publish_last(targets[output], attempts[output], MANIFEST, last[MANIFEST])
        for output, lease in leases.items():
            remove(attempts[output])
            lease.done()


def _clear(folder: str, attempt: str, lease: Lease) -> None:
    """Removes what a killed attempt at the same removal left. Raises ConfigError for anything else in the folder."""
    own, inside = published_before(attempt), attempt.removeprefix(folder.rstrip("/") + "/") + "/"
    for path in list_files(folder):
        if path.startswith(inside) or is_claim(path):
            continue
        if path not in own or sha256_of(join(folder, path)) not in own[path]:
            raise ConfigError(f"--output {folder}: holds files already (`{path}`). Name an empty or a new folder.")
        remove(join(folder, path))
    remove(attempt)
    lease.forget()


def _documents(
    change: Change,
    old: OldOutput,
    targets: Mapping[str, str],
    version: Version,
    lost: Losses,
    record: Removal,
    attempt: str,
    key: SigningKey | None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Writes card, metadata, envelope and manifest. Returns the SHA-256 of what is moved first, and of the manifest."""
    predicate = _predicate(old, targets, version, lost, record)
    root = predicate.data.root
    manifest = Statement(
        type_=STATEMENT,
        subject=[
            Subject(name="data", digest={"gristmillContentRoot": root}),
            Subject(name=FILES_TABLE, digest={"sha256": version.table.file.sha256}),
        ],
        predicateType=PREDICATE,
        predicate=replace(predicate, digest=manifest_digest(to_json(predicate))),
    )
    columns = _columns(change, old)
    nodes = [*predicate.sources, *(node.name for node in predicate.nodes)]
    spdx = {one.license.name for one in predicate.sources.values() if one.license is not None}
    card = front_matter({"license": one_licence(spdx), **SHARDS}) + card_body(
        predicate, predicate.accounts, list(predicate.sources), nodes, columns
    )
    metadata = json.dumps(croissant_metadata(predicate, columns), indent=1, ensure_ascii=False) + "\n"
    written = {
        name: _put(attempt, name, text.encode()) for name, text in (("README.md", card), ("croissant.json", metadata))
    }
    sealed = to_json(seal(manifest, written))
    written[FILES_TABLE] = version.table.file.sha256
    if key is not None:
        write_envelope(attempt, sealed, key)
        written[ENVELOPE] = sha256_of(join(attempt, ENVELOPE))
    return written, {MANIFEST: _put(attempt, MANIFEST, manifest_bytes(sealed))}


def _put(folder: str, name: str, data: bytes) -> str:
    return write_checked(join(folder, name), lambda stream: stream.write(data)).sha256


def _columns(change: Change, old: OldOutput) -> dict[str, str]:
    """The shards' columns, in their order, with their logical types."""
    for row in old.shards:
        return {item.name: logical_type(item.type) for item in change.run.schema(row)}
    return dict(old.manifest.data.columns)


def _predicate(
    old: OldOutput, targets: Mapping[str, str], version: Version, lost: Losses, record: Removal
) -> Predicate:
    """The manifest's content: the old one's, with what is different now."""
    before, files = old.manifest, version.files
    varies = replace(
        before.varies,
        # Neither the list nor the condition is told: they may name what went.
        command=["gristmill", "remove"],
        written=record.removed_at,
        beside={name: targets[name].rstrip("/").rpartition("/")[2] for name in before.varies.beside},
        chain=Lineage(sequence=before.varies.chain.sequence + 1, previous=before.varies.statement),
        statement="",
    )
    return replace(
        before,
        sources={name: _totals(name, totals, lost) for name, totals in before.sources.items()},
        accounts=lost.accounts,
        data=Shards(
            files=files.data.count,
            rows=files.data.rows,
            bytes=files.data.bytes,
            root=files.data_contents.root(),
            columns=before.data.columns,
        ),
        files=Files(count=files.files.leaves, root=files.files.root(), content_root=files.contents.root()),
        kinds=version.kinds,
        removals=[*before.removals, record],
        digest="",
        varies=varies,
    )


def _totals(name: str, totals: SourceTotals, lost: Losses) -> SourceTotals:
    return replace(
        totals,
        rows=totals.rows - lost.removed.get(name, 0),
        text_bytes=totals.text_bytes - lost.read_bytes.get(name, 0),
    )
