"""Makes the calibration of py3langid's model from labelled texts, and measures it on held-out ones.

    python -m tests.benchmarks.language_calibration FILE

FILE is Parquet with the columns `text`, `language` (ISO 639-3) and `script` (ISO 15924), some of it in languages that the
model does not know. Half of the texts of each supported language and half of the other languages are held out for the
figures; the coefficients that are printed last, for `stages.language_calibration`, come from everything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.hashing import file_digest
from stages.kernels.langid import LangidClassifier
from stages.labels import canonical_label, pairs_of
from stages.language import default_model, supported_labels
from stages.language_calibration import document_weights, fit
from stages.language_evaluation import expected_calibration_error
from stages.models import langid_format

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
    """Texts of all lengths with their labels; `held_out` marks those for the figures."""

    texts: list[str]
    labels: list[str]
    held_out: list[bool]


def make_sample(path: Path, supported: frozenset[str], seed: int = 0) -> Sample:
    table = pq.read_table(path, columns=["text", "language", "script"])
    draw = np.random.default_rng(seed)
    by_label: dict[str, list[str]] = {}
    for text, language, script in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        by_label.setdefault(canonical_label(language, script), []).append(text)
    sample = Sample([], [], [])
    for label in sorted(by_label):
        texts = [by_label[label][index] for index in draw.permutation(len(by_label[label]))]
        # Texts of one language are alike, so languages that stand for the unknown are held out whole.
        halves = [texts[::2], texts[1::2]] if label in supported else [texts, []][:: int(draw.choice([1, -1]))]
        for held_out, half in zip((False, True), halves, strict=True):
            varied = [text[:cut] for text in half for cut in CUTS if cut < len(text)]
            for size in (1, *JOINED):
                varied += ["\n".join(half[at : at + size]) for at in range(0, len(half) - size + 1, size)]
            if len(half) > max(JOINED):
                varied.append("\n".join(half))
            sample.texts += varied
            sample.labels += [label] * len(varied)
            sample.held_out += [held_out] * len(varied)
    return sample


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    model = default_model("langid")
    classifier = LangidClassifier(langid_format.read_model(model))
    supported = supported_labels("langid")
    sample = make_sample(Path(sys.argv[1]), supported)
    encoded = [text.encode() for text in sample.texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    found, scores, evidence = classifier.examine(np.frombuffer(b"".join(encoded), np.uint8), offsets)
    answered = found[:, 0] >= 0
    known = np.array([label in supported for label in sample.labels])
    right = np.array(
        [
            number >= 0 and label in (pairs_of(classifier.labels[number]) or ())
            for number, label in zip(found[:, 0], sample.labels, strict=True)
        ]
    )
    weights = document_weights(known)
    held_out = np.array(sample.held_out)
    chosen = ~held_out & answered
    coefficients = fit(evidence[chosen, 0], right[chosen], weights[chosen])
    calibrated = 1.0 / (1.0 + np.exp(-(coefficients[0] + evidence[:, 0] @ coefficients[1:])))
    calibrated[~answered] = 0.0
    print(f"{len(encoded)} texts, {held_out.sum()} of them held out, in {known.mean():.0%} the language is supported")
    for name, values in (("probability", scores[:, 0].astype(np.float64)), ("calibrated", calibrated)):
        # The error is weighted like the fit: texts are drawn again in the shares that the weights state.
        drawn = np.random.default_rng(1).choice(
            np.flatnonzero(held_out), 50_000, p=weights[held_out] / weights[held_out].sum()
        )
        error = expected_calibration_error(values[drawn].tolist(), right[drawn].tolist())
        print(
            f"{name}: expected calibration error {error:.4f}; unsupported accepted where {KEPT} of supported is kept:"
        )
        for low, high in LENGTHS:
            group = held_out & (np.diff(offsets) >= low) & (np.diff(offsets) < high)
            kept = np.sort(values[group & known & right])[::-1]
            needed = int(np.ceil(KEPT * (group & known).sum()))
            if 0 < needed <= len(kept):
                share = (values[group & ~known] >= kept[needed - 1]).mean()
                print(f"  {low}-{high if high < 1 << 40 else ''} bytes: {share:.4f}, threshold {kept[needed - 1]:.4f}")
    for least in (0.5, 0.8, 0.9):
        kept_right = (right & (calibrated >= least))[held_out & known].mean()
        accepted = (calibrated >= least)[held_out & ~known].mean()
        print(
            f"calibrated, min_score {least}: supported kept and right {kept_right:.4f}, unsupported accepted {accepted:.4f}"
        )
    everything = fit(evidence[answered, 0], right[answered], weights[answered])
    numbers = ", ".join(f"{value:.6g}" for value in everything)
    print(f'COEFFICIENTS = {{"{file_digest(model)}": ({numbers})}}')
    return 0


if __name__ == "__main__":
    sys.exit(main())
