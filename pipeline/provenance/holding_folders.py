"""Where the files of an output lie that it shares with other outputs of its run: in its own folder, or in one beside it.

A manifest names the folder by a single name, in the folder that its own lies in, and files.parquet has the digest of every
file: a folder that is something else holds none that would be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.storage import exists, is_remote, join, local


def holding_folders(
    folder: str, predicate: Predicate, outputs: Iterable[str], beside: Sequence[str] = ()
) -> dict[str, str]:
    """The folders of outputs of the run, by name, as far as they are known.

    Args:
        folder: of the output that the manifest is of.
        outputs: those that are asked for.
        beside: folders of other outputs of the run, wherever they lie.

    Raises ConfigError for a folder in `beside` that holds none, DataError for one whose manifest cannot be read.
    """
    found = {predicate.output: folder}
    for other in beside:
        manifest = read_manifest(other)
        if manifest is None or manifest.run != predicate.run:
            raise ConfigError(
                f"--beside {other}: this folder holds no output of the run {predicate.run} (found "
                f"{'no manifest.json' if manifest is None else f'the run {manifest.run}'}). Name another output of that run."
            )
        found.setdefault(manifest.output, other)
    place = folder.rstrip("/") if is_remote(folder) else str(local(folder).absolute())
    parent = place.rpartition("/")[0]
    for output, name in predicate.varies.beside.items():
        if name not in (".", "..") and output not in found and exists(join(parent, name)):
            found[output] = join(parent, name)
    return {output: found[output] for output in outputs if output in found}
