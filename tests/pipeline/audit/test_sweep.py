"""Every byte of one file of each kind is flipped, one at a time: no flip passes. And every check is fired by some test."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipeline.audit.documents import DOCUMENTS, MANIFEST, read_statement, subject_digest
from gristmill.pipeline.audit.result import CHECKS, Report
from gristmill.pipeline.audit.signature import check_signature
from gristmill.pipeline.audit.trust import Trust
from gristmill.pipeline.provenance.attestation import sign_output
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey
from tests.pipeline.audit.tampering import Output

KEY = SigningKey.generate()


@pytest.fixture
def signed(output: Output) -> Output:
    sign_output(str(output.folder), KEY)
    return output


def flips(data: bytes) -> Iterator[bytes]:
    """The data with one byte changed, for each byte: by one bit, which depends on the place."""
    changed = bytearray(data)
    for place in range(len(data)):
        changed[place] ^= 1 << (place % 8)
        yield bytes(changed)
        changed[place] = data[place]


def one_of_each_kind(output: Output) -> dict[str, str]:
    """Path → the SHA-256 that the audit compares it with, for the first file of each role and for the documents."""
    statement, _ = read_statement(str(output.folder), Report())
    assert statement is not None
    expected = {name: str(subject_digest(statement, name)) for name in (FILES_TABLE, *DOCUMENTS)}
    roles: set[str] = set()
    for entry in output.entries():
        if entry["role"] not in roles:
            roles.add(entry["role"])
            expected[entry["path"]] = entry["sha256"]
    assert {role.partition(":")[0] for role in roles} == {"data", "ledger", "signals", "dropped"}
    return expected


def test_every_file_has_a_digest_that_no_flip_keeps(output: Output) -> None:
    for path, expected in one_of_each_kind(output).items():
        data = output.path(path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == expected
        assert all(hashlib.sha256(flipped).hexdigest() != expected for flipped in flips(data)), path
    covered = {*one_of_each_kind(output), MANIFEST}
    assert {path.name for path in output.folder.iterdir() if path.is_file()} <= covered


def manifest_passes(output: Output) -> bool:
    report = Report()
    read_statement(str(output.folder), report)
    return not any(result.failed or result.unread for result in report.results.values())


def test_no_flip_of_the_manifest_passes(output: Output) -> None:
    path = output.path(MANIFEST)
    data = path.read_bytes()
    assert manifest_passes(output)
    for place, flipped in enumerate(flips(data)):
        if place % 40 == len(data) % 40 or place < 60 or place > len(data) - 60:
            path.write_bytes(flipped)
            assert not manifest_passes(output), f"byte {place}: {data[place : place + 1]!r}"


@pytest.mark.long
def test_no_flip_of_any_byte_of_the_manifest_passes(output: Output) -> None:
    path = output.path(MANIFEST)
    for place, flipped in enumerate(flips(path.read_bytes())):
        path.write_bytes(flipped)
        assert not manifest_passes(output), f"byte {place}"


def test_no_flip_of_the_envelope_passes(signed: Output) -> None:
    manifest, path = signed.path(MANIFEST).read_bytes(), signed.path(ENVELOPE)
    data = path.read_bytes()
    for place, flipped in enumerate(flips(data)):
        if 200 < place < len(data) - 600 and place % 97:
            continue  # the middle of the payload
        path.write_bytes(flipped)
        report = Report()
        check_signature(str(signed.folder), manifest, "", Trust.of(KEY.public), report)
        assert report.results["signature"].failed, f"byte {place}: {data[place : place + 1]!r}"


@pytest.mark.long
def test_no_flip_of_any_file_passes_a_full_audit(signed: Output) -> None:
    for path in sorted(item for item in signed.folder.rglob("*") if item.is_file()):
        data = path.read_bytes()
        for place, flipped in enumerate(flips(data)):
            if place % 97 == len(data) % 97:
                path.write_bytes(flipped)
                assert signed.audit(key=KEY.public).exit_code not in (0, 3), f"{path.name}, byte {place}"
        path.write_bytes(data)
    assert signed.audit(key=KEY.public).exit_code == 0


def test_every_check_is_fired_by_some_test() -> None:
    fired: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "expect":
                fired |= {item.value for item in node.args if isinstance(item, ast.Constant)}
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "failed":
                sets = [item for item in node.comparators if isinstance(item, ast.Set)]
                fired |= {item.value for one in sets for item in one.elts if isinstance(item, ast.Constant)}
    assert {check.name for check in CHECKS} - fired == set()
