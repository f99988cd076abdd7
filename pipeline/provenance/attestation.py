"""What supports a finished output beyond its digests: a signature, and its place in the lineage of its dataset's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.pipeline.errors import ConfigError, DataError, looked_for
from gristmill.pipeline.provenance.signing import (
    ENVELOPE,
    SignatureError,
    SigningKey,
    add_signature,
    envelope_bytes,
    payload_of,
    sign_payload,
    verify_envelope,
)
from gristmill.pipeline.provenance.statement import (
    MOST_BYTES,
    Lineage,
    manifest_bytes,
    parse_strictly,
    read_statement_bytes,
    statement_digest,
)
from gristmill.pipeline.storage import exists, join, read_within, write_checked

FIRST = Lineage()


@dataclass(frozen=True)
class Attestation:
    """How a run's manifests are signed and linked to the previous run. Stays in the driver.

    Attributes:
        key: signs the manifests; None leaves them unsigned.
        previous: the output of the dataset's previous run; for a run with several outputs the folder that holds them by
            name.
    """

    key: SigningKey | None = None
    previous: str | None = None

    def links(self, outputs: Sequence[str]) -> dict[str, Lineage]:
        """The place of each output's manifest, by the output's name. Raises ConfigError when the previous run cannot be
        followed."""
        if self.previous is None:
            return {name: FIRST for name in outputs}
        single = len(outputs) == 1
        return {name: link_after(self.previous if single else join(self.previous, name)) for name in outputs}


def link_after(folder: str) -> Lineage:
    """The place after an output. Raises ConfigError when it has no manifest, or one whose digest does not hold."""
    try:
        found = read_statement_bytes(folder)
    except DataError as error:
        raise ConfigError(f"the previous run: {error}") from error
    if found is None:
        raise ConfigError(f"{folder}: there is no manifest.json{looked_for(folder)}, so no run can follow this one.")
    varies = found[0]["predicate"]["varies"]
    digest = statement_digest(found[0])
    if varies.get("statement") != digest:
        raise ConfigError(f"{folder}: its manifest was changed since it was written. Audit it first.")
    return Lineage(sequence=int(varies["chain"]["sequence"]) + 1, previous=digest)


def write_envelope(folder: str, manifest: Mapping[str, Any], key: SigningKey) -> str:
    """Signs a manifest and writes the envelope into its output. Returns the key's identifier."""
    return _write(folder, sign_payload(manifest_bytes(manifest), key), key)


def _write(folder: str, envelope: Mapping[str, Any], key: SigningKey) -> str:
    body = envelope_bytes(envelope)
    write_checked(join(folder, ENVELOPE), lambda stream: stream.write(body))
    return key.key_id


def read_envelope(folder: str) -> dict[str, Any] | None:
    """An output's envelope, of the right form and stored canonically, whoever signed it; None when there is none.

    Raises SignatureError for anything else.
    """
    if not exists(join(folder, ENVELOPE)):
        return None
    return parse_envelope(read_within(folder, ENVELOPE, 2 * MOST_BYTES))  # the manifest, in base64


def parse_envelope(data: bytes) -> dict[str, Any]:
    """An envelope from its bytes. Raises SignatureError for another form, and for another spelling than ours."""
    try:
        envelope = parse_strictly(data)
    except ValueError as error:
        raise SignatureError(str(error)) from error
    payload_of(envelope)
    if envelope_bytes(envelope) != data:
        raise SignatureError("it is not stored in the canonical form (indented by 1, sorted keys, one line feed)")
    return dict(envelope)


def is_signed_by(folder: str, key: SigningKey) -> bool:
    """Whether an output's envelope holds its manifest, signed by a key."""
    found = read_statement_bytes(folder)
    try:
        envelope = read_envelope(folder)
        return found is not None and envelope is not None and verify_envelope(envelope, key.public) == found[1]
    except SignatureError:
        return False


def sign_output(folder: str, key: SigningKey) -> str:
    """Signs the manifest of a finished output, for a key that was not at hand when the run ended, or for a new key: the
    signatures that are there are kept. Returns the key's identifier.

    Raises ConfigError when there is no manifest, and DataError when its bytes are not those that a run wrote, or an
    envelope is there that is not of this manifest.
    """
    found = read_statement_bytes(folder)
    if found is None:
        raise ConfigError(
            f"{folder}: there is no manifest.json to sign{looked_for(folder)}. Give the folder of a finished output."
        )
    statement, body = found
    if manifest_bytes(statement) != body or statement["predicate"]["varies"].get("statement") != statement_digest(
        statement
    ):
        raise DataError(
            f"{folder}: manifest.json was changed since the run wrote it, so it is not signed. "
            f"`gristmill audit {folder}` shows more."
        )
    try:
        envelope = read_envelope(folder)
        if envelope is None:
            return write_envelope(folder, statement, key)
        if payload_of(envelope) != body:
            raise SignatureError("its payload differs from manifest.json as stored")
        return _write(folder, add_signature(envelope, key), key)
    except SignatureError as error:
        raise DataError(
            f"{join(folder, ENVELOPE)}: {error}, so nothing is signed. If nobody needs that file, remove it first."
        ) from error
