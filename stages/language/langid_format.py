"""Reader of py3langid's model format (0.4): an npz archive compressed with LZMA, without pickled objects.

The model is naive Bayes over byte n-grams (Lui and Baldwin, *langid.py: An Off-the-shelf Language Identification Tool*,
ACL 2012) that a finite automaton recognises while it reads the text. Arrays of the archive:

    classes        names of the classes; a label may name several (scripts of one language)
    pc, ptc        log prior of each class, and log likelihood of each class per feature, (features, classes)
    nextmove       distinct rows of 256 next states
    nextmove_row   for each state, its row
    out_feat       for each state, the feature that it completes, or −1

Source: https://github.com/adbar/py3langid, `py3langid/modelio.py`.
"""

from __future__ import annotations

import io
import lzma
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gristmill.pipeline.errors import ConfigError

ARRAYS = ("classes", "pc", "ptc", "nextmove", "nextmove_row", "out_feat")
MAX_ARCHIVE_BYTES = 1 << 30
"""More than this is damage, or a bomb: py3langid's own model has 76 MB."""


@dataclass(frozen=True)
class LangidModel:
    """A py3langid model.

    Attributes:
        path: where it was read from.
        classes: names of the classes, not distinct.
        priors: float32 of shape (classes,), log prior.
        likelihoods: float32 of shape (features, classes), log likelihood.
        transitions: uint32 of shape (rows, 256), next state by byte.
        state_rows: uint32 of shape (states,), each state's row of `transitions`.
        state_features: int32 of shape (states,), the feature that a state completes, or −1. State 0 is the start.
    """

    path: Path
    classes: tuple[str, ...]
    priors: np.ndarray
    likelihoods: np.ndarray
    transitions: np.ndarray
    state_rows: np.ndarray
    state_features: np.ndarray


def read_model(path: Path) -> LangidModel:
    """Read a py3langid model.

    Raises ConfigError when the file is missing, damaged, of another format or contradicts itself.
    """
    advice = "Give a model that py3langid 0.4 or newer wrote (model.npz.xz), or leave `model` out."
    try:
        with lzma.open(path) as stream:
            packed = stream.read(MAX_ARCHIVE_BYTES + 1)
        if len(packed) > MAX_ARCHIVE_BYTES:
            raise ConfigError(
                f"{path}: expected a py3langid model, found more than {MAX_ARCHIVE_BYTES} bytes. {advice}"
            )
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise ConfigError(
                    f"{path}: not a usable py3langid model: expected the arrays {', '.join(ARRAYS)}, found "
                    f"{', '.join(archive.files)}. {advice}"
                )
            arrays = {name: archive[name] for name in ARRAYS}
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: cannot read the py3langid model: {error.strerror}. Check the path.") from error
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: not a usable py3langid model: {error}. {advice}") from error

    def check(holds: bool, expected: str, found: object) -> None:
        if not holds:
            raise ConfigError(f"{path}: not a usable py3langid model: expected {expected}, found {found}. {advice}")

    classes, priors, likelihoods = arrays["classes"], arrays["pc"], arrays["ptc"]
    check(classes.ndim == 1 and classes.dtype.kind == "U" and classes.size > 0, "names of classes", classes.dtype)
    check(priors.shape == classes.shape, f"{classes.size} priors", priors.shape)
    check(
        likelihoods.ndim == 2 and likelihoods.shape[1] == classes.size and len(likelihoods) > 0,
        f"likelihoods of {classes.size} classes",
        likelihoods.shape,
    )
    for name in ("pc", "ptc"):
        check(arrays[name].dtype.kind == "f", f"floats in `{name}`", arrays[name].dtype)
        check(bool(np.isfinite(arrays[name]).all()), f"finite numbers in `{name}`", "infinity or NaN")
    moves, rows, features = arrays["nextmove"], arrays["nextmove_row"], arrays["out_feat"]
    for name in ("nextmove", "nextmove_row", "out_feat"):
        kinds = "iu" if name == "out_feat" else "u"
        check(arrays[name].dtype.kind in kinds and arrays[name].size > 0, f"integers in `{name}`", arrays[name].dtype)
    check(moves.size % 256 == 0, "rows of 256 next states", f"{moves.size} numbers")
    check(features.shape == rows.shape, "one feature and one row per state", (features.shape, rows.shape))
    check(int(moves.max()) < len(rows), f"states below {len(rows)}", moves.max())
    check(int(rows.max()) < moves.size // 256, f"rows below {moves.size // 256}", rows.max())
    check(
        int(features.min()) >= -1 and int(features.max()) < len(likelihoods),
        f"features from -1 to {len(likelihoods) - 1}",
        f"{features.min()} to {features.max()}",
    )
    return LangidModel(
        path=path,
        classes=tuple(classes.tolist()),
        priors=priors.astype(np.float32),
        likelihoods=likelihoods.astype(np.float32),
        transitions=moves.reshape(-1, 256).astype(np.uint32),
        state_rows=rows.astype(np.uint32),
        state_features=features.astype(np.int32),
    )
