"""The tampering matrix: sixty and more tamperings, unsigned and signed with another key, through the reading process. Each ends
with an exit code that is not clean and a finding of the right check; nothing hangs and nothing ends in a traceback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.attestation import sign_output
from gristmill.pipeline.provenance.signing import SigningKey
from gristmill.pipeline.reader_process import ReaderProcess
from tests.hostile.conftest import SECONDS
from tests.hostile.tamperings import TAMPERINGS
from tests.pipeline.audit.tampering import Output

PLUGINS = ("toy_stages", "audit_stages")
KEY, ANOTHER = SigningKey.generate(), SigningKey.generate()


class _Kept(ReaderProcess):
    """A reading process that the audits of this module share: starting one takes longer than an audit of a small output."""

    def __exit__(self, *exception: object) -> None:
        return


@pytest.fixture(scope="module")
def reader() -> Iterator[ReaderProcess]:
    kept = _Kept()
    yield kept
    kept._stop()


def audited(output: Output, check: str, signed: bool) -> None:
    began = time.monotonic()
    result = output.audit(plugins=PLUGINS, key=KEY.public if signed else None)
    assert time.monotonic() - began < SECONDS
    found = result[check]
    assert found.failed or found.unread, "\n".join(result.problems)
    assert result.exit_code not in (0, 4)
    if signed:
        assert result["signature"].failed or result["signature"].unread


QUICK = [name for name, (_, check) in TAMPERINGS.items() if check in ("columns", "config", "agreement")]


@pytest.mark.parametrize("name", QUICK)
def test_a_forgery_is_found(name: str, output: Output) -> None:
    tamper, check = TAMPERINGS[name]
    tamper(output)
    audited(output, check, signed=False)


@pytest.mark.long
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(
    name: str,
    signed: bool,
    wide_run: Path,
    copied: Callable[[Path], Output],
    reader: ReaderProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", lambda: reader)
    output = copied(wide_run / "out/corpus")
    tamper, check = TAMPERINGS[name]
    if signed:
        sign_output(str(output.folder), KEY)
    tamper(output)
    if signed and not name.startswith(("envelope", "sparse_envelope")):  # which a new signature would replace
        # What no longer has the form of a manifest cannot be signed again: the first signature stays.
        try:
            sign_output(str(output.folder), ANOTHER)
        except GristmillError as error:
            assert str(error)
    audited(output, check, signed)


@pytest.mark.long
def test_an_output_that_nobody_touched_is_clean(wide_run: Path, copied: Callable[[Path], Output]) -> None:
    output = copied(wide_run / "out/corpus")
    assert output.audit(plugins=PLUGINS).exit_code == 0
    sign_output(str(output.folder), KEY)
    assert output.audit(plugins=PLUGINS, key=KEY.public).exit_code == 0
