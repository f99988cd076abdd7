"""Removing documents from finished outputs: as a run without them, sound under audit, refused where it cannot be meant."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.removal import RemovalKey
from gristmill.pipeline.provenance.signing import SigningKey
from gristmill.pipeline.provenance.statement import manifest_bytes, manifest_digest, statement_digest
from gristmill.pipeline.removal.remove import Terms, remove_documents
from gristmill.pipeline.removal.selection import Request
from tests.pipeline.removal.runs import KEY, STAGES, Web, manifest, web
from tests.pipeline.toy_runs import rows_of


def _cluster(old: Web, url: str) -> set[str]:
    texts = {row["url"]: row["text"] for row in old.documents()}
    long = len(texts[url]) >= 8
    return {other for other, text in texts.items() if other == url or (long and text == texts[url])}


def _without_tallies(accounts: Accounts) -> Accounts:
    return replace(accounts, nodes={name: replace(one, tallies={}) for name, one in accounts.nodes.items()})


@pytest.mark.parametrize("seed", range(3))
def test_removing_is_running_without_the_documents(old: Web, tmp_path: Path, here: None, seed: int) -> None:
    picked = random.Random(seed).sample(sorted(row["url"] for row in old.documents()), 1 + 4 * seed)
    gone = set().union(*(_cluster(old, url) for url in picked))
    done = old.remove(tmp_path / "new", picked)
    assert done.record.documents == len(gone) and done.record.chosen == len(picked) and done.record.answers == []
    fresh = old.without(tmp_path / "fresh", gone)
    for name in ("corpus", "long"):
        mine, theirs = manifest(tmp_path / "new" / name), manifest(fresh.root / "out" / name)
        assert mine.data.root == theirs.data.root and (mine.data.rows, mine.data.files) == (
            theirs.data.rows,
            theirs.data.files,
        )
        assert _without_tallies(mine.accounts) == _without_tallies(theirs.accounts)
        counts = [
            {kind: (one.files, one.documents, one.units) for kind, one in found.kinds.items()}
            for found in (mine, theirs)
        ]
        assert counts[0] == counts[1]  # bytes are those of logs, too
        totals = {source: (one.rows, one.text_bytes, one.rejects) for source, one in mine.sources.items()}
        assert totals == {source: (one.rows, one.text_bytes, one.rejects) for source, one in theirs.sources.items()}
        for part in ("ledger", "notes", "dropped", "signals"):
            mine_rows, their_rows = rows_of(tmp_path / "new" / name, part), rows_of(fresh.root / "out" / name, part)
            assert mine_rows == their_rows, part
        result = audit_output(str(tmp_path / "new" / name), full=True, previous=str(old.root / "out" / name), jobs=1)
        assert result.exit_code == 0, result.problems


def test_going_back_to_the_input_needs_the_removals_key(old: Web, tmp_path: Path, here: None) -> None:
    old.remove(tmp_path / "new", [old.documents()[3]["url"]])
    folder = str(tmp_path / "new/corpus")
    back = {"full": True, "sources": (), "plugins": STAGES, "jobs": 1}
    assert audit_output(folder, **back).exit_code == 3
    assert "ledger" in audit_output(folder, **back, removal_keys=["ab" * 32]).failed
    result = audit_output(folder, **back, removal_keys=[KEY.text])
    assert result.exit_code == 0, result.problems


def test_a_key_of_one_of_two_removals_fails_nothing(old: Web, tmp_path: Path, here: None) -> None:
    first, second = (row["url"] for row in old.documents()[3:5])
    done = old.remove(tmp_path / "one", [first])
    later = Web(old.root, tuple(done.folders.values()))
    other = RemovalKey(bytes(32))
    remove_documents(later.outputs, str(tmp_path / "two"), Request("urls", (second,)), Terms("x", other, unsigned=True))
    options = {"full": True, "sources": (), "plugins": STAGES, "jobs": 1}
    found = {
        number: audit_output(str(tmp_path / "two/corpus"), removal_keys=[key.text for key in keys], **options)
        for number, keys in enumerate([(KEY,), (other,), (KEY, other), (RemovalKey(bytes([7] * 32)),)])
    }
    assert [found[number].exit_code for number in range(3)] == [3, 3, 0]
    assert found[3].failed == {"ledger"}


def test_a_second_removal_keeps_the_record_of_the_first(old: Web, tmp_path: Path, here: None) -> None:
    first, second = (row["url"] for row in old.documents()[3:5])
    done = old.remove(tmp_path / "one", [first])
    Web(old.root, tuple(done.folders.values())).remove(tmp_path / "two", [second])
    found = manifest(tmp_path / "two/corpus")
    assert len(found.removals) == 2 and found.varies.chain.sequence == 3
    assert found.removals[0] == done.record
    card = (tmp_path / "two/corpus/README.md").read_text()
    assert card.count("| asked for | ") == 2 and "## Taken out" in card
    options = {"full": True, "sources": (), "plugins": STAGES, "jobs": 1, "removal_keys": [KEY.text]}
    result = audit_output(str(tmp_path / "two/corpus"), previous=str(tmp_path / "one/corpus"), **options)
    assert result.exit_code == 0, result.problems


def test_no_file_names_what_went(old: Web, tmp_path: Path, here: None) -> None:
    row = next(
        row for row in old.documents() if row["text"].startswith("own") and len(row["text"]) > 60 and "-" in row["id"]
    )
    old.remove(tmp_path / "new", [row["url"]])
    key = next(one["doc_key"] for one in rows_of(old.root / "out/long") if one["url"] == row["url"])
    for path in sorted((tmp_path / "new").rglob("*")):
        if path.suffix == ".parquet":
            text = json.dumps(
                pq.ParquetFile(path).read().to_pylist(), default=lambda value: value.hex(), ensure_ascii=False
            )
        elif path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
        else:
            continue
        for trace in (row["url"], row["text"][:40], key.hex(), f'"{row["id"]}"'):
            assert trace not in text, (path, trace)


def test_outputs_that_no_run_wrote_end_in_one_message(old: Web, tmp_path: Path, here: None) -> None:
    broken = Web(tmp_path, (str(tmp_path / "corpus"), str(tmp_path / "long")))
    for folder in broken.outputs:
        shutil.copytree(old.root / "out" / Path(folder).name, folder)
        changed = json.loads(Path(folder, "manifest.json").read_text())
        changed["predicate"]["sources"] = {}
        changed["predicate"]["digest"] = manifest_digest(changed["predicate"])
        changed["predicate"]["varies"]["statement"] = statement_digest(changed)
        Path(folder, "manifest.json").write_bytes(manifest_bytes(changed))
    with pytest.raises(DataError, match="is damaged or no file that a run writes"):
        broken.remove(tmp_path / "new", [old.documents()[0]["url"]], unaudited=True)


def test_near_duplicates_may_stay_and_what_that_changes_is_said(old: Web, tmp_path: Path, here: None) -> None:
    ledger = rows_of(old.root / "out/corpus", "ledger")
    keeper = next(row["witness"] for row in ledger if row["node"] == "exact")
    done = old.remove(tmp_path / "new", [keeper], by="ids", near_duplicates=False)
    assert done.record.documents == 1 and done.record.answers == ["exact"]
    new = rows_of(tmp_path / "new/corpus", "ledger")
    assert len(new) < len(ledger) and keeper not in json.dumps([row["witness"] for row in new])
    assert audit_output(str(tmp_path / "new/corpus"), full=True, jobs=1).exit_code == 0


def test_a_condition_reaches_documents_and_nothing_else(old: Web, tmp_path: Path, here: None) -> None:
    condition = "url like 'https://b.example/1/1%' and source = 'b'"
    done = old.remove(tmp_path / "new", [condition], by="where", near_duplicates=False)
    wanted = {row["url"] for row in old.documents() if row["url"].startswith("https://b.example/1/1")}
    assert done.record.documents == len(wanted)
    for bad in (
        "url = ",
        "nothing = 1",
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "true); drop table documents; --",
        "false) union all select -1 where (true",
        "true) union all select 999999999 where (true",
        "url = '\udcff'",
    ):
        with pytest.raises(ConfigError, match="--where"):
            old.remove(tmp_path / "bad", [bad], by="where")
    assert not (tmp_path / "bad").exists()


def test_what_cannot_be_meant_is_refused(old: Web, tmp_path: Path, here: None) -> None:
    new = tmp_path / "new"
    with pytest.raises(ConfigError, match="2 of 3 urls are in no output"):
        old.remove(new, ["https://a.example/0/1", "https://nowhere.example/", "n"])
    with pytest.raises(ConfigError, match="'n5': write a:n5 or b:n5"):
        old.remove(new, ["n5"], by="ids")
    assert old.remove(
        tmp_path / "some", ["a:n5", "x"], by="ids", near_duplicates=False, allow_missing=True
    ).missing == ["x"]
    with pytest.raises(ConfigError, match="its run also wrote the outputs `long`"):
        Web(old.root, old.outputs[:1]).remove(new, ["a:n5"], by="ids")
    with pytest.raises(ConfigError, match="is not signed"):
        old.remove(new, ["a:n5"], by="ids", unsigned=False)
    with pytest.raises(ConfigError, match="already holds an output"):
        old.remove(tmp_path / "some", ["a:n5"], by="ids")
    (new / "corpus").mkdir(parents=True)
    (new / "corpus/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds files already \(`mine.txt`\)"):
        old.remove(new, ["a:n5"], by="ids")
    assert [path.name for path in new.rglob("*") if path.is_file()] == ["mine.txt"]


def test_files_that_changed_are_found_before_anything_is_written(old: Web, tmp_path: Path, here: None) -> None:
    shutil.copytree(old.root / "out", tmp_path / "out")
    copy = Web(tmp_path, (str(tmp_path / "out/corpus"), str(tmp_path / "out/long")))
    shard = sorted((tmp_path / "out/corpus/data").iterdir())[1]
    data = bytearray(shard.read_bytes())
    data[60] ^= 1  # in a page: a fast audit does not read it
    shard.write_bytes(data)
    with pytest.raises(DataError, match=f"{shard.name}: expected the SHA-256"):
        copy.remove(tmp_path / "new", ["a:n5"], by="ids")
    assert not (tmp_path / "new").exists()
    shard.unlink()
    with pytest.raises(ConfigError, match="fails its audit"):
        copy.remove(tmp_path / "new", ["a:n5"], by="ids")


def test_a_signed_output_gets_a_signed_version(tmp_path: Path, here: None) -> None:
    from gristmill.pipeline.provenance.attestation import sign_output

    signed, key = web(tmp_path / "signed", seed=3), SigningKey.generate()
    for folder in signed.outputs:
        sign_output(folder, key)
    with pytest.raises(ConfigError, match="is signed, and its new version would not be"):
        signed.remove(tmp_path / "new", ["a:n5"], by="ids", unsigned=False)
    with pytest.raises(ConfigError, match="fails its audit"):
        signed.remove(tmp_path / "new", ["a:n5"], by="ids", unsigned=False, key=SigningKey.generate())
    signed.remove(tmp_path / "new", ["a:n5"], by="ids", unsigned=False, key=key)
    assert audit_output(str(tmp_path / "new/long"), full=True, key=key.public, jobs=1).exit_code == 0


def test_a_killed_removal_is_no_output_and_is_made_again(
    old: Web, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.pipeline.removal import remove as module

    real, calls = module.publish_last, []

    def killed(*arguments: str) -> None:
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish_last", killed)
    with pytest.raises(KeyboardInterrupt):
        old.remove(tmp_path / "new", ["a:n5"], by="ids")
    assert calls and not list((tmp_path / "new").glob("*/manifest.json"))
    assert audit_output(str(tmp_path / "new/corpus"), jobs=None).exit_code == 10
    monkeypatch.setattr(module, "publish_last", real)
    old.remove(tmp_path / "new", ["a:n5"], by="ids")
    assert audit_output(str(tmp_path / "new/corpus"), full=True, jobs=1).exit_code == 0
