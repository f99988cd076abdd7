"""Reading an output's manifest: what has another form than a run writes is refused with its file and key path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.statement import PREDICATE, STATEMENT, read_manifest


def write(folder: Path, predicate: Any) -> None:
    statement = {"_type": STATEMENT, "subject": [], "predicateType": PREDICATE, "predicate": predicate}
    (folder / "manifest.json").write_text(json.dumps(statement))


def test_a_folder_without_a_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("predicate", "complaint"),
    [
        (
            {"format": 2},
            r"manifest\.json: this is not a manifest as a run writes it \(predicate\.name: Field required\)",
        ),
        ({"format": 2, "name": 5}, r"\(predicate\.name: Input should be a valid string\)"),
        ({"format": 1}, r"manifest\.json: format 1 of .*wrote format 1.*verify_output\.py"),
        ({}, r"manifest\.json: this is not a Gristmill manifest \('format'\)"),
        ([], r"manifest\.json: this is not a Gristmill manifest"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, predicate: Any, complaint: str) -> None:
    write(tmp_path, predicate)
    with pytest.raises(DataError, match=complaint):
        read_manifest(str(tmp_path))
