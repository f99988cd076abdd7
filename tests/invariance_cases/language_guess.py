"""Pages in several languages and charsets, with right, wrong and no declarations; some empty."""

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, documents

TEXTS = [
    "The ferry leaves the island at nine, and whoever misses it waits until the evening. ",
    "Die F\u00e4hre verl\u00e4sst die Insel um neun, und wer sie verpasst, wartet bis zum Abend. ",
    "A balsa sai da ilha \u00e0s nove, e quem a perde espera at\u00e9 \u00e0 noite no cais com os outros. ",
]


def rows() -> pa.Table:
    pages: list[bytes | None] = []
    for number in range(36):
        text, lang = TEXTS[number % 3], ["en", "de", "", "pt"][number % 4]
        charset = ["utf-8", "latin-1"][number % 2]
        pages.append(f"<html lang={lang}><p>{text * (1 + number % 7)}</p><p>{text}".encode(charset))
    pages[5:7] = [b"", None]
    headers = [["text/html; charset=utf-8", None][number % 2] for number in range(36)]
    return documents(["x"] * 36, html=pa.array(pages, pa.large_binary()), http_content_type=headers)


CASES = [
    InvarianceCase("English", {"keep": ["eng_Latn"]}, rows),
    InvarianceCase("fastText, short cuts", {"keep": ["deu_Latn"], "backend": "fasttext", "max_bytes": 256}, rows),
]
