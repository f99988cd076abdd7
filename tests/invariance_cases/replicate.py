"""Numbers of copies, some of them senseless."""

import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column


def planned() -> pa.Table:
    copies = [0, 1, 2, 7, None, -3, 1 << 30, 1]
    return pa.table({"doc_key": doc_key_column(len(copies), 3), "copies": pa.array(copies, pa.int64())})


CASES = [InvarianceCase("as often as the column says", {"by": "copies"}, planned)]
