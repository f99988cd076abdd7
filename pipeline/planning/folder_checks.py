"""Where a run may write: outputs, work folder and inputs must lie apart, whatever names and links lead to them."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import stat

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.storage import is_remote, local, names_in
from gristmill.pipeline.work_folder import RUN_FILES

_WRITTEN = ("data/part-00000-00.parquet", "ledger/part-00000.parquet", "manifest.json", "croissant.json", "README.md")
"""Examples of files that a run leaves in an output."""


def check_places(plan: Plan, work: str) -> None:
    """Refuses folders in which a run would destroy or read what is not its own.

    The work folder is removed at the end with all that is in it, and an output loses what the run did not write, so
    neither may hold the other nor any input. Raises ConfigError naming both folders.
    """
    config = plan.config
    folders = [("work", work, "the work folder")]
    folders += [(f"outputs.{o.name}.path", o.config.path, f"the output `{o.name}`") for o in plan.graph.outputs]
    places = [(path, given, what, _real(given)) for path, given, what in folders]
    for path, given, what, _ in places:
        if not is_remote(given):
            _refuse_no_folder(config.where(path), given, what)
    inputs = [(one, _real(one.location)) for whole in plan.slices for one in whole.each]
    for index, (path, given, what, real) in enumerate(places):
        for _, _, other, taken in places[:index]:
            if _inside(real, taken) or _inside(taken, real):
                raise ConfigError(
                    f"{config.where(path)}: {what} ({given}) and {other} ({taken}) lie inside each other. Give each a "
                    "folder of its own."
                )
        for one, location in inputs:
            if _inside(location, real):
                raise ConfigError(
                    f"{config.where(path)}: {what} ({given}) holds the input {one.location}. Choose a folder that holds no "
                    f"input, or leave that file out with sources.{one.source}.exclude."
                )
        for spec in config.sources:
            for pattern in spec.config.paths:
                if _would_read(pattern, spec.config, real):
                    raise ConfigError(
                        f"{config.where(path)}: {what} ({given}) lies where `{pattern}` of the source `{spec.name}` looks for "
                        "input: the next run would read what this one writes. Choose a folder elsewhere, or leave it out "
                        f"with sources.{spec.name}.exclude."
                    )
    _refuse_foreign_work(plan, work)


def _refuse_no_folder(where: str, given: str, what: str) -> None:
    """Refuses what is there and is no folder, and what no file system has a name for."""
    try:
        mode = os.stat(local(given)).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"{where}: {what} ({given:.100}) cannot be a folder: {error.strerror}.") from error
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{where}: {what} ({given}) is a file. Choose another place.")


def _refuse_foreign_work(plan: Plan, work: str) -> None:
    where = plan.config.where("work")
    names = {name for name in names_in(work) if not name.startswith(".")} - {RUN_FILES}
    if names:
        raise ConfigError(
            f"{where}: the work folder {work} holds files that no run of Gristmill wrote (`{min(names)}`). Name a "
            "new or an empty folder."
        )


def _real(location: str) -> str:
    return location.rstrip("/") if is_remote(location) else os.path.realpath(local(location))


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _would_read(pattern: str, config: SourceConfig, folder: str) -> bool:
    """Whether a source's path takes in what a run writes in a folder: it is above it, or its `**` reaches it."""
    if not pattern or is_remote(pattern) != is_remote(folder):
        return False
    if not any(c in pattern for c in "*?[") if is_remote(pattern) else os.path.isdir(local(pattern)):
        reached = [f"{folder}/{name}" for name in _WRITTEN] if _inside(folder, _real(pattern)) else []
    elif "**" in pattern:
        literal, _, rest = pattern.partition("**")
        above = f"{_real(literal)}/"
        ends = posixpath.basename(rest) or "*"
        written = [f"{folder}/{name}" for name in _WRITTEN]
        reached = [w for w in written if w.startswith(above) and fnmatch.fnmatch(posixpath.basename(w), ends)]
    else:
        reached = []
    return any(
        not any(fnmatch.fnmatch(path, e) or fnmatch.fnmatch(posixpath.basename(path), e) for e in config.exclude)
        for path in reached
    )
