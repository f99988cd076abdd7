"""What a version of an output says about documents that were taken out of it: a record in its manifest, and keyed digests.

Neither ids nor URLs nor doc_keys stay behind. A document leaves a digest that only somebody with the removal's key can make
again, of its doc_key: with the key one shows which documents were meant, without it the digests say nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.pipeline.document import FROM_TASK, key_words, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.values import STORED, Count, Digest

REMOVED_ROLE = "removed"
"""Role of the files with the keyed digests of removed documents: one beside each ledger that has lost some."""
REMOVAL, KEYED = "removal", "digest"
REMOVED = pa.schema([pa.field(REMOVAL, pa.int32()), pa.field(KEYED, pa.binary(32)), pa.field(FROM_TASK, pa.int32())])
"""A removed document: which of the manifest's removals took it (from 0), its keyed digest, and its task."""
MOST_REASON = 1000
_KEY_BYTES = 32
_DOC_KEY = re.compile("[0-9a-f]{32}")
_TAG, _REQUEST, _KEY = b"gristmill.removed\0", b"gristmill.removal-request\0", b"gristmill.removal-key\0"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A removal, in the manifest of each version since.

    Attributes:
        reason: in the words of who removed.
        removed_at: UTC.
        taken_from: by output of the run, the statement digest of the version that had the documents.
        chosen_by: how they were named.
        request: keyed digest of the list or the condition; it is not told otherwise, since it may name them.
        near_duplicates: whether documents that are duplicates of those went too.
        documents: how many went; `chosen` of them were named, the others are their duplicates.
        rows: by output of the run, rows (copies counted) that its shards lost.
        key: identifier of the removal's key.
        digests: how the removed documents' keyed digests, sorted, are summed up: SHA-256 over them.
        answers: nodes whose answer about the whole corpus was found with these documents and might be another without them.
        tallies: nodes whose tallies still count them.
        payloads: documents whose size before a node made their text is no longer known: bytes of accounts still have it.
    """

    __pydantic_config__ = STORED
    reason: Annotated[str, Field(min_length=1, max_length=MOST_REASON)]
    removed_at: str
    taken_from: dict[str, Digest]
    chosen_by: Literal["ids", "urls", "where"]
    request: Digest
    near_duplicates: bool
    documents: Annotated[Count, Field(ge=1)]
    chosen: Count
    rows: dict[str, Count]
    key: Digest
    digests: Digest
    answers: list[str]
    tallies: list[str]
    payloads: Count


class RemovalKey:
    """A removal's key: 32 random bytes, kept by who removed. It is in no output and cannot be pickled."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return f"RemovalKey({self.key_id[:16]}…)"

    @classmethod
    def from_text(cls, text: str, where: str) -> RemovalKey:
        """From a file's text, 64 hexadecimal digits. Raises ConfigError, naming `where`."""
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise ConfigError(
                f"{where}: this is no key of a removal (expected {2 * _KEY_BYTES} hexadecimal digits). Name another file; one "
                "that is not there is made by `gristmill remove`."
            )
        return cls(secret)

    @property
    def text(self) -> str:
        """As its file holds it."""
        return self._secret.hex() + "\n"

    @property
    def key_id(self) -> str:
        """Names the key and does not give it away."""
        return hashlib.sha256(_KEY + self._secret).hexdigest()

    def digests(self, keys: pa.Array | pa.ChunkedArray) -> list[bytes]:
        """The keyed digests of doc_keys: HMAC-SHA256 over `gristmill.removed`, a zero byte and the 16 bytes."""
        return [hmac.digest(self._secret, _TAG + key, "sha256") for key in keys.to_pylist()]

    def request(self, text: str) -> str:
        """The keyed digest of a list of documents or a condition."""
        return hmac.digest(self._secret, _REQUEST + text.encode(), "sha256").hex()


def summed(digests: Iterable[bytes]) -> str:
    """SHA-256 over keyed digests in ascending order."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def removed_rows(table: pa.Table, keys: pa.Array, by: Iterable[RemovalKey]) -> np.ndarray:
    """Which of some doc_keys are among the removed ones of a task, bool.

    Args:
        table: the task's rows of REMOVED.
        by: keys of removals; digests of others match none.
    """
    listed = set(table[KEYED].to_pylist())
    found = np.zeros(len(keys), bool)
    for one in by:
        found |= np.fromiter((made in listed for made in one.digests(keys)), bool, len(keys))
    return found


def without_named(report: Any, names: Set[str]) -> Any:
    """A node's report without what names some documents: of a list such items, of a map such values. Of a list of maps, such as
    that of the largest clusters, a map that names one goes whole; counts stay.

    Args:
        names: doc_keys in hexadecimal.
    """
    if isinstance(report, list):
        return [without_named(item, names) for item in report if not _names_one(item, names)]
    if isinstance(report, dict):
        parts = {
            name: value for name, value in report.items() if not (isinstance(value, str) and _names_one(value, names))
        }
        return {name: without_named(value, names) for name, value in parts.items() if not _names_one(name, names)}
    return report


def _names_one(value: Any, names: Set[str]) -> bool:
    if isinstance(value, dict):
        return any(_names_one(item, names) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(_names_one(item, names) for item in value)
    return isinstance(value, str) and any(found in names for found in _DOC_KEY.findall(value))


def kept_rows(keys: pa.Array | pa.ChunkedArray, removed: np.ndarray) -> np.ndarray:
    """Which rows are of other documents than the removed ones, bool.

    Args:
        keys: the rows' doc_keys.
        removed: doc_keys (uint64, documents × 2), ascending.
    """
    words = key_words(keys)
    if not len(removed) or not len(words):
        return np.ones(len(words), bool)
    joined = np.ascontiguousarray(words).view("u8,u8").ravel()
    return ~np.isin(joined, np.ascontiguousarray(removed).view("u8,u8").ravel())


def without_witnesses(ledger: pa.Table, names: Set[str]) -> pa.Table:
    """Rows of a ledger whose witnesses name none of some documents: such a witness becomes null."""
    naming = witnesses_naming(ledger, names)
    if not naming.any():
        return ledger
    witness = pc.if_else(pa.array(naming), pa.scalar(None, pa.string()), one_chunk(ledger["witness"]))
    return ledger.set_column(ledger.column_names.index("witness"), ledger.schema.field("witness"), witness)


def witnesses_naming(ledger: pa.Table, names: Set[str]) -> np.ndarray:
    """Which rows of a ledger have a witness that names one of some documents, bool. `names`: doc_keys in hexadecimal."""
    witness = one_chunk(ledger["witness"])
    found = np.asarray(pc.fill_null(pc.match_substring_regex(witness, _DOC_KEY.pattern), False)).copy()
    rows = np.flatnonzero(found)
    texts = witness.take(pa.array(rows)).to_pylist()
    found[rows] = [any(one in names for one in _DOC_KEY.findall(text)) for text in texts]
    return found
