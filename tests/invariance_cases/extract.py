"""Small pages: with and without main content, the same one several times, in several encodings, empty, too deep."""

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

SENTENCE = "The ferry leaves the harbour at seven, and the bakery on the pier opens half an hour before that. "


def page(title: str, paragraphs: int) -> str:
    body = "".join(f"<p>{title} {number}: {SENTENCE * 3}</p>" for number in range(paragraphs))
    return f"<html><head><title>{title}</title></head><body><nav>Home</nav><article>{body}</article></body></html>"


def pages() -> pa.Table:
    made = [
        page("Ferries", 4).encode(),
        page("Fähren", 3).encode(),
        page("Fähren", 3).encode("latin-1"),
        page("Ferries", 4).encode(),
        page("Паромы", 5).encode("cp1251"),
        b"<div>" * 40 + b"deep" + b"</div>" * 40,
        b"",
        None,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        page("Same", 6).encode(),
        page("Same", 6).encode(),
        page("Same", 6).encode(),
    ]
    types = [None, "text/html", "text/html; charset=ISO-8859-1", None, "text/html; charset=windows-1251", *[None] * 7]
    return pa.table(
        {
            "doc_key": doc_key_column(len(made)),
            "html": pa.array(made, pa.large_binary()),
            "http_content_type": pa.array(types, pa.string()),
        }
    )


CASES = [
    InvarianceCase(
        "both, longest", {"with": ["trafilatura", "resiliparse"], "keep": "longest", "max_depth": 30}, pages
    ),
    InvarianceCase("resiliparse", {"with": "resiliparse", "max_page_bytes": 1500}, pages),
]
