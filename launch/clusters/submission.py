"""One submission: what is to run, checked here before anything leaves this machine, as the arguments of `gristmill run`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gristmill.launch.clusters.runs import checked_name, new_name
from gristmill.launch.presets import ConfigText, read_config
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.key_variable import KEY_VARIABLE
from gristmill.pipeline.planning.config import RunConfig, load
from gristmill.pipeline.planning.graph import build
from gristmill.pipeline.storage import is_remote

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True)
class RunArguments:
    """The arguments of `gristmill run` that `submit` takes too, for the run on the cluster."""

    config: str
    workers: int | None = None
    overrides: tuple[str, ...] = ()
    output: str | None = None
    plugins: tuple[str, ...] = ()
    rehash: bool = False
    keep_work: bool = False
    key: str | None = None
    previous: str | None = None
    reuse: str | None = None
    grace: int | None = None


@dataclass(frozen=True)
class Submission:
    """A run that is about to be submitted.

    Attributes:
        name: the run's name.
        text: the config.
        config: the same, loaded: every key is right, and the stages fit together.
        arguments: what the user gave.
        environment: names of the variables that the run needs from outside. Values are never read here.
    """

    name: str
    text: ConfigText
    config: RunConfig
    arguments: RunArguments
    environment: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The folders that the run writes."""
        return tuple(output.path for output in self.config.outputs.values())

    def command(self, config: str, address: str, grace: int | None = None) -> list[str]:
        """The arguments of `gristmill` on the cluster. The config comes last, so that no name of a file is an option.

        Args:
            config: the config as the job finds it.
            address: the Ray cluster as the job finds it.
            grace: seconds that its tasks get when it is told to stop; default: what the user gave.
        """
        given = self.arguments
        command = ["run", "--executor=ray", f"--address={address}"]
        command += [f"--workers={given.workers}"] if given.workers is not None else []
        command += [f"--set={item}" for item in given.overrides]
        command += [f"--output={given.output}"] if given.output is not None else []
        command += [f"--plugin={item}" for item in given.plugins]
        command += ["--rehash"] if given.rehash else []
        command += ["--keep-work"] if given.keep_work else []
        command += [f"--key={given.key}"] if given.key is not None else []
        command += [f"--previous={given.previous}"] if given.previous is not None else []
        command += [f"--reuse={given.reuse}"] if given.reuse is not None else []
        seconds = given.grace if grace is None else grace
        command += [f"--grace={seconds}"] if seconds is not None else []
        return [*command, "--", config]


def prepare(arguments: RunArguments, name: str | None, environment: tuple[str, ...]) -> Submission:
    """Reads and checks the config as `gristmill run` would, without looking at the data.

    Raises ConfigError for what `run` would refuse before its first task, and for names that cannot be.
    """
    for variable in environment:
        if not _VARIABLE.fullmatch(variable):
            raise ConfigError(
                f"--env {variable.partition('=')[0]!r}: expected the name of an environment variable. Its value is taken from "
                "the environment, so that it stands in no script."
            )
        if variable == KEY_VARIABLE:
            raise ConfigError(
                f"--env {variable}: a signing key does not travel with a job. Name its file on the cluster: --key FILE."
            )
    text = read_config(arguments.config)
    config = load(
        text.text, text.name, overrides=arguments.overrides, output=arguments.output, plugins=arguments.plugins
    )
    build(config)
    _refuse_controls(arguments)
    return Submission(
        new_name(config.name) if name is None else checked_name(name), text, config, arguments, environment
    )


def refuse_places_here(submission: Submission) -> None:
    """For a job that has a folder of its own, which goes with it: raises ConfigError for outputs and a work folder that would
    lie in it, and for `--key` and `--previous` that it would not find."""
    config = submission.config
    places = [(f"outputs.{name}.path", output.path) for name, output in config.outputs.items()]
    places += [("work", config.work)] if config.work is not None else []
    for key, place in places:
        if not _is_anywhere(place):
            raise ConfigError(
                f"{config.where(key)}: `{place:.80}` is a relative path, and a job has a folder of its own, which goes when it "
                "ends. Name storage that all nodes write (s3://…, or a folder that all mount, from / on), here or by "
                "--output."
            )
    for option, given in (("--key", submission.arguments.key), ("--previous", submission.arguments.previous)):
        if given is not None and not _is_anywhere(given):
            raise ConfigError(
                f"{option} {given:.80}: this is a relative path, which the job does not find. Name one from / on, as it is on "
                "the cluster; a private key does not travel."
            )


def _is_anywhere(place: str) -> bool:
    return is_remote(place) or os.path.isabs(place.removeprefix("file://"))


def _refuse_controls(arguments: RunArguments) -> None:
    texts = {
        "CONFIG": (arguments.config, str(Path.cwd())), "--set": arguments.overrides, "--output": (arguments.output,),
        "--key": (arguments.key,), "--previous": (arguments.previous,),
    }  # fmt: skip
    for option, values in texts.items():
        for value in values:
            if value is not None and any(ord(character) < 32 or ord(character) == 127 for character in value):
                raise ConfigError(
                    f"{option} {value!r:.80}: a job's arguments take no line ends and no control characters."
                )
