"""`gristmill train`: makes the model files that stages embed, from data that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launch.console import say_json
from pipeline.errors import ConfigError


def train_toxicity(data: str, out: str, clean: Sequence[str], seed: int) -> int:
    """Trains the toxicity model and prints its figures on held-out texts, as JSON."""
    from stages.toxicity_training import train

    for file in (data, *clean):
        if not Path(file).is_file():
            raise ConfigError(f"{file}: there is no such file. Name a Parquet file with the texts.")
    figures = train(Path(data), Path(out), seed, [Path(file) for file in clean])
    say_json(figures)
    return 0
