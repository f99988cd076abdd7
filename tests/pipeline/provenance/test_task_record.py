"""Records that commit a task's pass: stored as they always were, read back as what they are, refused in another form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.task_record import (
    NoNotes,
    Notes,
    OutputFile,
    SidecarPart,
    SidecarParts,
    SliceRecord,
    StagedFile,
    TaskAttempt,
    TaskRecord,
    WorkFile,
    commit,
    committed,
    kept_records,
)
from gristmill.pipeline.work_folder import WorkFolder

A, B = "a" * 64, "b" * 64
RECORD = TaskRecord(
    format=2,
    key=A,
    task=12,
    pass_=1,
    slice=SliceRecord(
        source="crawl", path="a.jsonl", part={"start": 0, "stop": 9}, file_bytes=9, digest=B, rows=2, rejects=0,
        columns={"text": B}, checks={"text": "00"}, reject_bytes=0, bytes=9, text_bytes=5, stamp="17",
    ),
    work_files=[WorkFile(path="annotations/one.arrow", role="annotations", sha256=B, size=3)],
    outputs={
        "corpus": [
            OutputFile(path="data/p.parquet", role="data", size=1, sha256=A, content_digest=B, rows=2, keys=255),
            StagedFile(role="staged", candidate="shuffled/p.arrow", size=1, sha256=A, rows=2, keys=255, bytes=7),
        ]
    },
    sidecars=SidecarParts(
        candidate="sidecars/t.arrows", size=8, sha256=A,
        parts=[SidecarPart(role="ledger", offset=0, size=8, check="0" * 32, rows=3)],
    ),
    notes={"minhash": Notes(path="notes/m.arrow", rows=2, sha256=A, keys=1), "rebalance": NoNotes()},
    signals={"quality": B},
    accounts=Accounts(),
    varies=TaskAttempt(host="here", process=7, started=1.5, seconds=0.25),
)  # fmt: skip
STORED: dict[str, Any] = {
    "format": 2,
    "key": A,
    "task": 12,
    "pass": 1,
    "slice": {
        "source": "crawl", "path": "a.jsonl", "part": {"start": 0, "stop": 9}, "file_bytes": 9, "digest": B, "rows": 2,
        "rejects": 0, "columns": {"text": B}, "checks": {"text": "00"}, "reject_bytes": 0, "bytes": 9, "text_bytes": 5,
        "stamp": "17",
    },
    "work_files": [{"path": "annotations/one.arrow", "role": "annotations", "sha256": B, "size": 3}],
    "outputs": {
        "corpus": [
            {
                "path": "data/p.parquet", "role": "data", "size": 1, "sha256": A, "content_digest": B, "rows": 2,
                "keys": "0" * 30 + "ff",
            },
            {
                "role": "staged", "candidate": "shuffled/p.arrow", "size": 1, "sha256": A, "rows": 2,
                "keys": "0" * 30 + "ff", "bytes": 7,
            },
        ]
    },
    "sidecars": {
        "candidate": "sidecars/t.arrows", "size": 8, "sha256": A,
        "parts": [{"role": "ledger", "offset": 0, "size": 8, "check": "0" * 32, "rows": 3}],
    },
    "notes": {
        "minhash": {"path": "notes/m.arrow", "rows": 2, "sha256": A, "keys": "0" * 31 + "1"},
        "rebalance": {"path": None, "rows": 0},
    },
    "signals": {"quality": B},
    "accounts": {"nodes": {}, "outputs": {}, "discarded": {}},
    "varies": {"host": "here", "process": 7, "started": 1.5, "seconds": 0.25},
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    folder = WorkFolder(str(tmp_path))
    Path(folder.at("annotations")).mkdir(parents=True)
    Path(folder.at("annotations/one.arrow")).write_bytes(b"abc")
    return folder


def place(work: WorkFolder) -> Path:
    return Path(work.at("commits/task-00012", f"pass-1-{A[:32]}.json"))


def test_a_record_is_stored_by_its_key_and_read_back(work: WorkFolder) -> None:
    assert commit(work, RECORD) and not commit(work, RECORD)
    assert place(work).read_bytes() == json.dumps(STORED, sort_keys=True).encode()
    assert committed(work, 12, 1, A) == RECORD
    assert committed(work, 12, 1, B) is None
    assert kept_records(work, 12) == [RECORD] and kept_records(work, 11) == []


def test_a_record_whose_files_are_gone_does_not_count(work: WorkFolder) -> None:
    commit(work, RECORD)
    Path(work.at("annotations/one.arrow")).write_bytes(b"ab")
    assert committed(work, 12, 1, A) is None


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", json.dumps({**STORED, "notes": {"minhash": {"path": "x", "rows": 2}}})]
)
def test_what_is_no_record_is_refused_by_name(work: WorkFolder, body: str) -> None:
    place(work).parent.mkdir(parents=True)
    place(work).write_text(body)
    with pytest.raises(StorageError, match=r"pass-1-a+\.json: this is not a TaskRecord .*Remove the work folder"):
        committed(work, 12, 1, A)


def test_records_of_another_format_are_left_alone(work: WorkFolder) -> None:
    commit(work, RECORD)
    place(work).with_name("pass-0-old.json").write_text(json.dumps({"format": 0, "notes": []}))
    assert kept_records(work, 12) == [RECORD]
