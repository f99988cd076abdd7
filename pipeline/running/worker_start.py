"""What a worker loads before its first task, while the driver still plans: the engine, the stages, their models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Preparation:
    """Called in a worker: loads what the tasks of a config need. Plain data, as `planning.config.load` takes it.

    Whatever is wrong with the config, the driver finds and says by itself.
    """

    text: str
    name: str
    overrides: Sequence[str] = ()
    output: str | None = None
    plugins: Sequence[str] = ()

    def __call__(self) -> None:
        import gristmill.pipeline.running.task  # noqa: F401  # what every task needs
        from gristmill.pipeline.planning.config import load

        config = load(self.text, self.name, overrides=self.overrides, output=self.output, plugins=self.plugins)
        for node in config.nodes:
            node.stage(node.config).check_files()
