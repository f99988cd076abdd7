"""Models that floret saved, as fastText's own files.

floret (https://github.com/explosion/floret) is fastText with two arguments more, `mode` and `hashCount`, which it writes
into the header behind `maxn`. In the mode `fasttext` with one hash nothing else differs, so that the file without these
eight bytes is what fastText's `saveModel` writes for the same model.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import BinaryIO

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.fasttext.model_file import MAGIC

VERSION = 12
FASTTEXT_MODE = 1
_BEFORE = struct.Struct("<2i11i")
"""Magic and version, then dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn."""
_ADDED = struct.Struct("<2i")


def write_as_fasttext(source: Path, target: BinaryIO) -> None:
    """Copies a model of floret's mode `fasttext` in fastText's format.

    Raises ConfigError when the file is none.
    """
    with source.open("rb") as file:
        before, added = file.read(_BEFORE.size), file.read(_ADDED.size)
        if len(added) < _ADDED.size:
            raise ConfigError(f"{source}: expected a model that floret saved, found {len(before) + len(added)} bytes.")
        magic, version, *_ = _BEFORE.unpack(before)
        mode, hashes = _ADDED.unpack(added)
        if (magic, version, mode, hashes) != (MAGIC, VERSION, FASTTEXT_MODE, 1):
            raise ConfigError(
                f"{source}: expected a model that floret saved in the mode `fasttext` (magic {MAGIC}, version {VERSION}, "
                f"mode {FASTTEXT_MODE}, 1 hash), found {magic}, {version}, {mode}, {hashes}. Another version of floret "
                "may write another header; 0.10.5 is known to work."
            )
        target.write(before)
        shutil.copyfileobj(file, target)
