"""Checks of an output's kinds by their footers: every shard is in each, and counts and digests agree (see `kind_again`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.hashing import canonical
from gristmill.pipeline.provenance.kinds import (
    KindFile,
    KindLog,
    KindSettings,
    KindTotals,
    index_path,
    index_role,
    is_of_kind,
    kind_role,
    stem_of,
    tokenizer_path,
)
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, parse_strictly
from gristmill.pipeline.provenance.values import described, parse, to_json

CHECK = "kinds"


@dataclass(frozen=True)
class KindOfShard:
    """A shard in a kind, as its log has it: the entries of shard and index, and of the kind's files."""

    kind: str
    shard: Entry
    index: Entry
    files: tuple[Entry, ...]
    tokenizer: Entry | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All files that are read to make it again."""
        return self.shard, self.index, *self.files, *((self.tokenizer,) if self.tokenizer is not None else ())

    def to_json(self, settings: KindSettings) -> dict[str, Any]:
        return {**asdict(self), "settings": to_json(settings)}


class KindAudit:
    """The checks of kinds that read footers.

    Attributes:
        found: what a full audit makes again.
    """

    def __init__(self, predicate: Predicate, entries: Sequence[Entry], report: Report) -> None:
        self.predicate, self.report = predicate, report
        self.settings = predicate.identity.outputs[predicate.output].kinds
        self.shards = {stem_of(entry.path): entry for entry in entries if entry.role == "data"}
        self.files = {entry.path: entry for entry in entries if is_of_kind(entry.role)}
        self.found: list[KindOfShard] = []
        self._named: set[str] = set()
        self._units = dict.fromkeys(self.settings, 0)

    def check(self, footers: Iterator[tuple[Entry, Mapping[str, Any]]]) -> None:
        """Checks everything that footers and files.parquet say of kinds; `footers` are those of the indexes."""
        self.report.saw(CHECK, max(1, len(self.files)))
        logs: dict[str, KindLog] = {}
        for entry, answer in footers:
            if "unreadable" in answer:
                self.report.unread(CHECK, answer["unreadable"], file=entry.path)
            elif "damaged" in answer:
                self._fail(answer["damaged"], entry.path)
            elif (log := self._log(entry, answer["log"])) is not None:
                logs[entry.path] = log
        for kind, settings in self.settings.items():
            for stem, shard in self.shards.items():
                path = index_path(kind, stem)
                index = self.files.get(path)
                if index is None or index.role != index_role(kind):
                    self._fail(f"the kind `{kind}` has no index of the shard {shard.path}", path)
                elif path in logs:
                    self._agrees(kind, settings, shard, index, logs[path])
                self._named.add(path)
            if settings.tokenizer is not None:
                self._tokenizer(kind, settings)
        unread = {entry.path for entry in self.files.values() if entry.role.startswith("index:")} - set(logs)
        if unread:
            self.report.unread(CHECK, f"not counted, since {len(unread)} indexes could not be read", file=min(unread))
            return
        for path in sorted(set(self.files) - self._named):
            self._fail("belongs to a kind, and no shard's index names it", path)
        self._totals()

    def _tokenizer(self, kind: str, settings: KindSettings) -> None:
        """The tokenizer beside the tokens is that of the run's identity."""
        path = tokenizer_path(kind)
        entry = self.files.get(path)
        self._named.add(path)
        if entry is None or entry.role != kind_role(kind):
            self._fail(f"the tokenizer of the kind `{kind}` is not listed", path)
        elif (entry.sha256, entry.content_digest) != (settings.tokenizer, settings.tokenizer):
            self._fail(f"expected the tokenizer {settings.tokenizer}, listed is {entry.sha256}", path)

    def _fail(self, message: str, path: str | None) -> None:
        self.report.fail(CHECK, message, file=path)

    def _log(self, entry: Entry, text: str | None) -> KindLog | None:
        if text is None:
            self._fail("carries no log (footer key gristmill.log)", entry.path)
            return None
        try:
            value = parse_strictly(text)
            stored = canonical(value) == text.encode("utf-8")
            log = parse(KindLog, value)
        except ValidationError as error:
            self._fail(f"its log: {described(error)[0]}", entry.path)
            return None
        except (ValueError, TypeError, RecursionError) as error:
            self._fail(f"its log cannot be parsed: {error}", entry.path)
            return None
        if not stored:
            self._fail("its log is not in the canonical encoding", entry.path)
        return log

    def _agrees(self, kind: str, settings: KindSettings, shard: Entry, index: Entry, log: KindLog) -> None:
        """The log of a shard's index is that of this run, kind, shard and of the files that are listed."""
        stated = to_json(log)
        wanted = {
            "run": self.predicate.run,
            "output": self.predicate.output,
            "kind": kind,
            "settings": to_json(settings),
            "shard": {
                "path": shard.path,
                "sha256": shard.sha256,
                "content_digest": shard.content_digest,
                "rows": shard.rows,
                "keys": shard.keys,
            },
            "rows": index.rows,
            "content_digest": index.content_digest,
        }
        for name, value in wanted.items():
            if stated[name] != value:
                self._fail(f"{name} of the log: expected {_short(value)}, found {_short(stated[name])}", index.path)
        if (index.keys, index.task) != (shard.keys, shard.task):
            self._fail(f"is listed with another key sum or task than the shard {shard.path}", index.path)
        if index.rows < shard.rows:
            self._fail(f"has {index.rows} rows for the {shard.rows} of the shard {shard.path}", index.path)
        files = []
        for file in log.files:
            entry = self.files.get(file.path)
            if entry is None or entry.role != kind_role(kind) or file.path in self._named:
                self._fail(
                    f"names {file.path}, which files.parquet does not list once as a file of this kind", index.path
                )
                continue
            self._named.add(file.path)
            listed = KindFile(
                path=entry.path,
                size=entry.size,
                sha256=entry.sha256,
                content_digest=entry.content_digest,
                rows=entry.rows,
            )
            if listed != file or entry.task != shard.task or entry.output != self.predicate.output:
                self._fail(f"its index {index.path} states other digests, rows or sizes than files.parquet", file.path)
            files.append(entry)
        self._units[kind] += log.units
        for problem in measures(settings, log):
            self._fail(problem, index.path)
        tokenizer = self.files.get(tokenizer_path(kind)) if settings.tokenizer is not None else None
        self.found.append(KindOfShard(kind, shard, index, tuple(files), tokenizer))

    def _totals(self) -> None:
        documents = sum(shard.rows for shard in self.shards.values())
        found = {}
        for kind in self.settings:
            own = [entry for entry in self.files.values() if entry.role == kind_role(kind)]
            size = sum(entry.size for entry in own)
            found[kind] = KindTotals(files=len(own), bytes=size, documents=documents, units=self._units[kind])
        for kind in sorted({*found, *self.predicate.kinds}):
            stated, made = self.predicate.kinds.get(kind), found.get(kind)
            if stated != made:
                told = [None if one is None else to_json(one) for one in (stated, made)]
                self._fail(f"kinds.{kind} is stated as {told[0]}, but its files and logs give {told[1]}", MANIFEST)


def measures(settings: KindSettings, log: KindLog) -> Iterator[str]:
    """Where the numbers in a log contradict each other."""
    rows = sum(file.rows for file in log.files)
    if rows != log.shard.rows:
        yield f"its files hold {rows} rows, and the shard {log.shard.rows}"
    if settings.format == "parquet" and log.units != log.shard.rows:
        yield f"it covers {log.units} rows of partitions, and the shard has {log.shard.rows}"
    if settings.tokenizer is not None:
        yield from _token_sizes(settings, log)


def _token_sizes(settings: KindSettings, log: KindLog) -> Iterator[str]:
    """Where the sizes of token files do not follow from the numbers of tokens and pieces."""
    sizes = {PurePosixPath(file.path).suffixes[-1]: file.size for file in log.files}
    tokens = sizes.get(".bin", sizes.get(".ds", 0))
    if tokens not in (2 * log.units, 4 * log.units):
        yield f"its token file has {tokens} bytes, which are not {log.units} tokens of 2 or of 4"
    sequences = -(-log.units // settings.pack) if settings.pack else log.rows
    wanted = (".idx", 34 + 20 * sequences + 8) if settings.format == "megatron" else (".index", 8 * log.rows)
    if sizes.get(wanted[0]) != wanted[1]:
        told = f"{sequences} sequences of {log.rows} pieces take {wanted[1]}"
        yield f"the index of its tokens has {sizes.get(wanted[0])} bytes; {told}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:200]}…"
