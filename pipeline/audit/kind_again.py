"""A kind of a shard made again from it, and compared with the files that an output has. Runs in the reading process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import zstandard

from gristmill.pipeline.audit.messages import Answer, Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.audit.scan_file import scanned
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.content import ContentDigest
from gristmill.pipeline.provenance.kinds import KindSettings, stem_of
from gristmill.pipeline.provenance.values import parse
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.storage import open_within, read_within
from gristmill.pipeline.tokenization.tokenizer_file import MOST_BYTES
from gristmill.pipeline.writing.kinds.derive import derive
from gristmill.pipeline.writing.kinds.target import Digested

AGAIN = "derived"
_BLOCK = 4 << 20


def check_kind(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a shard's files of a kind, makes them again from the shard, and compares. `argument` is a KindOfShard with its
    settings, the answer an Answer, as JSON."""
    shard, index = Entry(**argument["shard"]), Entry(**argument["index"])
    files = {item["path"]: Entry(**item) for item in argument["files"]}
    settings, answer = parse(KindSettings, argument["settings"]), Answer()
    try:
        tokenizer = None
        if argument["tokenizer"] is not None:
            file = Entry(**argument["tokenizer"])
            reading(file.path)
            tokenizer = read_within(file.folder, file.path, MOST_BYTES)
        reading(shard.path)
        made = derive(argument["kind"], settings, stem_of(shard.path), _pieces(shard), Digested(), tokenizer)
    except (Unreadable, Damaged, GristmillError) as error:
        answer.unread(AGAIN, f"its kind could not be made again from the shard {shard.path}: {error}", index.path)
        return answer.to_json()
    answer.saw(AGAIN, len(files) + 1)
    again = {file.path: file for file in made.files}
    for path in sorted({*again, *files}):
        if path not in files or path not in again:
            told = "is not made from" if path not in again else "is not listed, and is made from"
            answer.fail(AGAIN, f"{told} the shard {shard.path}", path)
            continue
        _compare(files[path], again[path].content_digest, again[path].rows, shard, answer)
        reading(path)
        if path.endswith(".parquet"):
            scanned(files[path].folder, files[path], [], answer)
        else:
            _content(files[path], made.units, answer)
    table, _ = scanned(index.folder, index, [], answer)
    if table is not None:
        digest = ContentDigest(made.index.schema).update(made.index).hexdigest()
        _compare(index, digest, made.index.num_rows, shard, answer)
    return answer.to_json()


def _pieces(shard: Entry) -> Iterator[pa.Table]:
    with opened(shard.folder, shard.path) as file:
        for group in range(file.metadata.num_row_groups):
            yield file.read_row_group(group, use_threads=False).replace_schema_metadata(None)


def _compare(entry: Entry, digest: str, rows: int, shard: Entry, answer: Answer) -> None:
    if (entry.content_digest, entry.rows) != (digest, rows):
        message = (
            f"made again from {shard.path} it has {rows} rows with the content digest {digest}; listed are {entry.rows} with "
            f"{entry.content_digest}"
        )
        answer.fail(AGAIN, message, entry.path)


def _content(entry: Entry, most: int, answer: Answer) -> None:
    """The content digest of a file that is not Parquet; no more than `most` uncompressed bytes are read."""
    answer.saw("content")
    found, size = hashlib.sha256(), 0
    try:
        with open_within(entry.folder, entry.path) as raw:
            packed = entry.path.endswith(".zst")
            stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) if packed else raw
            while block := stream.read(_BLOCK):
                found.update(block)
                size += len(block)
                if packed and size > most:
                    answer.fail("content", f"holds more than the {most:,} bytes that its shard gives", entry.path)
                    return
    except zstandard.ZstdError as error:
        answer.fail("content", f"cannot be decompressed ({error})", entry.path)
        return
    except (OSError, GristmillError) as error:
        answer.unread("content", str(error), entry.path)
        return
    answer.bytes += size
    if found.hexdigest() != entry.content_digest:
        message = f"expected the content digest {entry.content_digest}, found {found.hexdigest()}"
        answer.fail("content", message, entry.path)
