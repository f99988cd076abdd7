"""Makes the calibration of py3langid's model from labelled texts, and measures it on held-out ones.

    python -m tests.benchmarks.language_calibration FILE [SOURCE…]

FILE is Parquet with the columns `text`, `language` (ISO 639-3) and `script` (ISO 15924), some of it in languages that the
model does not know. Half of the texts of each supported language and half of the other languages are held out for the
figures, and then the other halves; the coefficients that are printed last, for `stages.language.calibration`, come from
everything. With SOURCES, only texts whose column `source` names one of them are fitted to, and the figures are of all held-out
texts, and of those in other sources: where a source has one text in many languages, supported or not, the fit cannot learn to
tell genres in place of languages.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gristmill.pipeline.hashing import file_digest
from gristmill.stages.labels.labels import canonical_label, pairs_of, supported_labels
from gristmill.stages.language import langid_format
from gristmill.stages.language.calibration import document_weights, fit
from gristmill.stages.language.evaluation import expected_calibration_error
from gristmill.stages.language.identify import default_model
from gristmill.stages.language.kernels.langid import LangidClassifier

CUTS = (60, 150)
"""Texts are also tried cut to so many characters,"""
JOINED = (2, 4, 8)
"""and joined to so many of the same language, and all of a language at once."""
LENGTHS = ((0, 130), (130, 400), (400, 1100), (1100, 4000), (4000, 1 << 40))
"""Groups of lengths, in bytes, for the figures."""
KEPT = 0.88
"""The share of supported texts to keep, rightly labelled, when thresholds are compared."""


@dataclass
class Sample:
    """Texts of all lengths with their labels and sources (of the first, where texts are joined)."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def add(self, label: str, texts: list[tuple[str, str]]) -> None:
        """Adds texts of one language, each with its source, as they are, cut, and joined."""
        varied = [(text[:cut], source) for text, source in texts for cut in CUTS if cut < len(text)]
        for size in (1, *JOINED):
            groups = [texts[at : at + size] for at in range(0, len(texts) - size + 1, size)]
            varied += [("\n".join(text for text, _ in group), group[0][1]) for group in groups]
        if len(texts) > max(JOINED):
            varied.append(("\n".join(text for text, _ in texts), texts[0][1]))
        self.texts += [text for text, _ in varied]
        self.sources += [source for _, source in varied]
        self.labels += [label] * len(varied)


def make_samples(path: Path, supported: frozenset[str], sources: frozenset[str], seed: int = 0) -> list[Sample]:
    """Texts to fit to in the first and the second half, texts for figures in both halves, and all to fit to."""
    table = pq.read_table(path)
    names = ["text", "language", "script"]
    columns = [table[name].to_pylist() for name in names]
    columns.append(table["source"].to_pylist() if "source" in table.column_names else [""] * len(table))
    draw = np.random.default_rng(seed)
    by_label: dict[str, list[tuple[str, str]]] = {}
    for text, language, script, source in zip(*columns, strict=True):
        by_label.setdefault(canonical_label(language, script), []).append((text, source))
    fits, figures, everything = [Sample(), Sample()], [Sample(), Sample()], Sample()
    for label in sorted(by_label):
        texts = [by_label[label][index] for index in draw.permutation(len(by_label[label]))]
        # Texts of one language are alike, so languages that stand for the unknown are held out whole.
        halves = [texts[::2], texts[1::2]] if label in supported else [texts, []][:: int(draw.choice([1, -1]))]
        for half, fitted, shown in zip(halves, fits, figures, strict=True):
            fitted.add(label, _of(half, sources))
            shown.add(label, half)
        everything.add(label, _of(texts, sources))
    return [*fits, *figures, everything]


def _of(texts: list[tuple[str, str]], sources: frozenset[str]) -> list[tuple[str, str]]:
    return [text for text in texts if not sources or text[1] in sources]


@dataclass
class Answers:
    """A classifier's answers to a sample: evidence, probability, whether one was given, whether it is right, whether the
    language is supported, bytes, and source."""

    evidence: np.ndarray
    probability: np.ndarray
    answered: np.ndarray
    right: np.ndarray
    known: np.ndarray
    size: np.ndarray
    source: np.ndarray


def answers(classifier: LangidClassifier, sample: Sample, supported: frozenset[str]) -> Answers:
    encoded = [text.encode() for text in sample.texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    found, scores, evidence = classifier.examine(np.frombuffer(b"".join(encoded), np.uint8), offsets)
    right = [
        number >= 0 and label in (pairs_of(classifier.labels[number]) or ())
        for number, label in zip(found[:, 0], sample.labels, strict=True)
    ]
    known = np.array([label in supported for label in sample.labels])
    return Answers(
        evidence[:, 0], scores[:, 0].astype(np.float64), found[:, 0] >= 0, np.array(right), known, np.diff(offsets),
        np.array(sample.sources),
    )  # fmt: skip


def fit_to(found: Answers) -> np.ndarray:
    chosen = found.answered
    return fit(found.evidence[chosen], found.right[chosen], document_weights(found.known)[chosen])


def calibrated(found: Answers, coefficients: np.ndarray) -> np.ndarray:
    values = 1.0 / (1.0 + np.exp(-(coefficients[0] + found.evidence @ coefficients[1:])))
    return np.where(found.answered, values, 0.0)


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    model = default_model("langid")
    classifier = LangidClassifier(langid_format.read_model(model))
    supported, sources = supported_labels("langid"), frozenset(sys.argv[2:])
    samples = make_samples(Path(sys.argv[1]), supported, sources)
    *halves, first, second, everything = (answers(classifier, sample, supported) for sample in samples)
    shown = [(second, calibrated(second, fit_to(halves[0]))), (first, calibrated(first, fit_to(halves[1])))]
    joined = Answers(*(np.concatenate([getattr(part, name.name) for part, _ in shown]) for name in fields(Answers)))
    scores = {"probability": joined.probability, "calibrated": np.concatenate([values for _, values in shown])}
    whole = np.ones(len(joined.right), bool)
    groups = {"all": whole}
    if sources:
        groups["other sources"] = ~np.isin(joined.source, sorted(sources))
    for name, chosen in groups.items():
        print(f"{name}: {chosen.sum()} held-out texts, in {joined.known[chosen].mean():.0%} the language is supported")
        for kind, values in scores.items():
            show(joined, kind, values, chosen)
    numbers = ", ".join(f"{value:.6g}" for value in fit_to(everything))
    print(f'COEFFICIENTS = {{"{file_digest(model)}": ({numbers})}}')
    return 0


def show(found: Answers, kind: str, values: np.ndarray, chosen: np.ndarray) -> None:
    """Prints the figures of scores on a group of texts. The error is weighted like the fit."""
    weights = document_weights(found.known[chosen])
    error = expected_calibration_error(values[chosen].tolist(), found.right[chosen].tolist(), weights=weights.tolist())
    print(f"  {kind}: expected calibration error {error:.4f}; unsupported accepted where {KEPT} of supported is kept:")
    for low, high in (*LENGTHS, (0, 1 << 40)):
        group = chosen & (found.size >= low) & (found.size < high)
        kept = np.sort(values[group & found.known & found.right])[::-1]
        needed = int(np.ceil(KEPT * (group & found.known).sum()))
        if 0 < needed <= len(kept):
            share = (values[group & ~found.known] >= kept[needed - 1]).mean()
            print(f"    {low}-{high if high < 1 << 40 else ''} bytes: {share:.4f}, threshold {kept[needed - 1]:.4f}")
    for least in (0.5, 0.8, 0.9) if kind == "calibrated" else ():
        kept_right = (found.right & (values >= least))[chosen & found.known].mean()
        accepted = (values >= least)[chosen & ~found.known].mean()
        print(f"    min_score {least}: supported kept and right {kept_right:.4f}, unsupported accepted {accepted:.4f}")


if __name__ == "__main__":
    sys.exit(main())
