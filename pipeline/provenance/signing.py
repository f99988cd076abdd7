"""Signing manifests: DSSE envelopes (Dead Simple Signing Envelope, v1) around in-toto Statements, with Ed25519 keys.

The key stays with the driver: it cannot be pickled, so it cannot travel to a worker.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gristmill.pipeline.errors import ConfigError, DataError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE = "manifest.dsse.json"
"""Name of the envelope in an output."""
MOST_SIGNATURES = 100
"""Signatures of an envelope: some per rotation of a key."""


class SignatureError(DataError):
    """An envelope is malformed, or is not signed by the key that must have signed it."""


class SigningKey:
    """A private Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key stays in the process that read it and cannot be pickled")

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id[:16]}…)"

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, text: bytes, where: str) -> SigningKey:
        """Raises ConfigError, naming `where`, for anything but an unencrypted Ed25519 private key in PEM."""
        try:
            key = serialization.load_pem_private_key(text, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{where}: this is not an unencrypted private key in PEM format ({error}). `gristmill keys new` makes one."
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{where}: this is not an Ed25519 key. `gristmill keys new` makes one.")
        return cls(key)

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def key_id(self) -> str:
        return key_id(self.public)

    def private_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def public_key(data: bytes, where: str = "key") -> bytes:
    """The 32 bytes of a public key given as PEM or as those bytes. Raises ConfigError for anything else."""
    if len(data) == 32:
        return data
    if data.count(b"-----BEGIN") > 1:
        raise ConfigError(
            f"{where}: expected one public key, found several. Only the first would count: split the file."
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{where}: expected an Ed25519 public key, as PEM or 32 bytes ({error}). It lies beside the private one, in "
            "the file that ends with .pub."
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where}: this is an {type(key).__name__.lstrip('_')}, not an Ed25519 key.")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def key_id(public: bytes) -> str:
    """Identifier of a key: SHA-256 of the 32 bytes of its public half, in hexadecimal."""
    return hashlib.sha256(public).hexdigest()


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: `DSSEv1 len(type) type len(payload) payload`, lengths in decimal (DSSE protocol, v1)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_payload(payload: bytes, key: SigningKey) -> dict[str, Any]:
    """An envelope around a payload of in-toto's type."""
    return {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [_signature(payload, key)],
    }


def add_signature(envelope: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """The same envelope signed by one more key; what it holds is not judged. A key's earlier signature is replaced.

    Raises SignatureError for another form, and for one signature too many.
    """
    others = [item for item in envelope["signatures"] if item["keyid"] != key.key_id]
    made = {**envelope, "signatures": [*others, _signature(payload_of(envelope), key)]}
    payload_of(made)
    return made


def _signature(payload: bytes, key: SigningKey) -> dict[str, str]:
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return {"keyid": key.key_id, "sig": base64.b64encode(signature).decode("ascii")}


def envelope_bytes(envelope: Mapping[str, Any]) -> bytes:
    """An envelope as it is stored."""
    return (json.dumps(envelope, indent=1, sort_keys=True) + "\n").encode("utf-8")


def payload_of(envelope: Mapping[str, Any]) -> bytes:
    """The payload of an envelope, unverified.

    Raises SignatureError for another form or another payload type.
    """
    try:
        if set(envelope) != {"payload", "payloadType", "signatures"} or not envelope["signatures"]:
            raise SignatureError("an envelope has a payload, a payloadType and signatures, and nothing else")
        if len(envelope["signatures"]) > MOST_SIGNATURES:
            raise SignatureError(
                f"it has {len(envelope['signatures']):,} signatures; at most {MOST_SIGNATURES} are read"
            )
        for item in envelope["signatures"]:
            if set(item) != {"keyid", "sig"} or not all(isinstance(value, str) for value in item.values()):
                raise SignatureError("a signature has a keyid and a sig, and nothing else")
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise SignatureError(f"the payload type is {envelope['payloadType']!r}, not {PAYLOAD_TYPE!r}")
        return _decoded(envelope["payload"])
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise SignatureError(f"this is not a DSSE envelope ({error})") from error


def _decoded(text: str) -> bytes:
    """Base64 in its one canonical spelling: the bits that padding leaves over must be zero. Raises ValueError."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("base64 is not in canonical form")
    return data


def verify_envelope(envelope: Mapping[str, Any], public: bytes) -> bytes:
    """The payload of an envelope that a key has signed, alone or among others. `public` are the key's 32 bytes.

    Raises SignatureError for another form, another payload type, another key or a signature that does not fit.
    """
    payload = payload_of(envelope)
    if not signers(envelope, [public]):
        raise SignatureError(f"it is signed by {names_of(envelope)}, not by the given key {key_id(public)[:16]}…")
    return payload


def signers(envelope: Mapping[str, Any], publics: Iterable[bytes]) -> list[bytes]:
    """Which of some keys have signed an envelope of the right form.

    Raises SignatureError where a signature under one of their names does not fit.
    """
    data = pre_authentication_encoding(envelope["payloadType"], payload_of(envelope))
    found = []
    for public in publics:
        mine = [item["sig"] for item in envelope["signatures"] if item["keyid"] == key_id(public)]
        for signature in mine:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(_decoded(signature), data)
            except (InvalidSignature, ValueError) as error:
                raise SignatureError(
                    f"the signature of the key {key_id(public)[:16]}… does not match the payload"
                ) from error
        found += [public] if mine else []
    return found


def names_of(envelope: Mapping[str, Any]) -> str:
    """Who has signed an envelope, as it says."""
    return ", ".join(f"{item['keyid'][:16]}…" for item in envelope["signatures"])
