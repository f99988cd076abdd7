"""Every check is needed: with any one switched off, a row of the tamper matrix is no longer caught as it must be."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.audit.result import CHECKS, Report
from gristmill.pipeline.provenance.removal import RemovalKey
from gristmill.pipeline.provenance.signing import SigningKey
from gristmill.pipeline.removal.remove import Terms, remove_documents
from gristmill.pipeline.removal.selection import Request
from tests.pipeline.audit import test_kind_tampering, test_revoked, test_sources, test_tampering
from tests.pipeline.audit import test_signature as test_attested
from tests.pipeline.audit.tampering import Output

Row = Callable[..., None]


def a_signature_that_is_not_there(output: Output) -> None:
    output.set_manifest(lambda s: s["predicate"]["varies"].update(python="3.99"))
    output.expect("signature", full=False, key=SigningKey.generate().public)


def drop_rates_that_moved(output: Output, tmp_path: Path) -> None:
    def fewer_drops(statement: dict[str, Any]) -> None:
        account = statement["predicate"]["accounts"]["nodes"]["bounds"]
        assert account["entered"]["rows"] >= 100 and account["dropped"]["rows"] > 0.05 * account["entered"]["rows"]
        account["dropped"]["rows"] = 0

    (tmp_path / "earlier").mkdir()
    shutil.copy(output.path("manifest.json"), tmp_path / "earlier")
    earlier = Output(tmp_path / "earlier")
    earlier.set_manifest(fewer_drops)
    digest = earlier.manifest()["predicate"]["varies"]["statement"]
    output.set_manifest(lambda s: s["predicate"]["varies"].update(chain={"sequence": 2, "previous": digest}))
    output.expect("drift", full=False, previous=str(earlier.folder))


def a_licence_without_evidence(output: Output) -> None:
    output.path("README.md").write_text("another card")
    output.expect("licences", "documents", full=False, require_licences=True)


def a_new_version_that_says_something_else(listed: tuple[Output, list[str]], tmp_path: Path) -> None:
    old, _ = listed
    url = old.rows(old.named("data")[0])["url"][3].as_py()
    terms = Terms("asked for", RemovalKey(bytes(32)), unsigned=True, unaudited=True)
    remove_documents([str(old.folder)], str(tmp_path / "new"), Request("urls", (url,)), terms)
    new = Output(tmp_path / "new")
    assert new.audit(previous=str(old.folder)).exit_code == 0
    new.set_manifest(lambda statement: statement["predicate"].update(notices=["all is well"]))
    new.expect("removal", previous=str(old.folder))


ROWS: dict[str, Row] = {
    "manifest": test_tampering.test_no_manifest,
    "signature": a_signature_that_is_not_there,
    "schema": test_tampering.test_an_unknown_key_in_the_manifest,
    "files": test_tampering.test_files_parquet_damaged,
    "missing": test_tampering.test_a_shard_deleted,
    "stray": test_tampering.test_a_stray_shard,
    "size": test_tampering.test_truncation,
    "documents": test_tampering.test_a_changed_card_is_a_warning,
    "footer": test_tampering.test_a_rewrite_that_loses_the_log,
    "roots": test_tampering.test_an_entry_removed_from_files_parquet,
    "lineage": test_tampering.test_an_input_slice_skipped,
    "models": test_tampering.test_a_changed_threshold,
    "accounts": test_tampering.test_tasks_that_do_not_add_up_to_the_run,
    "keys": test_tampering.test_a_dropped_row_group_with_counts_mended,
    "sequence": test_attested.test_a_sequence_number_without_an_earlier_manifest,
    "drift": drop_rates_that_moved,
    "regular": test_tampering.test_a_link_to_a_folder,
    "kinds": test_kind_tampering.test_totals_of_a_kind_that_its_logs_do_not_give,
    "sha256": test_tampering.test_a_same_size_edit_with_restored_times,
    "pages": test_tampering.test_a_zeroed_page,
    "content": test_tampering.test_swapped_rows,
    "vocabulary": test_tampering.test_a_reason_that_the_node_does_not_have,
    "ledger": test_tampering.test_a_decision_doubled_in_the_ledger,
    "join": test_tampering.test_a_copy_numbered_twice,
    "signals": test_tampering.test_signals_of_a_document_exchanged,
    "dropped": test_tampering.test_a_dropped_text_of_a_kept_document,
    "source": test_sources.test_input_that_changed_since_the_run_is_a_warning,
    "text": test_sources.test_a_text_edited_behind_a_node_that_left_it_alone,
    "replay": test_sources.test_a_false_value,
    "agreement": test_tampering.test_a_url_that_the_ledger_contradicts,
    "columns": test_sources.test_signals_and_shards_forged_together,
    "config": test_sources.test_a_manifest_that_its_config_contradicts,
    "derived": test_kind_tampering.test_a_kind_that_its_shard_does_not_give,
    "revoked": test_revoked.test_a_shard_with_what_the_list_names,
    "shares": test_tampering.test_shares_moved_between_licences,
    "licences": a_licence_without_evidence,
    "removal": a_new_version_that_says_something_else,
}


def play(row: Row, request: pytest.FixtureRequest) -> None:
    row(**{name: request.getfixturevalue(name) for name in inspect.signature(row).parameters})


@pytest.mark.parametrize("row", [a_signature_that_is_not_there, drop_rates_that_moved, a_licence_without_evidence])
def test_the_rows_of_this_module_fire(row: Row, request: pytest.FixtureRequest) -> None:
    play(row, request)


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
def test_switching_a_check_off_breaks_a_row_of_the_matrix(
    check: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, silenced = Report.fail, []

    def fail(self: Report, name: str, message: str, **place: Any) -> None:
        if name == check:
            silenced.append(message)
        else:
            real(self, name, message, **place)

    monkeypatch.setattr(Report, "fail", fail)
    with pytest.raises(AssertionError):
        play(ROWS[check], request)
    assert silenced, "the row broke for another reason"


def test_every_check_has_a_row() -> None:
    assert list(ROWS) == [check.name for check in CHECKS]
