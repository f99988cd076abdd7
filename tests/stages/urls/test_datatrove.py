"""Decisions equal those of datatrove's URLFilter on the same lists, for addresses of every kind."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.url_filter import URLFilter
from tldextract import TLDExtract

from gristmill.pipeline.stage import StageContext
from gristmill.stages.urls.stage import UrlFilter, UrlFilterConfig

DOMAINS = (
    "blocked.com blocked.co.uk sub.host.com a.b.c.host.org www.ck x.co.ck y.ck city.kawasaki.jp z.kawasaki.jp "
    "m\xfcnchen.de xn--mnchen-3ya.de Case.com 10.0.0.1 pages.github.io \u4f8b.\u4e2d\u56fd blogspot.com"
).split()
URLS = ["http://listed.com/page", "https://www.host.com/?q=1", "listed.com/page", "http://m\u00fcnchen.de/stra\u00dfe"]
WORDS = ["bad", "Worse Word", "x9"]
SUBWORDS = ["inner", "two words", "x1y"]
SOFT = ["soft", "mild", "gentle", "soft-er"]
RULES = {
    "domain": "blocked_domain",
    "subdomain": "blocked_subdomain",
    "url": "blocked_url",
    "hard_blacklisted": "banned_word",
    "soft_blacklisted": "soft_words",
    "blacklisted_subword": "banned_subword",
}
_SCHEMES = [
    "http://",
    "https://",
    "HTTP://",
    "//",
    "",
    "ftp://",
    "h\u00e9://",
    "://",
    "a:b://",
    "view-source:http://",
    "x+y.z-1://",
]
_LABELS = (
    "www a b c sub host blocked Blocked case Case m\xfcnchen M\xdcNCHEN xn--mnchen-3ya XN--MNCHEN-3YA xn-- "
    "xn--zzzzzz city kawasaki listed pages github blogspot - _x * !www 1 10 0 \u4f8b"
).split() + [""]
_SUFFIXES = (
    "com co.uk org ck www.ck co.ck jp kawasaki.jp city.kawasaki.jp de DE io xn--fiqs8s \u4e2d\u56fd uk unknownsuffix "
    "com. com.. bd x.bd sch.uk 10.0.0.1 [::1] [fe80::1 com\u3002 co\uff0euk"
).split()
_USERS = ["", "", "", "", "user@", "user:pass@", "a@b@", "blocked.com@", "[x@"]
_PORTS = ["", "", "", ":80", ":", ":x:y", " ", "\u00a0"]
_WORDS = (
    "bad Bad worseword worse-word x9 soft mild Soft gentle softer in-ner inner INNER two words x1y stra\xdfe page "
    "?q=1 %20 \U0001f600 b\xe4d bad\xe9 // @ #"
).split() + [""]
_BETWEEN = ["/", "-", "_", "", "?", "&", "+", ".", "%2F", "\u00e9", ",", " ", "\n", "#", ":", "//"]


def addresses(count: int) -> list[str]:
    draw = random.Random(11)
    made = 20 * URLS
    for _ in range(count):
        host = ".".join([*draw.choices(_LABELS, k=draw.choice([0, 1, 1, 2, 2, 3, 5])), draw.choice(_SUFFIXES)])
        if draw.random() < 0.2:
            host = draw.choice(["", "www.", "a.b."]) + draw.choice(DOMAINS)
        path = "".join(draw.choice(_BETWEEN) + draw.choice(_WORDS) for _ in range(draw.choice([0, 1, 2, 2, 3, 5])))
        url = draw.choice(_SCHEMES[:3] if draw.random() < 0.6 else _SCHEMES) + draw.choice(_USERS) + host
        made.append(url + draw.choice(_PORTS) + (draw.choice(["/", "/", "?", "#", ""]) + path if path else ""))
    for _ in range(count // 10):
        made.append("".join(draw.choices(":/?#@.[]*! axn-\u3002\u00e9com", k=draw.randrange(1, 20))))
    return [url for url in made if url]


def theirs(urls: list[str], lists: dict[str, list[str]]) -> list[str | None]:
    judge = URLFilter(
        extra_domains=[f"{line}\n" for line in lists["domains"]],
        extra_urls=[f"{line}\n" for line in lists["urls"]],
        banned_words=lists["words"],
        banned_subwords=lists["subwords"],
        soft_banned_words=lists["soft_words"],
        use_integrated_lists=False,
    )
    judge.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = [judge.filter(Document(text="", id="", metadata={"url": url})) for url in urls]
    return [None if one is True else RULES[one[1]] for one in found]


def ours(folder: Path, urls: list[str], lists: dict[str, list[str]]) -> list[str | None]:
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    stage = UrlFilter(UrlFilterConfig(**{name: (folder / name,) for name in lists}))
    stage.check_files()
    batch = pa.table({"url": pa.array(urls, pa.string())})
    found = stage.decide(pa.table({**stage.measure(batch, StageContext()), "url": batch["url"]}), None, StageContext())
    assert found.rule is not None
    return [None if index < 0 else found.rules[index] for index in found.rule]


@pytest.mark.parametrize("kinds", [("domains",), ("domains", "urls", "words", "soft_words", "subwords")])
def test_decisions_equal_datatroves(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    every = {"domains": DOMAINS, "urls": URLS, "words": WORDS, "subwords": SUBWORDS, "soft_words": SOFT}
    lists = {name: lines if name in kinds else [] for name, lines in every.items()}
    urls = addresses(20_000)
    expected, found = theirs(urls, lists), ours(tmp_path, urls, lists)
    different = [(url, one, other) for url, one, other in zip(urls, expected, found, strict=True) if one != other]
    assert not different, different[:20]
    counts = {rule: expected.count(rule) for rule in (*RULES.values(), None)}
    assert all(counts[rule] > 30 for rule in counts if rule in (None, *_rules_of(kinds))), counts


def _rules_of(kinds: tuple[str, ...]) -> list[str]:
    rules = {"domains": ["blocked_domain", "blocked_subdomain"], "urls": ["blocked_url"], "words": ["banned_word"]}
    return [r for kind in kinds for r in {**rules, "soft_words": ["soft_words"], "subwords": ["banned_subword"]}[kind]]
