"""A SHA-256 of each page as it was found, with the charset that its header names: what `exact` compares before extraction.

Two pages with equal bytes give different texts where their headers name different charsets, so the charset is in the
digest, in one spelling, or that there is none. What the header says of the content (its own digest, its length) is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    signal,
)
from gristmill.stages.pages.text import CONTENT_TYPE_COLUMN, header_charset, payload_buffers

DIGEST = "payload_sha256"
DIGEST_BYTES = hashlib.sha256().digest_size


class PayloadDigestConfig(StageConfig):
    """Config of `payload_digest`.

    Attributes:
        of: the column with the pages as they were found.
    """

    of: str = signal("html", min_length=1)


class PayloadDigest(Stage):
    """Adds the digest of each payload; keeps every row."""

    Config = PayloadDigestConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a SHA-256 of each page and its charset, for `exact` to compare before extraction"

    config: PayloadDigestConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=0.6, survey=0, settle=0),
            payload={self.config.of},
            optional_reads={CONTENT_TYPE_COLUMN},
            signals=pa.schema([pa.field(DIGEST, pa.binary(DIGEST_BYTES))]),
            shown=set(),
            rules=("no_payload",),
        )

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """Digests; null where there is no payload, which is no duplicate of any."""
        data, offsets, is_text = payload_buffers(batch[self.config.of], self.config.of)
        headers: list[str | None] = [None] * batch.num_rows
        if CONTENT_TYPE_COLUMN in batch.column_names:
            headers = one_chunk(batch[CONTENT_TYPE_COLUMN]).cast(pa.string()).to_pylist()
        ends = offsets.tolist()
        digests: list[bytes | None] = []
        for row, header in enumerate(headers):
            if ends[row] == ends[row + 1]:
                digests.append(None)
                continue
            charset = "utf-8" if is_text else header_charset(header) or ""
            # The charset is of ASCII letters, so its newline ends it.
            digest = hashlib.sha256(f"gristmill.payload\n{charset}\n".encode())
            digest.update(data[ends[row] : ends[row + 1]].tobytes())
            digests.append(digest.digest())
        return {DIGEST: pa.array(digests, pa.binary(DIGEST_BYTES))}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Every row is kept; one without a payload carries the rule `no_payload`."""
        missing = np.asarray(one_chunk(batch[DIGEST]).is_null())
        return from_failures({"no_payload": missing}, mark=True)
