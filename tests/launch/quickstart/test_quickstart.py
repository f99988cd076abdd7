"""The quickstart, on a tenth of its small web: the report at its end, and the same report when it was done before."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command
from gristmill.launch.quickstart.outcomes import _documents
from gristmill.launch.quickstart.summary import differing
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from tests.launch.quickstart.corpus import ARGUMENTS, PINNED, corpus_digest
from tests.launch.running import Command, Ran


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def ran(home: Path) -> Ran:
    """One run for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("COLUMNS", "100")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(list(ARGUMENTS))
    return Ran(code, out.getvalue(), err.getvalue())


def section(text: str, title: str) -> str:
    """The paragraph that begins with a title."""
    return text[text.index(title) :].split("\n\n")[0]


def test_it_ends_with_a_passed_audit_and_code_0(ran: Ran) -> None:
    assert ran.code == 0, ran.err
    audit = section(ran.out, "Audit").splitlines()[1:]
    assert len(audit) == 2
    assert all(re.fullmatch(r"  out/quickstart/\w+: clean, \d+ checks passed", line) for line in audit)


def test_the_score_counts_every_kind_of_copy_every_verdict_and_the_traps(ran: Ran) -> None:
    score = section(ran.out, "Score")
    for kind in ("exact", "edited", "truncated", "boilerplate"):
        assert re.search(rf"{kind} copies found +\d+ +\d+ +\d+\.\d %", score)
    exact = re.search(r"exact copies found +(\d+) +(\d+)", score)
    assert exact is not None and exact[1] == exact[2]
    for verdict in ("keep pages in the corpus", "drop_quality pages dropped", "toxic pages in no output"):
        assert re.search(rf"{verdict} +\d+ +\d+", score)
    assert "traps passed" in score
    assert re.search(r"originals lost: \d+ of \d+ pages", score)


def test_it_shows_a_dropped_page_with_its_reason_and_a_pair_of_duplicates(ran: Ran) -> None:
    dropped = section(ran.out, "A dropped page: sw-")
    assert re.search(r"quality: \w+, [\d.]+ where the limit is [\d.]+", dropped)
    assert "│" in dropped
    pair = section(ran.out, "A pair of duplicates: sw-")
    assert "was kept" in pair and "[" in pair


def test_the_explain_line_can_be_pasted(
    ran: Ran, home: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = next(line for line in ran.out.splitlines() if "gristmill explain" in line)
    monkeypatch.chdir(home)
    told = gristmill(*line.split()[1:])
    assert told.code == 0, told.err
    assert line.split()[-1] in told.out
    assert "dropped" in told.out


def test_the_end_names_both_views_of_the_run(ran: Ran) -> None:
    shown = section(ran.out, "Next")
    assert "gristmill report out/quickstart/corpus --html report.html" in shown
    assert "gristmill explore out/quickstart/corpus" in shown


def test_a_second_time_it_says_the_same_without_computing(
    ran: Ran, home: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    again = gristmill(*ARGUMENTS)
    assert again.code == 0
    assert "nothing was computed" in again.out.splitlines()[0]
    assert again.out.splitlines()[1:] == ran.out.splitlines()[1:]


def test_json_has_the_score(ran: Ran, home: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    made = json.loads(gristmill(*ARGUMENTS, "--json").out)
    found, of = made["score"]["copies_found"]["exact"]
    assert found == of > 50
    assert made["score"]["wrongly_merged"] == 0
    assert made["score"]["traps"]


def test_a_damaged_output_is_not_called_clean(
    ran: Ran, home: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "out/quickstart/corpus/README.md").rename(home / "card")
    try:
        again = gristmill(*ARGUMENTS)
    finally:
        (home / "card").rename(home / "out/quickstart/corpus/README.md")
    assert again.code >= 4
    assert "clean" not in section(again.out, "Audit").splitlines()[1]


def test_words_that_differ_stand_in_brackets_on_both_sides() -> None:
    left, right = differing("the old mill stands here still".split(), "the new old mill is here today".split())
    assert left.plain == "the old mill [stands] here still …"
    assert right.plain == "the [new] old mill [is] here today …"


def test_the_corpus_is_the_one_that_it_has_always_been(ran: Ran, home: Path) -> None:
    """Which documents, in how many copies, with which text, in which order. Whoever changes a stage, a model or the small
    web on purpose changes this digest on purpose."""
    assert ran.code == 0, ran.err
    assert corpus_digest(home) == PINNED


def test_the_score_reads_every_file_of_those_that_share_a_task() -> None:
    text = "sources: {web: {format: small_web, documents: 400, shards_per_dump: 20}}\noutputs: {corpus: {path: unwritten}}\n"
    plan = make_plan(load(text, "shared.yaml"))
    assert any(len(one.members) > 1 for one in plan.slices)
    assert len({row["id"] for row in _documents(plan)}) == 400
