"""`gristmill evaluate classifier`: a model with several labels on texts that people have labelled."""

from __future__ import annotations

from pathlib import Path

from gristmill.launch.terminal.console import say, say_json


def evaluate_labels(file: str, model: str, column: str, precision: float | None, as_json: bool) -> int:
    """Prints the figures of a model on a labelled file.

    Raises ConfigError when the file or the model cannot be used, or has none of the labels; DataError when the file cannot
    be read.
    """
    from gristmill.stages.classifier.label_evaluation import figures_text, read_and_evaluate
    from gristmill.stages.classifier.labels_training import read_labels

    pairs, without = read_labels(Path(file), column)
    figures = read_and_evaluate(Path(model), pairs, precision) | {"without_label_or_text": without}
    if as_json:
        say_json(figures)
        return 0
    for line in figures_text(figures):
        say(line)
    if without:
        say(f"\nrows without a label or text: {without:,}")
    return 0
