"""`remove_documents`: new versions of a run's outputs without some documents, their duplicates, and whatever is kept of them.

Everything is read from the outputs themselves; neither the input nor the stages are needed. A killed removal leaves no
manifest, and the same command does it again from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, DataError, looked_for
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.lease import Lease, is_claim
from gristmill.pipeline.provenance.removal import MOST_REASON, Removal, RemovalKey
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, read_manifest
from gristmill.pipeline.provenance.values import parse
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.removal.dependents import Dependents, dependents, left_over
from gristmill.pipeline.removal.documents import write_documents
from gristmill.pipeline.removal.selection import Request
from gristmill.pipeline.storage import (
    exists,
    folders_synced_once,
    is_remote,
    join,
    list_files,
    local,
    remove,
    sha256_of,
)
from gristmill.pipeline.writing.attempt import attempt_name, publish, publish_last, published_before

REQUESTS = "gristmill.pipeline.removal.requests"
_READINGS = 20
"""How often the bytes of an output are read, or as long as that takes: kinds are made again, rows are written."""


@dataclass(frozen=True)
class Removed:
    """What was done.

    Attributes:
        folders: the new versions, by output.
        record: as their manifests have it.
        missing: entries that no document answers to.
        left: folders that still hold the documents: the old ones, and work folders of their run that are there.
        dependents: outputs that settled against the old ones, and may name the documents.
    """

    folders: Mapping[str, str]
    record: Removal
    missing: Sequence[str]
    left: Sequence[str]
    dependents: Dependents


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
        later: outputs that may have settled against the old ones; those that lie beside them are looked at anyhow.
    """

    reason: str
    removal_key: RemovalKey
    key: SigningKey | None = None
    signed_by: bytes | None = None
    unsigned: bool = False
    unaudited: bool = False
    later: Sequence[str] = ()


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
    _refuse_telling(terms.reason, request)
    outputs = {folder: _manifest(folder) for folder in folders}
    targets = {one.output: target if len(outputs) == 1 else join(target, one.output) for one in outputs.values()}
    for folder in targets.values():
        _refuse_inside(folder, list(outputs))
    _refuse_unsound(list(outputs), terms)
    what = {
        "folders": list(outputs),
        "request": asdict(request),
        "key": terms.removal_key.text,
        "reason": terms.reason,
        "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    size = _READINGS * sum(one.data.bytes for one in outputs.values())
    with ReaderProcess(REQUESTS) as reader:
        told = _asked(reader, "prepare", what, size, folders[0])
        record = parse(Removal, told["record"])
        rests = dependents(told["notes"], list(outputs), terms.later)
        attempt = attempt_name(digest("gristmill.removal", [record.taken_from, record.request, record.key]))
        attempts = {output: join(folder, attempt) for output, folder in targets.items()}
        with _held(targets, attempts) as leases, folders_synced_once():
            argument = {"what": what, "targets": targets, "attempts": attempts}
            written = _asked(reader, "write", argument, size, folders[0])
            _publish(list(outputs.values()), targets, attempts, written, record, terms.key, leases)
    return Removed(targets, record, told["missing"], left_over(outputs), rests)


def _asked(reader: ReaderProcess, function: str, argument: Any, size: int, folder: str) -> Any:
    try:
        return reader.call(function, argument, size)
    except ReaderCrashed as error:
        raise DataError(
            f"{folder}: {error} while it read the outputs. A file is damaged, or made to do this: `gristmill audit {folder} "
            "--full` shows which. If none is, the condition of --where has no end, or needs more memory than there is."
        ) from error


# What is refused


def _manifest(folder: str) -> Predicate:
    found = read_manifest(folder)
    if found is None:
        raise ConfigError(
            f"{folder}: there is no manifest.json{looked_for(folder)}. Give the folder of a finished output."
        )
    return found


def _refuse_inside(folder: str, outputs: Sequence[str]) -> None:
    for other in outputs if not is_remote(folder) else ():
        real, taken = local(folder).resolve(), local(other).resolve()
        if not is_remote(other) and (real == taken or taken in real.parents or real in taken.parents):
            raise ConfigError(f"--output {folder}: lies in {other}, or around it. Name another folder.")
    if exists(join(folder, MANIFEST)):
        raise ConfigError(f"--output {folder}: already holds an output. Name a new folder: no version is overwritten.")


def _refuse_unsound(folders: Sequence[str], terms: Terms) -> None:
    """Raises ConfigError for outputs that are not signed, or fail an audit, unless that is accepted."""
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


# Publishing


@contextmanager
def _held(targets: Mapping[str, str], attempts: Mapping[str, str]) -> Iterator[list[Lease]]:
    """The new folders, claimed and clear of what a killed attempt at the same removal left. Where it fails with an error,
    nothing of it stays there."""
    with ExitStack() as stack:
        leases = {
            output: stack.enter_context(
                Lease(folder, f"the output `{output}`", {"attempt": attempts[output].rpartition("/")[2]})
            )
            for output, folder in sorted(targets.items())
        }
        try:
            for output, folder in targets.items():
                _clear(folder, attempts[output], leases[output])
            yield list(leases.values())
        except Exception:
            for output, lease in leases.items():
                if not published_before(attempts[output]):
                    remove(attempts[output])
                lease.done()
            raise
        for output, lease in leases.items():
            remove(attempts[output])
            lease.done()


def _clear(folder: str, attempt: str, lease: Lease) -> None:
    """Raises ConfigError for what is in the folder and is not this removal's."""
    own, inside = published_before(attempt), attempt.removeprefix(folder.rstrip("/") + "/") + "/"
    for path in list_files(folder):
        if path.startswith(inside) or is_claim(path):
            continue
        if path not in own or sha256_of(join(folder, path)) not in own[path]:
            raise ConfigError(f"--output {folder}: holds files already (`{path}`). Name an empty or a new folder.")
        remove(join(folder, path))
    remove(attempt)
    lease.forget()


def _publish(
    outputs: Sequence[Predicate],
    targets: Mapping[str, str],
    attempts: Mapping[str, str],
    written: Mapping[str, Any],
    record: Removal,
    key: SigningKey | None,
    leases: Sequence[Lease],
) -> None:
    """Moves everything to its place, manifests last."""
    documents = {
        old.output: write_documents(old, targets, written, record, attempts[old.output], key) for old in outputs
    }
    for lease in leases:
        lease.check()
    for output, (beside, last) in documents.items():
        every = {**dict(written["versions"][output]["written"]), **beside}
        publish(targets[output], attempts[output], every, last, InlineExecutor())
    for output, (_, last) in documents.items():
        publish_last(targets[output], attempts[output], MANIFEST, last[MANIFEST])
