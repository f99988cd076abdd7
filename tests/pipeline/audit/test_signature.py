"""Signatures and run lineage, as an audit sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.provenance.attestation import Attestation, sign_output
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey, envelope_bytes, sign_payload
from gristmill.pipeline.provenance.statement import manifest_bytes
from gristmill.pipeline.running.engine import Engine
from tests.pipeline.audit.tampering import Output
from tests.pipeline.toy_runs import write_corpus

KEY = SigningKey.generate()
SIMPLE = """
name: simple
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages: {{bounds: {{least: {least}}}}}
outputs: {{corpus: {{path: "{out}"}}}}
"""


def run(root: Path, out: Path, attestation: Attestation, least: int = 2) -> Output:
    config = load(SIMPLE.format(root=root, out=out, least=least), "test.yaml", plugins=("audit_stages",))
    Engine(make_plan(config), InlineExecutor(), attestation=attestation).run()
    return Output(out)


@pytest.fixture
def signed(output: Output) -> Output:
    sign_output(str(output.folder), KEY)
    return output


def test_a_signed_output_is_clean_for_its_key_and_says_so_without_one(signed: Output) -> None:
    result = signed.expect(key=KEY.public)
    assert result["signature"].status == "pass" and result.exit_code == 0
    assert signed.audit(key=KEY.public_pem()).exit_code == 0
    without = signed.audit()
    assert without.exit_code == 0 and without["signature"].status == "skipped"
    assert "no public key was given" in str(without["signature"].skipped)


def test_a_wrong_key(signed: Output) -> None:
    assert signed.expect("signature", key=SigningKey.generate().public).exit_code == 11


def test_a_missing_signature_is_a_failure_only_when_a_key_is_given(output: Output) -> None:
    assert output.audit().exit_code == 0
    assert output.audit(key=KEY.public).failed == {"signature"}


def test_an_altered_payload_type(signed: Output) -> None:
    envelope = json.loads(signed.path(ENVELOPE).read_bytes())
    signed.path(ENVELOPE).write_bytes(envelope_bytes({**envelope, "payloadType": "text/plain"}))
    signed.expect("signature", key=KEY.public)
    signed.expect("signature")


def test_another_manifest_than_the_signed_one(signed: Output) -> None:
    signed.set_manifest(lambda s: s["predicate"]["varies"].update(python="3.99"))
    signed.expect("signature")


def test_a_manifest_forged_with_another_key(signed: Output) -> None:
    signed.set_manifest(lambda s: s["predicate"]["varies"].update(python="3.99"))
    body = manifest_bytes(signed.manifest())
    signed.path(ENVELOPE).write_bytes(envelope_bytes(sign_payload(body, SigningKey.generate())))
    assert signed.audit().exit_code == 0, "digests alone cannot tell"
    signed.expect("signature", key=KEY.public)


def test_another_spelling_of_an_envelope(signed: Output) -> None:
    signed.path(ENVELOPE).write_text(json.dumps(json.loads(signed.path(ENVELOPE).read_bytes())))
    signed.expect("signature", key=KEY.public)


def test_an_output_that_was_changed_is_not_signed(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"].update(name="other"), digests=False)
    with pytest.raises(DataError, match="is not signed"):
        sign_output(str(output.folder), KEY)
    assert not output.path(ENVELOPE).exists()


def test_a_run_signs_its_manifest_and_follows_an_earlier_one(tmp_path: Path, in_process: None) -> None:
    write_corpus(tmp_path / "in", files=2)
    first = run(tmp_path, tmp_path / "one", Attestation(KEY))
    second = run(tmp_path, tmp_path / "two", Attestation(KEY, str(tmp_path / "one")), least=3)
    varies = [one.manifest()["predicate"]["varies"] for one in (first, second)]
    assert varies[0]["chain"] == {"sequence": 1, "previous": None}
    assert varies[1]["chain"] == {"sequence": 2, "previous": varies[0]["statement"]}
    result = second.audit(key=KEY.public, previous=str(first.folder))
    assert result.exit_code == 0 and result["sequence"].status == result["signature"].status == "pass"


def test_the_same_run_has_the_same_digest_wherever_it_stands_in_a_chain(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    first = run(tmp_path, tmp_path / "one", Attestation())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").rename(tmp_path / "elsewhere/in")
    again = run(tmp_path / "elsewhere", tmp_path / "two", Attestation(KEY, str(tmp_path / "one")))
    digests = [one.manifest()["predicate"]["digest"] for one in (first, again)]
    assert digests[0] == digests[1]


@pytest.fixture
def chain(tmp_path: Path, in_process: None) -> Callable[[str, int, str | None], Output]:
    write_corpus(tmp_path / "in", files=3)

    def make(name: str, least: int, after: str | None) -> Output:
        previous = None if after is None else str(tmp_path / after)
        return run(tmp_path, tmp_path / name, Attestation(previous=previous), least)

    return make


def test_two_manifests_with_one_sequence_number(chain: Callable[[str, int, str | None], Output]) -> None:
    one = chain("one", 2, None)
    two, three = chain("two", 3, "one"), chain("three", 4, "one")
    result = three.audit(previous=str(two.folder))
    assert result.failed == {"sequence"} and "a fork" in result.problems[0] and result.exit_code == 24
    assert three.audit(previous=str(one.folder)).exit_code == 0


def test_a_rolled_back_output(chain: Callable[[str, int, str | None], Output]) -> None:
    one, two = chain("one", 2, None), chain("two", 3, "one")
    result = one.audit(previous=str(two.folder))
    assert result.failed == {"sequence"} and "rolled back" in result.problems[0]


def test_a_chain_that_follows_another_manifest(chain: Callable[[str, int, str | None], Output]) -> None:
    chain("one", 2, None)
    other, two = chain("other", 5, None), chain("two", 3, "one")
    result = two.audit(previous=str(other.folder))
    assert result.failed == {"sequence"} and "a fork" in result.problems[0]


def test_a_sequence_number_without_an_earlier_manifest(output: Output) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["varies"]["chain"]["sequence"] = 3

    output.set_manifest(change)
    output.expect("sequence")


def test_drop_rates_that_moved_are_a_warning(chain: Callable[[str, int, str | None], Output]) -> None:
    chain("one", 2, None)
    two = chain("two", 15, "one")
    result = two.audit(previous=str(two.folder.parent / "one"))
    assert result.failed == {"drift"} and result.exit_code == 4
    assert result["drift"].findings[0].node == "bounds"


def test_an_earlier_manifest_that_cannot_be_read_leaves_the_audit_incomplete(output: Output, tmp_path: Path) -> None:
    result = output.audit(previous=str(tmp_path / "nowhere"))
    assert result.exit_code == 3 and result["sequence"].status == "unread"


def test_a_run_cannot_follow_what_is_no_run(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    with pytest.raises(ConfigError, match="no run can follow"):
        run(tmp_path, tmp_path / "out", Attestation(previous=str(tmp_path / "in")))
    first = run(tmp_path, tmp_path / "one", Attestation())
    first.set_manifest(lambda s: s["predicate"]["varies"].update(python="3.99"), digests=False)
    with pytest.raises(ConfigError, match="changed since it was written"):
        run(tmp_path, tmp_path / "two", Attestation(previous=str(first.folder)), least=3)
