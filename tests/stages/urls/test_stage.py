"""The URL filter: decisions, what the ledger says of them, and addresses that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ConfigError, ContractError
from gristmill.pipeline.stage import Decisions, StageContext
from gristmill.stages.urls.stage import UrlFilter, UrlFilterConfig


def lists(folder: Path, **contents: list[str]) -> dict[str, Path]:
    paths = {name: folder / name for name in contents}
    for name, lines in contents.items():
        paths[name].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


def decide(addresses: list[str | None], **config: Any) -> tuple[Decisions, pa.Table]:
    stage = UrlFilter(UrlFilterConfig(**config))
    stage.check_files()
    batch = pa.table({"url": pa.array(addresses, pa.string())})
    measured = pa.table({**stage.measure(batch, StageContext()), "url": batch["url"]})
    return stage.decide(measured, None, StageContext()), measured


def rules(addresses: list[str | None], **config: Any) -> list[str | None]:
    found, _ = decide(addresses, **config)
    assert found.rule is not None
    return [None if index < 0 else found.rules[index] for index in found.rule]


def test_each_list_has_a_rule_and_the_entry_is_the_witness(tmp_path: Path) -> None:
    config = lists(
        tmp_path,
        domains=["blocked.co.uk", "pages.host.org", "co.uk"],
        urls=["https://host.org/listed?a=1"],
        words=["Bad-Word", "bad"],
        subwords=["in side"],
        soft_words=["one", "two", "three"],
    )
    urls = [
        "https://www.blocked.co.uk/x",
        "https://pages.host.org:8080/bad",
        "https://host.org/listed?a=1",
        "https://host.org/a/bad/idea",
        "https://host.org/two+one/two/three",
        "https://host.org/IN-sideways",
        "https://host.org/one/one/badly",
        "https://other.co.uk/",
    ]
    found, measured = decide(urls, **config)
    assert rules(urls, **config) == [
        "blocked_domain",
        "blocked_subdomain",
        "blocked_url",
        "banned_word",
        "soft_words",
        "banned_subword",
        None,
        None,
    ]
    assert found.witness is not None and found.failed is not None
    assert found.witness.to_pylist() == [
        "blocked.co.uk",
        "pages.host.org",
        urls[2],
        "bad",
        "two,one,three",
        "inside",
        None,
        None,
    ]
    assert found.failed[1] == 0b1010  # The word is there as well.
    assert found.value is not None and found.threshold is not None
    assert found.value[4] == 3 and found.threshold[4] == 2
    assert measured["url_domain"].to_pylist()[0] == "blocked.co.uk"
    assert measured["url_domain"].to_pylist()[7] == "other.co.uk"


def test_missing_and_malformed_urls_are_kept_and_counted(tmp_path: Path) -> None:
    config = lists(tmp_path, domains=["listed.org"])
    urls = [
        None,
        "",
        "listed.org",
        "http:///path",
        "http://a b.org/",
        "http://good.org/",
        "mailto:a@b.org",
    ]
    found, measured = decide(urls, **config)
    assert rules(urls, **config) == [None, None, "blocked_domain", None, None, None, None]
    assert found.tallies == {"url_missing": 1, "url_malformed": 5}
    assert measured["url_malformed"].to_pylist() == [False, True, True, True, True, False, True]


def test_columns_of_nulls_and_dictionaries_are_addresses_too_and_numbers_are_not(tmp_path: Path) -> None:
    stage = UrlFilter(UrlFilterConfig(**lists(tmp_path, domains=["listed.org"])))
    texts = pa.array(["http://listed.org/", None])
    for column in (texts, texts.dictionary_encode(), texts.cast(pa.large_string())):
        found = stage.measure(pa.table({"url": column}), StageContext())
        assert found["url_blocked_domain"].to_pylist() == ["listed.org", None]
    found = stage.measure(pa.table({"url": pa.nulls(2)}), StageContext())
    assert found["url_blocked_domain"].to_pylist() == [None, None]
    with pytest.raises(ContractError, match="the column `url` is int64; expected text"):
        stage.measure(pa.table({"url": [1]}), StageContext())


def test_no_rows_and_sliced_rows(tmp_path: Path) -> None:
    stage = UrlFilter(UrlFilterConfig(**lists(tmp_path, domains=["b.org"])))
    column = pa.array([f"http://{letter}.org/" for letter in "abcb"])
    empty = stage.measure(pa.table({"url": column[:0]}), StageContext())
    assert all(len(array) == 0 for array in empty.values())
    found = stage.measure(pa.table({"url": column[1:]}), StageContext())
    assert found["url_blocked_domain"].to_pylist() == ["b.org", None, "b.org"]


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://DEEP.below.Blocked.Org/", "blocked_domain"),
        ("https://blocked.org./", "blocked_domain"),
        ("https://user:blocked.org@other.org/", None),
        ("https://notblocked.org/", None),
        ("http://10.0.0.1:80/", "blocked_subdomain"),
        ("http://10.0.0.12/", None),
        ("https://www.m\u00dcnchen.de/", "blocked_domain"),
        ("https://www.xn--mnchen-3ya.de/", "blocked_domain"),
        ("https://any.thing.xxx/", "blocked_subdomain"),
        ("http://host.org/listed", "blocked_url"),
        ("host.org/listed", "blocked_url"),
        ("https://host.org/listed/more", None),
    ],
)
def test_match_hosts_reads_lists_as_their_makers_mean_them(tmp_path: Path, url: str, rule: str | None) -> None:
    config = lists(
        tmp_path,
        domains=["Blocked.Org", "10.0.0.1", "xn--mnchen-3ya.de", "xxx"],
        urls=["host.org/listed"],
    )
    assert rules([url], **config, match="hosts") == [rule]


def test_a_category_of_ut1_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "adult"
    folder.mkdir()
    lists(folder, domains=["listed.org"], urls=["http://host.org/listed"])
    urls: list[str | None] = ["http://listed.org/", "http://host.org/listed", "http://host.org/"]
    assert rules(urls, folders=folder) == ["blocked_domain", "blocked_url", None]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="expected a folder with a file `domains` or `urls`"):
        decide(urls, folders=(folder, tmp_path / "empty"))


def test_a_filter_without_lists_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no list, and would keep every page"):
        UrlFilter(UrlFilterConfig()).check_files()


def test_lists_enter_the_fingerprint_and_the_plans_memory(tmp_path: Path) -> None:
    paths = lists(tmp_path, domains=["a.org"], words=["word"])
    spec = UrlFilter(UrlFilterConfig(**paths)).spec
    assert spec.models["domains 1"] == paths["domains"] and spec.models["words 1"] == paths["words"]
    assert spec.models["public_suffixes"].is_file() and spec.libraries["tldextract"]
    before = spec.resources.memory_bytes
    lists(tmp_path, domains=["a.org"] * 10**5)
    assert UrlFilter(UrlFilterConfig(**paths)).spec.resources.memory_bytes > before + 10**6


def test_a_long_batch_is_matched_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = lists(tmp_path, domains=["b.org"], soft_words=["c"])
    urls: list[str | None] = [f"http://{letter}.org/{letter}" for letter in "abcbbac"]
    _, whole = decide(urls, **config)
    monkeypatch.setattr("gristmill.stages.urls.stage._MOST_BYTES", 40)
    _, parts = decide(urls, **config)
    assert parts.equals(whole) and np.count_nonzero(whole["url_blocked_domain"].is_valid()) == 3
