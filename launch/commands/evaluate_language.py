"""`gristmill evaluate`: how well a part of the pipeline does on data that the user has labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.launch.terminal.console import columns, facts, out, say, say_json
from gristmill.launch.terminal.numbers import count
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.evaluation.labelled_texts import read_labelled
from gristmill.stages.labels.labels import UNDETERMINED
from gristmill.stages.language.calibration import apply_to_scores, document_weights, fit_scores, held_out
from gristmill.stages.language.evaluation import evaluate, expected_calibration_error
from gristmill.stages.language.identify import BACKENDS, CALIBRATED_MIN_SCORES, answer_labels, named_labels

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
"""Thresholds that are tried."""
SHOWN_CONFUSIONS = 15
SHOWN_UNKNOWN = 10
ACCEPTABLE = 0.10
"""The share of unsupported text that may be accepted where a threshold is proposed."""


def evaluate_language(
    file: str, backend: str, model: str | None, calibrate: bool, min_score: float | None, as_json: bool
) -> int:
    """Identifies the language of labelled texts and prints how often that was right."""
    if backend not in BACKENDS:
        raise ConfigError(f"--backend: {backend!r} is none of {', '.join(BACKENDS)}.")
    if model is not None and not Path(model).is_file():
        raise ConfigError(f"--model: {model}: there is no such file.")
    labelled = read_labelled(Path(file))
    path = Path(model) if model else None
    least = min_score
    if least is None:
        least = CALIBRATED_MIN_SCORES[backend] if path is None else 0.0
    supported = named_labels(backend, path)
    answers, scores = answer_labels(labelled.texts, backend, path)
    _, own = answer_labels(labelled.texts, backend, path, calibrated=False)
    figures = language_figures(labelled.labels, answers, scores, own, supported, least)
    figures = {"file": file, "backend": backend, "model": model, **figures}
    figures["unknown_labels"] = {
        label: {"documents": number, "nearest": near} for label, (number, near) in labelled.unknown.items()
    }
    if calibrate:
        figures["calibration"] = calibration_figures(labelled.labels, answers, scores, supported)
    if as_json:
        say_json(figures)
    else:
        _print(figures)
    return 0


def language_figures(
    given: Sequence[str],
    answers: Sequence[str],
    scores: np.ndarray,
    own_scores: np.ndarray,
    supported: frozenset[str],
    min_score: float,
) -> dict[str, Any]:
    """Figures of answers with their scores, in JSON's types.

    F1, and what depends on labels alone, is of all answers; what depends on refusing text (accuracy, unsupported text
    accepted, false labels) is of the answers that score `min_score` or more.
    """
    every = evaluate(given, answers, supported)
    kept = evaluate(given, _refused_below(answers, scores, min_score), supported)
    known = np.array([label in supported for label in given], bool)
    right = [label == answer for label, answer in zip(given, answers, strict=True)]
    weights = document_weights(known).tolist()
    return {
        "min_score": min_score,
        "documents": every["documents"],
        "documents_supported": every["documents_supported"],
        "languages_supported": every["languages_supported"],
        "macro_f1_supported": every["macro_f1_supported"],
        "macro_f1_common": every["macro_f1_common"],
        "languages_common": every["languages_common"],
        "label_accuracy_supported": every["accuracy_supported"],
        "accuracy_supported": kept["accuracy_supported"],
        "macro_f1_supported_at_min_score": kept["macro_f1_supported"],
        "unsupported_accepted": kept["unsupported_accepted"],
        "false_per_10000": kept["false_per_10000"],
        "calibration_error_of_model": expected_calibration_error(own_scores.tolist(), right, weights=weights),
        "calibration_error": expected_calibration_error(scores.tolist(), right, weights=weights),
        "f1": every["f1"],
        "confusions": every["confusions"],
        "confusions_unsupported": kept["confusions_unsupported"],
    }


def calibration_figures(
    given: Sequence[str], answers: Sequence[str], scores: np.ndarray, supported: frozenset[str]
) -> dict[str, Any]:
    """What the scores are worth: thresholds and their effect, the least that accepts at most ACCEPTABLE of unsupported
    text, and a curve from score to probability with its error on texts that it was not fitted to."""
    table = []
    for least in THRESHOLDS:
        at = evaluate(given, _refused_below(answers, scores, least), supported)
        table.append(
            {
                "min_score": least,
                "accuracy_supported": at["accuracy_supported"],
                "unsupported_accepted": at["unsupported_accepted"],
                "false_per_10000": at["false_per_10000"],
            }
        )
    proposed = next(
        (row["min_score"] for row in table if (row["unsupported_accepted"] or 0.0) <= ACCEPTABLE), THRESHOLDS[-1]
    )
    known = np.array([label in supported for label in given], bool)
    right = np.array([label == answer for label, answer in zip(given, answers, strict=True)], bool)
    kept_out, answered, weights = held_out(given, supported), scores > 0.0, document_weights(known)
    curve = fit_scores(scores[~kept_out & answered], right[~kept_out & answered], weights[~kept_out & answered])
    errors = [
        expected_calibration_error(
            values[kept_out].tolist(), right[kept_out].tolist(), weights=weights[kept_out].tolist()
        )
        for values in (scores, apply_to_scores(curve, scores))
    ]
    return {
        "thresholds": table,
        "proposed_min_score": proposed,
        "curve": {"intercept": float(curve[0]), "slope": float(curve[1])},
        "documents_held_out": int(kept_out.sum()),
        "calibration_error_before": errors[0],
        "calibration_error_after": errors[1],
    }


def _refused_below(answers: Sequence[str], scores: np.ndarray, least: float) -> list[str]:
    return [answer if score >= least else UNDETERMINED for answer, score in zip(answers, scores.tolist(), strict=True)]


def _print(figures: Mapping[str, Any]) -> None:
    say(f"{figures['file']}: {count(figures['documents'])} texts, backend {figures['backend']}")
    others = figures["documents"] - figures["documents_supported"]
    least = figures["min_score"]
    supported = f"{count(figures['documents_supported'])} texts in {figures['languages_supported']} supported languages"
    lines = [
        (f"F1, {figures['languages_supported']} supported languages", _number(figures["macro_f1_supported"])),
        (f"F1, {figures['languages_common']} of the most common labels", _number(figures["macro_f1_common"])),
        ("label right, of supported", _number(figures["label_accuracy_supported"])),
        (f"kept and right, of supported, from score {least:g}", _number(figures["accuracy_supported"])),
        (f"accepted, of unsupported, from score {least:g}", _number(figures["unsupported_accepted"])),
        (f"false labels per 10,000, from score {least:g}", _number(figures["false_per_10000"], 1)),
        ("calibration error of the model's own scores", _number(figures["calibration_error_of_model"])),
        ("calibration error of the stage's scores", _number(figures["calibration_error"])),
    ]
    say(f"{supported}, {count(others)} in others\n")
    for line in facts(lines):
        say(line)
    if figures["confusions"]:
        say()
        table = columns(("language", "left"), ("taken for", "left"), ("texts", "right"), title="Confused most often")
        for truth, answer, number in figures["confusions"][:SHOWN_CONFUSIONS]:
            table.add_row(truth, answer, count(number))
        out().print(table)
    if figures["unknown_labels"]:
        _print_unknown(figures["unknown_labels"])
    if "calibration" in figures:
        _print_calibration(figures["calibration"])


def _print_unknown(unknown: Mapping[str, Mapping[str, Any]]) -> None:
    say("\nLabels that FineWeb2 does not have, taken for unsupported unless the model answers them:")
    ranked = sorted(unknown.items(), key=lambda item: (-item[1]["documents"], item[0]))
    for label, entry in ranked[:SHOWN_UNKNOWN]:
        near = f" (nearest: {entry['nearest']})" if entry["nearest"] else ""
        say(f"  {label}  {count(entry['documents'])}{near}")
    if len(ranked) > SHOWN_UNKNOWN:
        say(f"  and {count(len(ranked) - SHOWN_UNKNOWN)} more; --json lists all")


def _print_calibration(found: Mapping[str, Any]) -> None:
    say()
    table = columns(
        ("min_score", "right"), ("kept and right", "right"), ("unsupported accepted", "right"),
        ("false per 10,000", "right"), title="Thresholds",
    )  # fmt: skip
    for row in found["thresholds"]:
        table.add_row(
            f"{row['min_score']:g}",
            _number(row["accuracy_supported"]),
            _number(row["unsupported_accepted"]),
            _number(row["false_per_10000"], 1),
        )
    out().print(table)
    say(
        f"\nThe least of them that accepts at most {ACCEPTABLE:.0%} of unsupported text: {found['proposed_min_score']:g}"
    )
    curve = found["curve"]
    say(
        f"A curve from score to probability, 1/(1 + exp(−({curve['intercept']:.4g} + {curve['slope']:.4g}·logit))): "
        f"calibration error on {count(found['documents_held_out'])} texts held out "
        f"{_number(found['calibration_error_before'])} before, {_number(found['calibration_error_after'])} after"
    )


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
