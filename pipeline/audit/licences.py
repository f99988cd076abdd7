"""Sources whose licence nobody can check: not stated, in words, or without evidence; and documents under none that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.provenance.shares import UNKNOWN
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate

CHECK = "licences"
NOT_ASKED = "not requested: --require-licences makes gaps a failure"
_MOST_SHOWN = 50


@dataclass(frozen=True)
class LicenceGap:
    """A source whose licence lacks something.

    Attributes:
        licence: as it is stated; None where nothing is.
        lacks: `licence` (none is stated), `spdx` (it is words), `evidence`, `stated_by`.
        documents: of the source in this output, copies counted; None where nobody counted.
    """

    source: str
    licence: str | None
    lacks: tuple[str, ...]
    documents: int | None

    def line(self) -> str:
        """What is missing, for people."""
        stated = "no licence is stated" if self.licence is None else f"stated is {self.licence!r:.90}"
        missing = {
            "spdx": "which SPDX does not name",
            "evidence": "without evidence",
            "stated_by": "by nobody knows whom",
        }
        told = [missing[one] for one in self.lacks if one in missing and self.licence is not None]
        documents = "" if self.documents is None else f"; {self.documents:,} documents in this output"
        name = self.source if self.source.isidentifier() else repr(self.source[:90])
        return f"{name}: {', '.join([stated, *told])}{documents}"


@dataclass(frozen=True)
class Licences:
    """What an output's manifest says of licences.

    Attributes:
        sources: how many there are.
        gaps: those whose licence lacks something.
        unknown: documents of this output for which no licence is known, copies counted, and all of them; None where nobody
            counted.
    """

    sources: int
    gaps: Sequence[LicenceGap]
    unknown: tuple[int, int] | None

    def to_json(self) -> dict[str, Any]:
        return {"sources": self.sources, "gaps": [asdict(gap) for gap in self.gaps], "unknown": self.unknown}

    def lines(self) -> list[str]:
        """The section for people."""
        made = [f"licences: all {self.sources} sources state one that SPDX names, with evidence and who says so"]
        if self.gaps:
            made = [f"licences: {len(self.gaps)} of {self.sources} sources state none, or none that can be checked"]
        made += [f"  {gap.line()}" for gap in self.gaps[:_MOST_SHOWN]]
        made += [f"  … and {len(self.gaps) - _MOST_SHOWN:,} more"] if len(self.gaps) > _MOST_SHOWN else []
        if self.unknown is not None and self.unknown[0]:
            made.append(f"  {self.unknown[0]:,} of {self.unknown[1]:,} documents are under no licence that is known")
        return made


def licences_of(predicate: Predicate) -> Licences:
    """What a manifest says of licences."""
    from gristmill.pipeline.spdx import expression

    shares = predicate.accounts.shares.get(predicate.output)
    gaps = []
    for name, source in predicate.sources.items():
        stated = source.license
        words = None if stated is None else stated.spdx or stated.statement
        lacks = ["licence"] if words is None else []
        if stated is not None and words is not None:
            lacks += ["spdx"] if expression(stated.spdx or "") is None else []
            lacks += ["evidence"] if not (stated.evidence or "").strip() else []
            lacks += ["stated_by"] if stated.stated_by == "unknown" else []
        if lacks:
            documents = None if shares is None else shares.sources.get(name, [0])[0]
            gaps.append(LicenceGap(name, words, tuple(lacks), documents))
    unknown = None
    if shares is not None and shares.licences is not None:
        unknown = shares.licences.get(UNKNOWN, [0])[0], shares.whole[0]
    return Licences(len(predicate.sources), gaps, unknown)


def check_licences(found: Licences, report: Report) -> None:
    """Makes a failure of each gap."""
    report.saw(CHECK, found.sources)
    for gap in found.gaps:
        report.fail(CHECK, gap.line(), file=MANIFEST)
