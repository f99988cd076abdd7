"""The score of a run over the small web: what it found against what the pages' authors say is right.

A *page* is an original with all its copies. Pure functions: from the documents' answers and their outcomes to figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COPY_KINDS = ("exact", "edited", "truncated", "boilerplate")
VERDICTS = ("keep", "drop_quality", "mild", "toxic")
RIGHT_ENDS = {
    "keep": "in the corpus",
    "drop_quality": "dropped",
    "mild": "beside the corpus",
    "toxic": "in no output",
}
SIMILAR = 0.8
"""True Jaccard similarity from which a copy should be found: at 0.8 the default bands compare 92 of 100 pairs."""


@dataclass(frozen=True)
class Answer:
    """What is right about a document (the columns `answer_*` of the small web)."""

    id: str
    language: str
    verdict: str
    kind: str
    copy: str
    cluster: str
    similarity: float
    trap: str | None


@dataclass(frozen=True)
class Outcome:
    """What a run did with a document.

    Attributes:
        node, rule: where and why it ended, if in no output.
        compared: whether it reached the deduplication.
        keeper: id of the document that was kept in its place, or its own.
        outputs: names of the outputs that hold it.
        language: the label that it got, if any.
    """

    node: str | None = None
    rule: str | None = None
    compared: bool = False
    keeper: str | None = None
    outputs: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    right: int
    of: int


@dataclass(frozen=True)
class Trap:
    """A page that tests something in particular."""

    id: str
    trap: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Score:
    """The figures.

    Attributes:
        copies: by kind, copies that ended in one duplicate cluster with their original.
        similar: the same, over copies whose true similarity is at least SIMILAR.
        merged: documents dropped as duplicates of a document of another page.
        lost: pages to keep of which nothing is in the main output, with the node and rule that ended them.
        keep: pages to keep that are in the main output.
        verdicts: by verdict, pages that ended where they should.
        out_of_corpus: mild and toxic pages of which nothing is in the main output, wherever else they went.
        traps: every page with a trap.
        language: documents whose label is right, of those in a language.
    """

    copies: Mapping[str, Share]
    similar: Share
    merged: int
    lost: Mapping[str, int]
    keep: Share
    verdicts: Mapping[str, Share]
    out_of_corpus: Share
    traps: tuple[Trap, ...]
    language: Share

    def to_json(self) -> dict[str, Any]:
        def pair(share: Share) -> list[int]:
            return [share.right, share.of]

        return {
            "copies_found": {kind: pair(share) for kind, share in self.copies.items()},
            "similar_copies_found": pair(self.similar),
            "wrongly_merged": self.merged,
            "pages_lost": dict(self.lost),
            "pages_kept": pair(self.keep),
            "verdicts": {name: pair(share) for name, share in self.verdicts.items()},
            "harmful_out_of_corpus": pair(self.out_of_corpus),
            "traps": [vars(trap) for trap in self.traps],
            "language": pair(self.language),
        }


def score(answers: Sequence[Answer], outcomes: Mapping[str, Outcome], main: str) -> Score:
    """The score of a run.

    Args:
        answers: of every document.
        outcomes: of every document, by id.
        main: the output that kept pages belong in.
    """
    by_id = {answer.id: answer for answer in answers}
    pages: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        pages[answer.cluster].append(answer)
    found: Counter[str] = Counter()
    all_copies: Counter[str] = Counter()
    similar = similar_all = merged = 0
    for answer in answers:
        outcome = outcomes[answer.id]
        if (
            outcome.keeper is not None
            and outcome.keeper != answer.id
            and by_id[outcome.keeper].cluster != answer.cluster
        ):
            merged += 1
        original = outcomes[answer.cluster]
        # What an earlier stage dropped was never compared, and is no failure of the deduplication.
        if answer.copy not in COPY_KINDS or not outcome.compared or not original.compared:
            continue
        together = outcome.keeper == original.keeper
        all_copies[answer.copy] += 1
        found[answer.copy] += together
        if answer.similarity >= SIMILAR:
            similar_all += 1
            similar += together
    verdicts = {name: [0, 0] for name in VERDICTS}
    lost: Counter[str] = Counter()
    harmful = harmful_out = 0
    traps = []
    for page, members in pages.items():
        answer = by_id[page]
        outputs = {name for member in members for name in outcomes[member.id].outputs}
        right = ended_right(answer.verdict, outputs, main)
        verdicts[answer.verdict][0] += right
        verdicts[answer.verdict][1] += 1
        if answer.verdict in ("mild", "toxic"):
            harmful += 1
            harmful_out += main not in outputs
        if answer.verdict == "keep" and not right:
            lost[_end(page, members, outcomes)] += 1
        if answer.trap is not None:
            what = "in " + ", ".join(sorted(outputs)) if outputs else _end(page, members, outcomes)
            traps.append(Trap(page, answer.trap, right, what))
    spoken = [answer for answer in answers if answer.language != "und" and outcomes[answer.id].language is not None]
    labelled = sum(outcomes[answer.id].language == answer.language for answer in spoken)
    return Score(
        {kind: Share(found[kind], all_copies[kind]) for kind in COPY_KINDS},
        Share(similar, similar_all),
        merged,
        dict(sorted(lost.items(), key=lambda item: (-item[1], item[0]))),
        Share(*verdicts["keep"]),
        {name: Share(*counts) for name, counts in verdicts.items()},
        Share(harmful_out, harmful),
        tuple(sorted(traps, key=lambda trap: (trap.passed, trap.id))),
        Share(labelled, len(spoken)),
    )


def ended_right(verdict: str, outputs: set[str], main: str) -> bool:
    """Whether a page with this verdict ended where it should, given the outputs that hold any copy of it."""
    if verdict == "keep":
        return main in outputs
    if verdict == "mild":
        return bool(outputs) and main not in outputs
    return not outputs


def _end(original: str, members: Sequence[Answer], outcomes: Mapping[str, Outcome]) -> str:
    """Where a page ended that no output holds: the way of the copy that stood for it, not that of its duplicates."""
    ends: Counter[str] = Counter()
    for member in members:
        outcome = outcomes[member.id]
        if outcome.keeper in (None, member.id) and not outcome.outputs:
            ends[f"{outcome.node}: {outcome.rule}" if outcome.rule else str(outcome.node)] += 1
    if ends:
        return min(ends, key=lambda name: (-ends[name], name))
    if any(outcomes[member.id].outputs for member in members):
        return "in another output"
    return f"{outcomes[original].node}: taken for a copy of another page"
