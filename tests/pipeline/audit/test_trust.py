"""Whose signature counts: trust files, periods of keys, revocations, and chains of outputs signed by one key after another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gristmill.pipeline.audit.trust import Trust, read_trust
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.provenance.attestation import Attestation, sign_output
from gristmill.pipeline.provenance.signing import ENVELOPE, SignatureError, SigningKey, add_signature, sign_payload
from tests.pipeline.audit.tampering import Output
from tests.pipeline.audit.test_signature import run
from tests.pipeline.toy_runs import write_corpus

OLD, NEW, OTHER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()

RSA = generate_private_key(65537, 1024).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def trust_file(folder: Path, text: str) -> Trust:
    for name, key in (("old", OLD), ("new", NEW)):
        (folder / f"{name}.pub").write_bytes(key.public_pem())
    (folder / "trust.yaml").write_text(text)
    return read_trust(str(folder / "trust.yaml"))


ROTATED = """
keys:
  old: {{public: old.pub, until: 2026-06-01{old}}}
  new: {{public: new.pub, from: 2026-05-01{new}}}
"""


@pytest.mark.parametrize(
    ("signed_by", "written", "says"),
    [
        ([OLD], "2026-05-31T23:59:59Z", None),
        ([OLD], "2026-06-01T00:00:00Z", "is of 2026-06-01: old is trusted until 2026-06-01"),
        ([OLD], "2026-06-01T01:30:00+02:00", None),
        ([NEW], "2026-04-30T00:00:00Z", "is of 2026-04-30: new is trusted from 2026-05-01"),
        ([NEW], "2026-05-01T00:00:00Z", None),
        ([OLD, NEW], "2026-07-01T00:00:00Z", None),
        ([OTHER, OLD], "2026-05-15T00:00:00Z", None),
        ([OTHER], "2026-05-15T00:00:00Z", r"signed by KEY…, not by a trusted key \(old, new\)"),
        ([OLD], "yesterday", "the manifest's time is 'yesterday'"),
    ],
)
def test_a_manifest_is_judged_by_the_keys_of_its_time(
    tmp_path: Path, signed_by: list[SigningKey], written: str, says: str | None
) -> None:
    trust = trust_file(tmp_path, ROTATED.format(old="", new=""))
    envelope = sign_payload(b"{}\n", signed_by[0])
    for key in signed_by[1:]:
        envelope = add_signature(envelope, key)
    if says is None:
        trust.check(envelope, written)
    else:
        # Keys are new in each process, and the names of tests must not be.
        with pytest.raises(SignatureError, match=says.replace("KEY", OTHER.key_id[:16])):
            trust.check(envelope, written)


@pytest.mark.parametrize(
    ("earlier", "written", "says"),
    [
        ("", "2026-02-01", r"revoked on 2026-03-01 \(stolen\), and a holder of it can claim any earlier time"),
        ("", "2026-03-01", r"revoked on 2026-03-01 \(stolen\)$"),
        (", earlier: trusted", "2026-02-01", None),
        (", earlier: trusted", "2026-03-01", "revoked on 2026-03-01"),
    ],
)
def test_a_revoked_key_counts_for_nothing_unless_its_earlier_signatures_are_trusted(
    tmp_path: Path, earlier: str, written: str, says: str | None
) -> None:
    revoked = f", revoked: {{on: 2026-03-01, reason: stolen{earlier}}}"
    trust = trust_file(tmp_path, ROTATED.format(old=revoked, new=""))
    if says is None:
        trust.check(sign_payload(b"{}\n", OLD), written)
        return
    with pytest.raises(SignatureError, match=says):
        trust.check(sign_payload(b"{}\n", OLD), written)


def test_a_public_key_may_stand_in_the_trust_file_itself(tmp_path: Path) -> None:
    pem = "\n".join(f"      {line}" for line in OTHER.public_pem().decode().splitlines())
    trust = trust_file(tmp_path, f"keys:\n  other:\n    public: |\n{pem}\n")
    trust.check(sign_payload(b"{}\n", OTHER), "2026-01-01")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys: {}", "there is no key"),
        ("", "expected a map"),
        ("trusted: {}", "trusted: unknown key. Allowed: keys"),
        ("keys: {old: {public: old.pub, til: 2026-01-01}}", "keys.old.til: unknown key. Allowed: from, public, revoked, until"),
        ("keys: {old: {}}", "keys.old.public: expected the file of a public key"),
        ("keys: {old: {public: gone.pub}}", "gone.pub: cannot be read"),
        ("keys: {old: {public: /dev/zero}}", "/dev/zero is a device; expected a file"),
        ("keys: {old: {public: pipe}}", "pipe is a named pipe; expected a file"),
        ("keys: {old: {public: .}}", "is a folder; expected a file"),
        ("keys: {old: {public: large}}", "large: has more than 65,536 bytes"),
        ("keys: {old: {public: several.pub}}", "keys.old.public: several.pub: expected one public key, found several"),
        ("keys: {old: {public: rsa.pub}}", "trust.yaml:1: keys.old.public: rsa.pub: this is an RSAPublicKey"),
        ("keys: {old: {public: ~nobody-of-this-name/old.pub}}", "there is no such user"),
        ("keys: {old: {public: trust.yaml}}", "expected an Ed25519 public key"),
        ("keys: {old: {public: old.pub, from: soon}}", "keys.old.from: 'soon'; expected a date"),
        ("keys: {old: {public: old.pub, from: 2026-02-01, until: 2026-01-01}}", "until 2026-01-01, before `from`"),
        ("keys: {old: {public: old.pub, revoked: {on: 2026-01-01}}}", "expected `on`, a date, and `reason`, a text"),
        ("keys: {old: {public: old.pub, revoked: {on: 2026-01-01, reason: x, earlier: yes}}}", "expected `refused`"),
        ("keys: {old: {public: old.pub}, twin: {public: old.pub}}", "this is the key of `old` under a second name"),
        ("keys: [old.pub]", "keys: expected a map"),
        ("keys: {old: {public: old.pub}, old: {public: new.pub}}", "keys.old"),
    ],
)  # fmt: skip
def test_a_trust_file_that_is_not_as_it_must_be_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (1 << 16) + b"x")
    (tmp_path / "several.pub").write_bytes(OLD.public_pem() + NEW.public_pem())
    (tmp_path / "rsa.pub").write_bytes(RSA)
    with pytest.raises(ConfigError) as told:
        trust_file(tmp_path, text)
    assert says in str(told.value) and "trust.yaml" in str(told.value)


def test_a_trust_file_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trust.yaml")
    with pytest.raises(ConfigError, match="is a named pipe; expected a file"):
        read_trust(str(tmp_path / "trust.yaml"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four outputs of a dataset, `1` to `4`, each after the one before: 1 and 2 signed by OLD, 2 to 4 by NEW."""
    root = tmp_path_factory.mktemp("chain")
    write_corpus(root / "in", files=1)
    for number in (1, 2, 3, 4):
        after = str(root / str(number - 1)) if number > 1 else None
        run(root, root / str(number), Attestation(OLD if number < 3 else NEW, after), least=2)
    sign_output(str(root / "2"), NEW)
    return root


@pytest.fixture
def chain(runs: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    for number in (1, 2, 3, 4):
        shutil.copytree(runs / str(number), tmp_path / str(number))
    return tmp_path


def links(chain: Path, *numbers: int) -> list[str]:
    return [str(chain / str(number)) for number in numbers]


def test_each_output_of_a_chain_is_judged_by_the_keys_of_its_time(chain: Path, in_process: None) -> None:
    trust = trust_file(chain, "keys: {old: {public: old.pub}, new: {public: new.pub}}")
    latest = Output(chain / "4")
    result = latest.audit(full=False, trust=trust, previous=links(chain, 1, 2, 3))
    assert result.exit_code == 0 and result["sequence"].looked_at == 3 and result["signature"].looked_at == 4
    # The old key alone has signed the first of them, and the new one alone the last.
    trust = trust_file(chain, "keys: {new: {public: new.pub}}")
    result = latest.audit(full=False, trust=trust, previous=links(chain, 3, 2, 1))
    assert result.failed == {"signature"} and result.exit_code == 11
    (finding,) = result["signature"].findings
    assert finding.file == str(chain / "1" / ENVELOPE) and OLD.key_id[:16] in finding.message
    trust = trust_file(chain, "keys: {old: {public: old.pub, until: 2020-01-01}, new: {public: new.pub}}")
    result = latest.audit(full=False, trust=trust, previous=links(chain, 2, 1, 3))
    assert "old is trusted until 2020-01-01" in result.problems[0] and len(result.problems) == 1
    # `--key` is about the output alone.
    assert latest.audit(full=False, key=NEW.public, previous=links(chain, 3, 2, 1)).exit_code == 0


def test_an_earlier_output_that_is_unsigned_or_altered_fails_for_a_trust_file(chain: Path, in_process: None) -> None:
    trust = trust_file(chain, "keys: {old: {public: old.pub}, new: {public: new.pub}}")
    (chain / "1" / ENVELOPE).unlink()
    shutil.copy(chain / "2" / ENVELOPE, chain / "3" / ENVELOPE)
    result = Output(chain / "4").audit(full=False, trust=trust, previous=links(chain, 1, 2, 3))
    assert result.failed == {"signature"}
    assert [finding.file for finding in result["signature"].findings] == [
        str(chain / "1" / ENVELOPE), str(chain / "3" / ENVELOPE)
    ]  # fmt: skip
    assert "is not there" in result.problems[0] and "differs from manifest.json" in result.problems[1]


def test_a_missing_link_is_named_with_its_digest_and_who_claims_it(chain: Path, in_process: None) -> None:
    digests = [Output(chain / str(number)).manifest()["predicate"]["varies"]["statement"] for number in (1, 2, 3, 4)]
    latest = Output(chain / "4")
    result = latest.audit(full=False, previous=links(chain, 1, 2))
    assert result.exit_code == 3 and result["sequence"].status == "unread"
    (problem,) = result.problems
    assert f"number 4, in {chain / '4'}, follows the manifest {digests[2]}, number 3, which is missing" in problem
    assert f"The next is number 2, in {chain / '2'}" in problem
    result = latest.audit(full=False, previous=links(chain, 3, 1))
    (problem,) = result.problems
    assert f"number 3, in {chain / '3'}, follows the manifest {digests[1]}, number 2, which is missing" in problem
    assert latest.audit(full=False, previous=links(chain, 3)).exit_code == 0, "nobody asked for more"
    assert latest.audit(full=False, previous=links(chain, 2, 3)).exit_code == 0


def test_a_link_of_another_chain_is_a_fork_wherever_it_lies(chain: Path, tmp_path: Path, in_process: None) -> None:
    write_corpus(tmp_path / "in", files=1)
    run(tmp_path, tmp_path / "other", Attestation(OLD, str(chain / "1")), least=3)
    latest = Output(chain / "4")
    result = latest.audit(full=False, previous=[str(tmp_path / "other"), *links(chain, 1, 3)])
    assert "sequence" in result.failed
    assert any(f"number 2 in {tmp_path / 'other'}" in p and "a fork" in p for p in result.problems)
    both = latest.audit(full=False, previous=[str(tmp_path / "other"), *links(chain, 1, 2, 3)])
    assert "sequence" in both.failed and any("a fork" in problem for problem in both.problems)


def test_signing_again_keeps_the_signatures_that_are_there(chain: Path, in_process: None) -> None:
    output = Output(chain / "2")
    for key in (OLD, NEW):
        assert output.audit(full=False, key=key.public).exit_code == 0
    wrong = output.audit(full=False, key=OTHER.public)
    assert wrong.exit_code == 11
    for key in (OLD, NEW, OTHER):
        assert key.key_id[:16] in wrong.problems[0], "it says who signed, and who should have"
    shutil.copy(chain / "1" / ENVELOPE, chain / "2" / ENVELOPE)
    with pytest.raises(DataError, match=r"payload differs from manifest\.json as stored, so nothing is signed"):
        sign_output(str(chain / "2"), OTHER)
    output.path(ENVELOPE).write_text("{}")
    with pytest.raises(DataError, match="nothing else, so nothing is signed"):
        sign_output(str(chain / "2"), OTHER)


def test_the_page_verifies_a_signature_without_us(chain: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "provenance.md").read_text(encoding="utf-8")
    (code,) = [block for block in page.split("```")[1::2] if "load_pem_public_key" in block]
    (chain / "new.pub").write_bytes(NEW.public_pem())

    def verified(folder: Path, keyid: str) -> object:
        names = {"folder": folder, "public_key": chain / "new.pub", "keyid": keyid}
        exec(compile(code.removeprefix("py"), "provenance.md", "exec"), names)
        return names["same"]

    assert verified(chain / "2", NEW.key_id) is True
    with pytest.raises(InvalidSignature):
        verified(chain / "2", OLD.key_id)
    shutil.copy(chain / "3" / ENVELOPE, chain / "2" / ENVELOPE)
    assert verified(chain / "2", NEW.key_id) is False
