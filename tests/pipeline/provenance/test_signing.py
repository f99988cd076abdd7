"""DSSE envelopes and keys: what is signed, what is refused, and where the key never goes."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.attestation import Attestation
from gristmill.pipeline.provenance.key_variable import KEY_VARIABLE
from gristmill.pipeline.provenance.signing import (
    PAYLOAD_TYPE,
    SignatureError,
    SigningKey,
    find_signing_key,
    payload_of,
    pre_authentication_encoding,
    public_key,
    sign_payload,
    verify_envelope,
    write_key_pair,
)

FIXED = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_what_is_signed_is_the_encoding_that_dsse_specifies() -> None:
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_a_signature_and_a_key_s_identifier_are_fixed() -> None:
    envelope = sign_payload(b"{}\n", FIXED)
    assert FIXED.key_id == hashlib.sha256(FIXED.public).hexdigest()
    assert FIXED.key_id == "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c"
    assert envelope == sign_payload(b"{}\n", FIXED), "Ed25519 is deterministic"
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    # Verified without our own code in between.
    Ed25519PublicKey.from_public_bytes(FIXED.public).verify(signature, b"DSSEv1 28 application/vnd.in-toto+json 3 {}\n")
    assert verify_envelope(envelope, FIXED.public) == b"{}\n"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"payloadType": "application/json"}, "payload type is 'application/json'"),
        ({"payload": base64.b64encode(b"[]").decode()}, "does not match the payload"),
        ({"payload": "e30K!"}, "not a DSSE envelope"),
        ({"signatures": []}, "nothing else"),
        ({"signatures": [{"keyid": "0" * 64, "sig": ""}]}, "not by the given key"),
        (
            {"signatures": [{"keyid": FIXED.key_id, "sig": base64.b64encode(bytes(64)).decode()}]},
            "does not match the payload",
        ),
        ({"signatures": [{"keyid": FIXED.key_id, "sig": "?"}]}, "does not match the payload"),
        ({"signatures": [{"sig": ""}]}, "nothing else"),
        ({"note": "more"}, "nothing else"),
    ],
)
def test_an_altered_envelope_is_refused(change: dict[str, object], complaint: str) -> None:
    envelope = sign_payload(b"{}\n", FIXED)
    assert {**envelope, **change} != envelope
    with pytest.raises(SignatureError, match=complaint):
        verify_envelope({**envelope, **change}, FIXED.public)


def test_another_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="not by the given key"):
        verify_envelope(sign_payload(b"{}", FIXED), SigningKey.generate().public)
    with pytest.raises(SignatureError, match="not a DSSE envelope"):
        payload_of({"payload": 5, "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": "", "sig": ""}]})


def test_keys_are_written_once_and_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "release"
    key = write_key_pair(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_key(path.with_name("release.pub").read_bytes()) == key.public == public_key(key.public)
    with pytest.raises(ConfigError, match="not overwritten"):
        write_key_pair(path)
    path.with_name("release.pub").unlink()
    with pytest.raises(ConfigError, match="not overwritten"):
        write_key_pair(path)


def test_a_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert find_signing_key(None) is None
    key = write_key_pair(tmp_path / "key")
    for value in (str(tmp_path / "key"), key.private_pem().decode()):
        monkeypatch.setenv(KEY_VARIABLE, value)
        found = find_signing_key(None)
        assert found is not None and found.key_id == key.key_id
        assert KEY_VARIABLE not in os.environ and find_signing_key(None) is None
    other = write_key_pair(tmp_path / "other")
    found = find_signing_key(str(tmp_path / "other"))
    assert found is not None and found.key_id == other.key_id


def test_unusable_keys_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="key: the key cannot be read"):
        find_signing_key(str(path))
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="not an unencrypted private key"):
        find_signing_key(str(path))
    curve = generate_private_key(SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(curve.private_bytes(*form))
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        find_signing_key(str(path))
    with pytest.raises(ConfigError, match="expected an Ed25519 public key"):
        public_key(b"nonsense")


def test_a_key_cannot_travel_to_a_worker_or_into_a_message() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Attestation(FIXED))
    assert FIXED.private_pem().decode().splitlines()[1] not in repr(Attestation(FIXED))
