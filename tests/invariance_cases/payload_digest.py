"""Pages of which some are equal, under headers of several charsets."""

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, documents


def rows() -> pa.Table:
    pages = [[b"<p>a", b"<p>b", b"", None, b"<p>c"][number % 5] for number in range(30)]
    headers = [["text/html; charset=utf-8", "text/html; charset=UTF8", None][number % 3] for number in range(30)]
    return documents(["x"] * 30, html=pa.array(pages, pa.large_binary()), http_content_type=headers)


CASES = [InvarianceCase("html", {}, rows), InvarianceCase("another column", {"of": "http_content_type"}, rows)]
