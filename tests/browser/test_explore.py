"""The explorer as a person uses it: search, a document's way, a copy's differences, a threshold moved, hostile texts."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gristmill.launch.commands.explore import listening
from gristmill.launch.explorer.explorer import Explorer
from gristmill.launch.explorer.service import application
from tests.browser.looking import WIDTHS, Look, Opener
from tests.launch.explorer.conftest import GRAPH, write_documents
from tests.pipeline.toy_runs import run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("looked")
    write_documents(root / "in")
    run(GRAPH.format(root=root))
    return root / "out/corpus"


@pytest.fixture
def address(output: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the explorer answers, while a test runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    explorer = Explorer(str(output), [], ["toy_stages"], lambda said: None)
    explorer.check()
    place = listening(0)
    port = place.getsockname()[1]
    config = uvicorn.Config(application(explorer, "token", port), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}/token/"
    server.should_exit = True
    thread.join()
    explorer.close()


def opened(look: Opener, address: str, width: int = WIDTHS[0], dark: bool = False) -> Look:
    seen = look(address, width, dark)
    seen.page.wait_for_selector("body[data-ready]")
    return seen


def test_from_a_search_to_why_a_document_was_dropped(look: Opener, address: str) -> None:
    seen = opened(look, address)
    page = seen.page
    assert page.inner_text("h1") == "looked at: corpus" and page.inner_text("#found") == "80 documents"
    page.keyboard.press("/")
    page.keyboard.type("grüße")
    page.wait_for_selector("#found:not(:text('80 documents'))")
    page.select_option(
        "#f-rule", label=next(one for one in page.locator("#f-rule option").all_inner_texts() if "same_text" in one)
    )
    page.fill("#f-text", "")
    page.wait_for_selector("#list article:nth-of-type(4) .badge.bad")
    page.keyboard.press("Escape")
    page.locator("#list button[data-docno]").first.click()
    page.wait_for_selector("dialog[open] .way")
    assert "dropped: same_text" in page.inner_text("dialog .way")
    page.locator("dialog button[data-compare]").first.click()
    page.wait_for_selector("dialog[open] .notice.good")
    assert "Word for word the same" in page.inner_text("dialog")
    assert seen.serious() == []
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_a_threshold_is_moved_and_its_setting_copied(look: Opener, address: str) -> None:
    seen = opened(look, address)
    page = seen.page
    page.click("#tab-thresholds")
    page.wait_for_selector("#result dl")
    option = next(
        one for one in page.locator("#f-setting option").all_inner_texts() if one.startswith("first: too_short")
    )
    held: list[Any] = []
    page.route("**/move*", lambda route: held.append(route))  # as a slow machine answers
    page.select_option("#f-setting", label=option)
    page.wait_for_selector("#slider:disabled")
    while not held:
        page.wait_for_timeout(20)
    assert page.is_disabled("#slider") and page.is_disabled("#limit")
    held[0].continue_()
    page.unroute("**/move*")
    page.wait_for_selector("#slider:enabled")
    before = page.inner_text("#kept-after")
    page.focus("#slider")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#yaml")
    page.wait_for_selector("#yaml:has-text('least: 9')")
    assert int(page.inner_text("#kept-after")) < int(before)
    assert "Would be taken out" in page.inner_text("#result")
    page.click("#follow")
    page.wait_for_selector("#followed table")
    assert "same *" in page.inner_text("#followed") and "whole corpus" in page.inner_text("#followed")
    assert seen.serious() == []


def test_texts_that_are_markup_are_shown_and_do_nothing(look: Opener, address: str) -> None:
    page = opened(look, address).page
    page.fill("#f-text", "broken onerror")
    page.wait_for_selector("#found:text-is('2 documents')")
    page.locator("#list button[data-docno]").first.click()
    page.wait_for_selector("dialog[open] .fulltext")
    assert "<script>" in page.inner_text("dialog .fulltext") and page.title() == "looked at: corpus – Gristmill"
    assert page.locator("img, main script, dialog script, a[href^=javascript]").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_every_view_fits_and_nothing_serious_is_found(look: Opener, address: str, width: int, dark: bool) -> None:
    seen = opened(look, address, width, dark)
    assert seen.serious() == [] and seen.overflow() <= 0
    seen.page.locator("#list button[data-docno]").first.click()
    seen.page.wait_for_selector("dialog[open] .way")
    assert seen.serious() == [] and seen.overflow() <= 0
    seen.page.keyboard.press("Escape")
    seen.page.click("#tab-thresholds")
    seen.page.wait_for_selector("#result dl")
    assert seen.serious() == [] and seen.overflow() <= 0


def test_an_output_that_fails_its_audit_and_one_that_is_removed(
    look: Opener, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "corpus"
    shutil.copytree(output, folder)
    (folder / "stray.txt").write_text("x")
    explorer = Explorer(str(folder), [], ["toy_stages"], lambda said: None)
    explorer.check()
    place = listening(0)
    port = place.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(explorer, "token", port), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    seen = opened(look, f"http://127.0.0.1:{port}/token/")
    seen.page.wait_for_selector(".notice.bad")
    assert "The audit fails" in seen.page.inner_text("#notices") and "stray" in seen.page.inner_text("#notices")
    shutil.rmtree(folder)
    seen.page.locator("#list button[data-docno]").first.click()
    seen.page.wait_for_selector("#notices :text('removed or moved')")
    seen.errors.clear()  # the browser notes that a request was refused
    server.should_exit = True
    thread.join()
    explorer.close()
