"""`gristmill train`: makes the model files that stages embed, from data that the user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.launch.terminal.console import say_json
from gristmill.pipeline.errors import ConfigError


def train_toxicity(data: Sequence[str], out: str, clean: Sequence[str], seed: int, **options: Any) -> int:
    """Trains the toxicity model, writes its card beside it, and prints its figures on held-out texts, as JSON.

    `options`: as `stages.toxicity.training.train` takes them.
    """
    from gristmill.stages.toxicity.card import write_card
    from gristmill.stages.toxicity.training import train

    for file in (*data, *clean):
        if not Path(file).is_file():
            raise ConfigError(f"{file}: there is no such file. Name a Parquet file with the texts.")
    figures = train([Path(file) for file in data], Path(out), seed, [Path(file) for file in clean], **options)
    write_card(Path(out), figures)
    say_json(figures)
    return 0


def train_classifier(data: Sequence[str], out: str, column: str, options: Mapping[str, Any]) -> int:
    """Trains a classifier with several labels, writes its card beside it, and prints its figures on held-out texts, as
    JSON."""
    from gristmill.stages.classifier.labels_training import train_labels
    from gristmill.stages.classifier.training import Settings

    say_json(train_labels([Path(file) for file in data], Path(out), Settings(**options), column))
    return 0


def train_quality(positive: Sequence[str], negative: Sequence[str], out: str, options: Mapping[str, Any]) -> int:
    """Trains a quality classifier, writes its card beside it, and prints its figures on held-out texts, as JSON."""
    from gristmill.stages.classifier.training import Settings, train

    say_json(
        train([Path(file) for file in positive], [Path(file) for file in negative], Path(out), Settings(**options))
    )
    return 0
