"""Addresses of which some are listed, by every kind of list; some null, some none."""

from pathlib import Path

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, documents

LISTS = Path(__file__).parent / "url_lists"
ADDRESSES = [
    "https://www.blocked.co.uk/page",
    "http://user:secret@SUB.blocked.co.uk:8080/",
    "https://pages.host.org/a",
    "https://host.org/a-banned-word",
    "https://host.org/soft-words-are-here",
    "https://host.org/an.in-ner/string",
    "https://listed.org/page?id=1",
    "https://m\u00fcnchen.org/",
    "https://host.org/",
    "no address",
    None,
]


def rows() -> pa.Table:
    return documents([f"text {number}" for number in range(44)], url=ADDRESSES * 4)


EVERY = {
    "folders": str(LISTS / "category"),
    "words": str(LISTS / "words"),
    "subwords": str(LISTS / "subwords"),
    "soft_words": str(LISTS / "soft_words"),
}
CASES = [
    InvarianceCase("every list", EVERY, rows),
    InvarianceCase("hosts, one soft word", {**EVERY, "match": "hosts", "soft_word_threshold": 1}, rows),
]
