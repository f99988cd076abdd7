"""The toxicity model file: weights, calibration, level cuts and card data, read, checked, written and applied.

The file is an uncompressed NumPy archive, so that its bytes are a function of its content alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.kernels import linear
from gristmill.stages.toxicity.kernels import scoring as kernel

DIMENSIONS = ("race_origin", "gender_sex", "religion", "ability", "violence")
HEAD_NAMES = (*DIMENSIONS, "overall")
FORMAT = 4
"""Raised when the features or the layout change: a model only means something with the features it was trained on."""
EMBEDDED = Path(__file__).with_name("model.npz")
LOGIT_LOW = -16.0
STEPS_PER_LOGIT = 128.0
MAX_BYTES = 12_000_000
"""Of a model in the package."""
TAIL_STEPS = 16
"""Steps of the score for each entry of the tables of clean text."""

_ARRAYS = (
    "kept",
    "weights",
    "scale",
    "bias",
    "probability",
    "clean_tail",
    "cuts",
    "passage_tail",
    "passage_cuts",
    "group_hash",
    "group_class",
    "metadata",
)


@dataclass(frozen=True)
class Listed:
    """Windows or passages of texts.

    Attributes:
        counts: int64[texts], how many each text has.
        owner: int64[n], the text that a listed one belongs to, ascending.
        span: int64[n, 2], (offset, end) of a listed one in bytes of its text.
        steps: int16[n, HEADS] of each listed one.
    """

    counts: np.ndarray
    owner: np.ndarray
    span: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True)
class Windows(Listed):
    """Windows of texts, and what else was seen on the way.

    Attributes:
        highest: int16[texts, HEADS], each head's highest step over the text's windows.
        passages: the same texts' passages, see `kernels.linear`.
    """

    highest: np.ndarray
    passages: Listed


@dataclass(frozen=True, kw_only=True)
class ToxicityModel:
    """A linear model over the kernel's features, one head per dimension and one for any of them.

    Attributes:
        kept: uint8[2^bits / 8], bit i (lowest first) set for a feature that has weights.
        weights: int8[kept, HEADS] of those, in their order.
        scale, bias: float64[HEADS]: logit = Σ weights / sqrt(features) · scale + bias.
        probability: float32[HEADS, LEVELS], the calibrated probability of each step, strictly ascending per head.
        clean_tail: float32[languages, HEADS, LEVELS / TAIL_STEPS], bound on the share of clean windows of a language whose
            step in some head is as rare as each step in that head.
        cuts: float32[languages, HEADS, 3]: a head's level is the number of its cuts that the score reaches.
        passage_tail, passage_cuts: the same two for passages.
        group_hash, group_class: the marked words, see `stages.toxicity.identity_terms` and `kernels.scoring.Groups`.
        metadata: version, training figures, `languages` in their order, those of them that are `covered`; JSON values.
    """

    kept: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    probability: np.ndarray
    clean_tail: np.ndarray
    cuts: np.ndarray
    passage_tail: np.ndarray
    passage_cuts: np.ndarray
    group_hash: np.ndarray
    group_class: np.ndarray
    metadata: Mapping[str, Any]

    @property
    def bits(self) -> int:
        """log2 of the number of features."""
        return len(self.kept).bit_length() + 2

    @cached_property
    def kernel_weights(self) -> linear.Weights:
        """The weights as the kernel takes them."""
        index = linear.kept_index(np.unpackbits(self.kept, bitorder="little").astype(bool))
        return linear.Weights(linear.pack(self.weights), index, self.bits, self.scale, self.bias)

    @cached_property
    def _word_sums(self) -> list[linear.WordSums]:
        """Those that no thread is using."""
        return []

    @property
    def groups(self) -> kernel.Groups:
        """The marked words as the kernel takes them."""
        return kernel.Groups(self.group_hash, self.group_class)

    def covered_languages(self) -> frozenset[str]:
        """Label pairs (`eng_Latn`) of the languages whose figures support the model's use."""
        return frozenset(self.metadata.get("covered", ()))

    def has_passages(self) -> np.ndarray:
        """bool[languages]: those in which passages are judged, because some score reaches a cut."""
        return np.asarray((self.passage_cuts[:, :, 0] <= 1.0).any(axis=1))

    @property
    def languages(self) -> tuple[str, ...]:
        """Label pairs of the languages that have cuts, in the order of `cuts` and `clean_tail`."""
        return tuple(self.metadata["languages"])

    def chance(self, language: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """float64[n]: bounds on the share of clean windows that are as far out as windows with float32[n, HEADS] scores.

        Args:
            language: int64[n], indices into `languages`.
        """
        return self._share(self.clean_tail, language, scores)

    def passage_chance(self, language: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """As `chance`, of passages."""
        return self._share(self.passage_tail, language, scores)

    def _share(self, tail: np.ndarray, language: np.ndarray, scores: np.ndarray) -> np.ndarray:
        entry = self.steps_of(scores).astype(np.int64) // TAIL_STEPS
        found: np.ndarray = tail[language[:, None], np.arange(kernel.HEADS)[None, :], entry]
        return np.asarray(found.min(axis=1), np.float64)

    def steps_of(self, scores: np.ndarray) -> np.ndarray:
        """int16[n, HEADS]: the highest step of each head whose probability is at most float32[n, HEADS] scores."""
        found = [
            np.searchsorted(self.probability[head], scores[:, head], side="right") - 1 for head in range(kernel.HEADS)
        ]
        return np.maximum(np.stack(found, axis=1), 0).astype(np.int16)

    def windows(
        self,
        text: pa.Array | pa.ChunkedArray,
        *,
        floor: np.ndarray | None = None,
        passage_floor: np.ndarray | None = None,
        sentences: bool = True,
    ) -> Windows:
        """Score a large_string column.

        Args:
            floor, passage_floor: int16[HEADS]; windows, or passages, with a step at or above it are listed. None lists none.
            sentences: whether windows are sentences; else whole texts, up to the kernel's TEXT_TOKENS each.
        """
        data, offsets = text_buffers(text)
        none = np.full(kernel.HEADS, kernel.LEVELS, np.int16)
        floors = [none if one is None else one.astype(np.int16) for one in (floor, passage_floor)]
        cap = kernel.SENTENCE_TOKENS if sentences else kernel.TEXT_TOKENS
        least = kernel.LEAST_TOKENS if sentences else 0
        try:
            word_sums = self._word_sums.pop()
        except IndexError:
            word_sums = linear.new_word_sums(self.groups)
        highest, windows, passages = linear.score_windows(
            data, offsets, kernel.token_table(), cap, least, self.kernel_weights, self.groups, word_sums, *floors
        )
        self._word_sums.append(word_sums)
        counts, owner, span, steps = windows
        return Windows(counts, owner, span, steps, highest, Listed(*passages))

    def scores(self, steps: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float32[n, HEADS], of int16[n, HEADS] steps."""
        return self.probability[np.arange(kernel.HEADS)[None, :], steps.astype(np.int64)]

    def step_at(self, head: int, score: float) -> int:
        """The lowest step whose probability is at least `score`; LEVELS when none is."""
        return int(np.searchsorted(self.probability[head], np.float32(score), side="left"))

    def save(self, path: Path) -> None:
        """Write the file. Raises ValueError when it would exceed the size that a model in the package may have."""
        encoded = json.dumps({"format": FORMAT, **self.metadata}, sort_keys=True, ensure_ascii=False).encode()
        arrays = {name: getattr(self, name) for name in _ARRAYS[:-1]}
        size = sum(array.nbytes for array in arrays.values()) + len(encoded)
        if size > MAX_BYTES:
            raise ValueError(f"a toxicity model may have {MAX_BYTES} bytes, this one has {size}: keep fewer features")
        with path.open("wb") as stream:
            np.savez(stream, **arrays, metadata=np.frombuffer(encoded, np.uint8))


def load_model(path: Path) -> ToxicityModel:
    """Read and check a model file. Raises ConfigError when it is missing, damaged or of another format."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in _ARRAYS if name not in archive.files]
            if missing:
                raise ConfigError(
                    f"{path}: not a toxicity model: expected the arrays {', '.join(_ARRAYS)}; {', '.join(missing)} "
                    "missing. Make one with `gristmill train toxicity`."
                )
            arrays = {name: archive[name] for name in _ARRAYS}
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such toxicity model. Leave `model` out for the embedded one, or make one with "
            "`gristmill train toxicity`."
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path}: not a toxicity model, or a damaged one ({error}). Expected a file that `gristmill train "
            "toxicity` wrote."
        ) from error
    metadata = _metadata(path, arrays.pop("metadata"))
    if metadata.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: toxicity model of format {metadata.get('format')!r}; this version of Gristmill reads format "
            f"{FORMAT}. Train it again with `gristmill train toxicity`."
        )
    languages = metadata.get("languages")
    if not (isinstance(languages, list) and languages and all(isinstance(name, str) for name in languages)):
        raise ConfigError(f"{path}: `languages` in its metadata names no language; the file is damaged, train it again")
    _check_shapes(path, arrays, len(languages))
    for array in arrays.values():
        array.setflags(write=False)
    return ToxicityModel(**arrays, metadata=metadata)


def _metadata(path: Path, encoded: np.ndarray) -> dict[str, Any]:
    try:
        found = json.loads(encoded.tobytes())
    except ValueError as error:
        raise ConfigError(f"{path}: its metadata is not JSON ({error}); the file is damaged, train it again") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: its metadata is no JSON object; the file is damaged, train it again")
    return found


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray], languages: int) -> None:
    rows = len(arrays["weights"])
    heads, levels, groups = kernel.HEADS, kernel.LEVELS, len(arrays["group_hash"])
    expected = {
        "kept": ((len(arrays["kept"]),), np.uint8),
        "weights": ((rows, heads), np.int8),
        "scale": ((heads,), np.float64),
        "bias": ((heads,), np.float64),
        "probability": ((heads, levels), np.float32),
        "clean_tail": ((languages, heads, levels // TAIL_STEPS), np.float32),
        "cuts": ((languages, heads, 3), np.float32),
        "passage_tail": ((languages, heads, levels // TAIL_STEPS), np.float32),
        "passage_cuts": ((languages, heads, 3), np.float32),
        "group_hash": ((groups,), np.uint64),
        "group_class": ((groups,), np.uint8),
    }
    for name, (shape, kind) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != kind:
            raise ConfigError(
                f"{path}: `{name}` must be {np.dtype(kind).name} of shape {shape}, found {found.dtype.name} of shape "
                f"{found.shape}. The file is damaged or was written by something else; train it again."
            )
    features = 8 * len(arrays["kept"])
    if features & (features - 1) or not 1 << 10 <= features <= 1 << 24:
        raise ConfigError(f"{path}: the number of features must be a power of two from 2^10 to 2^24, found {features}")
    if int(np.unpackbits(arrays["kept"]).sum()) != rows or rows == 0:
        raise ConfigError(f"{path}: `kept` names another number of features than `weights` has rows ({rows})")


@lru_cache(maxsize=4)
def _cached_model(path: Path, stamp: tuple[int, int]) -> ToxicityModel:
    return load_model(path)


def model_at(path: Path) -> ToxicityModel:
    """The model of a file, read once per process while the file stays as it is."""
    try:
        status = path.stat()
    except OSError:
        return load_model(path)
    return _cached_model(path, (status.st_size, status.st_mtime_ns))
