"""What an audit found: the table of checks, their findings, and the exit code that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "warn", "unread", "skipped"]

CLEAN = 0
INCOMPLETE = 3
WARNINGS = 4
ONLY_FULL = "reads rows: only in a full audit"
"""Why a fast audit leaves a check out."""
MOST_FINDINGS = 100
"""Findings that a check keeps in full; beyond that they are only counted."""


@dataclass(frozen=True)
class Check:
    """A named check.

    Attributes:
        name: as `AuditResult` and the command line show it.
        code: exit code of the command when this is the first check that failed.
        full: whether it reads rows or whole files, and so runs only in a full audit.
        says: what holds when it passes.
        warns: whether its findings are warnings.
    """

    name: str
    code: int
    full: bool
    says: str
    warns: bool = False


CHECKS = (
    Check("manifest", 10, False, "manifest.json is there, is stored canonically, and has its own two digests"),
    Check(
        "signature",
        11,
        False,
        "the envelope holds this manifest and is signed by the given key, or one that is trusted",
    ),
    Check("schema", 12, False, "the manifest and every footer log have the form of this format version"),
    Check("files", 13, False, "files.parquet has the SHA-256 that the manifest names, and lists no file twice"),
    Check("missing", 14, False, "every listed file exists"),
    Check("stray", 15, False, "there is no unlisted file"),
    Check("size", 16, False, "every file has its size"),
    Check("documents", 17, False, "README.md and croissant.json are as the run wrote them", warns=True),
    Check("footer", 18, False, "every shard and ledger carries the log that files.parquet and the manifest call for"),
    Check("roots", 19, False, "the Merkle roots in the manifest follow from files.parquet"),
    Check("lineage", 20, False, "every slice of the plan was consumed by exactly one task, whose files are all listed"),
    Check("models", 21, False, "fingerprints follow from versions, fields and models, and the run's key from them"),
    Check("accounts", 22, False, "rows in = rows accounted for at every node and edge; the tasks' accounts add up"),
    Check("keys", 23, False, "the doc_keys in the shards add up to what the accounts sent to this output"),
    Check("sequence", 24, False, "the manifest follows the previous ones of its dataset"),
    Check("drift", 25, False, "no node's drop rate moved away from the previous run's", warns=True),
    Check(
        "regular", 26, False, "the folder holds regular files and their folders: no links, no pipes, no other folders"
    ),
    Check(
        "kinds",
        27,
        False,
        "every shard is in each kind of the output, with the rows, keys and files that its log names",
    ),
    Check("sha256", 30, True, "every file has its SHA-256"),
    Check("pages", 31, True, "every Parquet page has its checksum"),
    Check("content", 32, True, "rows, doc_key sum and content digest of every file follow from its rows"),
    Check("vocabulary", 33, True, "the ledger names only nodes, ports, rules and decisions that the run has"),
    Check("ledger", 34, True, "the ledger's totals by node, decision and rule are those of the accounts"),
    Check("join", 35, True, "shards hold exactly the documents and copies that the ledger assigns to them"),
    Check("signals", 36, True, "signals and kept notes of a node belong to the documents that entered it"),
    Check("dropped", 37, True, "dropped texts belong to documents that the ledger drops for that reason"),
    Check("source", 38, True, "the input is still what the run read", warns=True),
    Check(
        "text",
        39,
        True,
        "kept text is its source's, unless the ledger says that a node changed it; "
        "in a sample, what that node makes of it",
    ),
    Check("replay", 40, True, "replaying the stages on sampled documents reproduces the ledger"),
    Check(
        "agreement", 41, True, "shards, ledger, signals and dropped texts say the same of each document, in one order"
    ),
    Check("columns", 42, True, "columns are the input's, or follow from the signals, and in a sample from the text"),
    Check("config", 43, True, "the manifest's nodes, columns, sources and notices are those of its config"),
    Check("derived", 44, True, "kinds of the output, made again from its shards, are the same"),
    Check(
        "revoked", 45, True, "no document that the run's revocation list names is in shards, ledger or dropped texts"
    ),
    Check("shares", 46, True, "shares by source, licence and creator, counted again from the shards, are the same"),
    Check("licences", 47, False, "every source states a licence that SPDX names, with evidence and who says so"),
    Check(
        "removal", 48, True, "the version before the last removal had what was removed, this one has the rest unchanged"
    ),
)
"""All checks, outermost first: the exit code is that of the first one that failed."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be, with the object that it concerns.

    Attributes:
        message: expected and found, in a sentence.
        file: path in the output.
        node: name of the node or source.
        row: row of the file (from 0).
        document: doc_key in hexadecimal.
        unread: the object could not be read, so nothing is known about it.
    """

    message: str
    file: str | None = None
    node: str | None = None
    row: int | None = None
    document: str | None = None
    unread: bool = False

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}

    def line(self) -> str:
        place = [
            self.file,
            None if self.node is None else f"node {self.node}",
            None if self.row is None else f"row {self.row}",
            None if self.document is None else f"document {self.document}",
        ]
        return ", ".join(item for item in place if item is not None) + (": " if any(place) else "") + self.message


@dataclass
class CheckResult:
    """What one check came to."""

    check: Check
    findings: list[Finding] = field(default_factory=list)
    failed: int = 0
    unread: int = 0
    looked_at: int = 0
    skipped: str | None = None

    @property
    def name(self) -> str:
        return self.check.name

    @property
    def status(self) -> Status:
        if self.failed:
            return "warn" if self.check.warns else "fail"
        if self.unread:
            return "unread"
        return "pass" if self.looked_at else "skipped"

    def to_json(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "name": self.name,
            "code": self.check.code,
            "status": self.status,
            "looked_at": self.looked_at,
            "failed": self.failed,
            "unread": self.unread,
            "findings": [finding.to_json() for finding in self.findings],
        }
        if self.status == "skipped":
            made["why"] = self.skipped
        return made


@dataclass
class AuditResult:
    """The outcome of an audit.

    Attributes:
        folder: the output.
        checks: one result per check, in the order of `CHECKS`.
        run: the run's key, where the manifest could be read.
        sample: (i, n) where only the i-th (from 0) of n shares of the files was read.
        licences: what the manifest says of licences, as JSON and as lines; nothing where it could not be read.
    """

    folder: str
    checks: tuple[CheckResult, ...]
    run: str | None = None
    bytes_read: int = 0
    seconds: float = 0.0
    sample: tuple[int, int] | None = None
    licences: tuple[dict[str, Any], list[str]] | None = None

    def __getitem__(self, name: str) -> CheckResult:
        return next(item for item in self.checks if item.name == name)

    @property
    def problems(self) -> list[str]:
        """All findings as lines: check, object, expected and found."""
        return [f"{item.name}: {finding.line()}" for item in self.checks for finding in item.findings]

    @property
    def failed(self) -> set[str]:
        """Names of the checks that failed or warn."""
        return {item.name for item in self.checks if item.status in ("fail", "warn")}

    @property
    def exit_code(self) -> int:
        """0 clean; the code of the first check that failed; 3 when something could not be read; 4 only warnings."""
        for item in self.checks:
            if item.status == "fail":
                return item.check.code
        statuses = {item.status for item in self.checks}
        if "unread" in statuses:
            return INCOMPLETE
        return WARNINGS if "warn" in statuses else CLEAN

    @property
    def needs_full(self) -> list[str]:
        """Names of the checks that were left out since they read rows."""
        return [item.name for item in self.checks if item.status == "skipped" and item.skipped == ONLY_FULL]

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "run": self.run,
            "exit_code": self.exit_code,
            "verdict": self.verdict(),
            "needs_full": self.needs_full,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
            "checks": [item.to_json() for item in self.checks],
            "licences": None if self.licences is None else self.licences[0],
        }

    def lines(self) -> list[str]:
        """The audit for people: a line per check, its findings below it, a verdict at the end."""
        words = {"pass": "ok", "fail": "FAILED", "warn": "warning", "unread": "NOT READ", "skipped": "skipped"}
        made = []
        for item in self.checks:
            what = item.check.says if item.status != "skipped" else item.skipped or "not requested"
            made.append(f"{words[item.status]:<9} {item.name:<10} {what}")
            made += [f"{'':<9}   {finding.line()}" for finding in item.findings]
            more = item.failed + item.unread - len(item.findings)
            if more:
                made.append(f"{'':<9}   … and {more} more")
        made += [] if self.licences is None else self.licences[1]
        made.append(f"{self.folder}: {self.verdict()}")
        if self["sha256"].failed and self["source"].status == "skipped":
            made.append("With --full --sources, where the input lies here, the documents that changed are named.")
        return made

    def verdict(self) -> str:
        code = self.exit_code
        if code == CLEAN:
            return f"clean{self._as_far()}."
        if code == INCOMPLETE:
            return "incomplete: something could not be read, so the output is not verified."
        if code == WARNINGS:
            return f"clean, with warnings{self._as_far()}."
        names = [item.name for item in self.checks if item.status == "fail"]
        return f"not what the run wrote: {', '.join(names)} failed (exit code {code})."

    def _as_far(self) -> str:
        """What a clean verdict does not speak of: an audit that read no rows passes a flipped byte of them."""
        if self.needs_full:
            return f" as far as read: {len(self.needs_full)} checks need --full"
        if self.sample is not None and self.sample[1] > 1:
            return f" as far as read: share {self.sample[0] + 1} of {self.sample[1]} of the files"
        return ""


class Deferred:
    """What a report is to be told when it is its turn, so that findings of tasks read at once come in the tasks' order.

    Attributes:
        bytes_read: bytes of the files whose digests were computed.
    """

    def __init__(self) -> None:
        self._told: list[tuple[str, str, Any, dict[str, Any]]] = []
        self.bytes_read = 0

    def saw(self, name: str, objects: int = 1) -> None:
        """See Report."""
        self._told.append(("saw", name, objects, {}))

    def fail(self, name: str, message: str, **place: Any) -> None:
        """See Report."""
        self._told.append(("fail", name, message, place))

    def unread(self, name: str, message: str, **place: Any) -> None:
        """See Report."""
        self._told.append(("unread", name, message, place))

    def tell(self, report: Report) -> None:
        """Tells a report all of it."""
        for what, name, value, place in self._told:
            getattr(report, what)(name, value, **place)


class Report:
    """Collects findings while an audit is on."""

    def __init__(self) -> None:
        self.results = {check.name: CheckResult(check) for check in CHECKS}

    def saw(self, name: str, objects: int = 1) -> None:
        """Counts objects that a check looked at."""
        self.results[name].looked_at += objects

    def fail(self, name: str, message: str, **place: Any) -> None:
        """Records that something is not as it must be."""
        self._add(name, Finding(message, **place))

    def unread(self, name: str, message: str, **place: Any) -> None:
        """Records that something could not be read."""
        self._add(name, Finding(message, unread=True, **place))

    def skip(self, names: tuple[str, ...], why: str) -> None:
        """Says why checks were not made."""
        for name in names:
            self.results[name].skipped = why

    def _add(self, name: str, finding: Finding) -> None:
        result = self.results[name]
        result.looked_at = max(result.looked_at, 1)
        if finding.unread:
            result.unread += 1
        else:
            result.failed += 1
        if len(result.findings) < MOST_FINDINGS:
            result.findings.append(finding)
