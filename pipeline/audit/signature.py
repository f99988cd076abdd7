"""The signature of an output under audit: whose it is, and whether that counts."""

from __future__ import annotations

from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.audit.trust import Trust
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.attestation import read_envelope
from gristmill.pipeline.provenance.signing import ENVELOPE, SignatureError, names_of, payload_of


def check_signature(
    folder: str, manifest: bytes, written: str, trust: Trust | None, report: Report, file: str = ENVELOPE
) -> None:
    """The envelope holds this manifest's bytes, and a key that is trusted has signed it.

    Args:
        manifest: manifest.json as it is stored.
        written: the time that it claims.
        trust: whose signature counts; None judges the envelope's form and payload alone.
        file: what findings call the envelope.
    """
    try:
        envelope = read_envelope(folder)
        if envelope is None:
            if trust is None:
                report.skip(("signature",), "the manifest is not signed: digests detect accidents, not forgery")
                return
            raise SignatureError(f"is not there: the manifest is not signed, neither by {trust.named} nor by another")
        if payload_of(envelope) != manifest:
            raise SignatureError("its payload differs from manifest.json as stored")
        if trust is None:
            told = f"signed by {names_of(envelope)}, but no public key was given to verify that with"
            report.skip(("signature",), told)
            return
        trust.check(envelope, written)
        report.saw("signature")
    except SignatureError as error:
        report.fail("signature", str(error), file=file)
    except GristmillError as error:
        report.unread("signature", str(error), file=file)
