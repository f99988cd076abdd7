"""What a worker loads before its first task, while the driver still plans: the engine, the stages, their models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Preparation:
    """What a worker is to load: what the tasks of a config need. Plain data, as `planning.config.load` takes it.

    Whatever is wrong with the config, the driver finds and says by itself.
    """

    text: str
    name: str
    overrides: Sequence[str] = ()
    output: str | None = None
    plugins: Sequence[str] = ()


def prepare(about: Preparation) -> None:
    """Loads it, in a worker."""
    import gristmill.pipeline.running.task  # noqa: F401  # what every task needs
    from gristmill.pipeline.planning.config import load

    config = load(about.text, about.name, overrides=about.overrides, output=about.output, plugins=about.plugins)
    for node in config.nodes:
        node.stage(node.config).check_files()
