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
from gristmill.pipeline.key_variable import KEY_VARIABLE
from gristmill.pipeline.provenance.attestation import Attestation
from gristmill.pipeline.provenance.key_files import find_signing_key, write_key_pair
from gristmill.pipeline.provenance.signing import (
    PAYLOAD_TYPE,
    SignatureError,
    SigningKey,
    add_signature,
    payload_of,
    pre_authentication_encoding,
    public_key,
    sign_payload,
    signers,
    verify_envelope,
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
    path.touch(0o600)
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


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o660, 0o755])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    write_key_pair(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match=f"key: the key's file has the mode {mode:04o}: .* `chmod 600` it"):
        find_signing_key(str(tmp_path / "key"))
    (tmp_path / "key").chmod(0o400)
    assert find_signing_key(str(tmp_path / "key")) is not None


def test_the_group_of_somebody_elses_file_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key_pair(tmp_path / "key")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    (tmp_path / "key").chmod(0o440)
    assert find_signing_key(str(tmp_path / "key")) is not None
    (tmp_path / "key").chmod(0o444)
    with pytest.raises(ConfigError, match="everyone on the machine"):
        find_signing_key(str(tmp_path / "key"))


def test_a_key_comes_through_a_pipe_and_not_from_an_endless_file(tmp_path: Path) -> None:
    key = write_key_pair(tmp_path / "key")
    reading, writing = os.pipe()
    os.write(writing, key.private_pem())
    os.close(writing)
    found = find_signing_key(f"/dev/fd/{reading}")
    os.close(reading)
    assert found is not None and found.key_id == key.key_id
    with pytest.raises(ConfigError, match="more than 65,536 bytes"):
        find_signing_key("/dev/zero")


def test_a_manifest_is_signed_by_several_keys(tmp_path: Path) -> None:
    other, third = SigningKey.generate(), SigningKey.generate()
    envelope = add_signature(add_signature(sign_payload(b"{}\n", FIXED), other), FIXED)
    assert [item["keyid"] for item in envelope["signatures"]] == [other.key_id, FIXED.key_id]
    assert verify_envelope(envelope, FIXED.public) == verify_envelope(envelope, other.public) == b"{}\n"
    assert signers(envelope, [third.public, other.public]) == [other.public]
    with pytest.raises(SignatureError, match=rf"signed by {other.key_id[:16]}…, {FIXED.key_id[:16]}…, not by"):
        verify_envelope(envelope, third.public)
    many = {**envelope, "signatures": envelope["signatures"] * 51}
    with pytest.raises(SignatureError, match="at most 100"):
        payload_of(many)


def test_a_key_cannot_travel_to_a_worker_or_into_a_message() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Attestation(FIXED))
    assert FIXED.private_pem().decode().splitlines()[1] not in repr(Attestation(FIXED))
