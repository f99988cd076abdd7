"""Training of a quality classifier: documents like those wanted against documents like those met, by fastText.

The method is that of DCLM's filter (Li et al. 2024, https://arxiv.org/abs/2406.11794, section 4.4): a linear fastText model
over words and pairs of words, trained to separate a positive from a negative collection (Joulin et al. 2016,
https://arxiv.org/abs/1607.01759). Training is fastText's own code as the package floret carries it, see
docs/decisions/0008-floret-trains-fasttext-models.md.

Texts are split by a hash of their content: equal texts are on the same side of the split, whatever the seed of training.
Duplicate texts count once, and texts in both collections are left out. The figures on the held-out part are
taken with the file that was written, by the kernel that the stage `classifier` runs.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT, TEXT_TYPE, text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import file_digest
from gristmill.pipeline.storage import write_checked
from gristmill.stages.evaluation.metrics import auc, f1, rounded
from gristmill.stages.evaluation.text_files import read_columns
from gristmill.stages.fasttext.floret_file import write_as_fasttext
from gristmill.stages.fasttext.model_file import LABEL_PREFIX, read_model
from gristmill.stages.fasttext.predict import FastTextClassifier

POSITIVE, NEGATIVE = "hq", "lq"
"""Labels of the model: high and low quality."""
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FRACTIONS = (0.05, 0.1, 0.2, 0.5)
MIN_TEXTS = 10
"""Texts of each kind that training and the held-out part need."""
_SPACE = re.compile(r"[ \t\n\v\f\r\0]+")
"""What stands between fastText's tokens, then and at inference; other white space of Unicode belongs to a token."""
_NO_WORD = re.compile(rf"(?<![^ ])(?={re.escape(LABEL_PREFIX)}|</s>(?![^ ]))")
"""Where a token begins that fastText would take for a label or for the end of the line."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of training; fastText's names in brackets.

    Attributes:
        seed: of the initial weights and of the order of the texts.
        held_out: share of the texts that is kept for the figures.
        epochs, learning_rate: passes over the texts, and the rate that falls linearly to 0 (epoch, lr).
        dimensions: of the vectors (dim).
        word_ngrams: longest run of words that is a feature (wordNgrams); 2 as in DCLM.
        buckets: rows that word n-grams share by hash (bucket); a model has 4 · dimensions · (words + buckets) bytes.
        min_count: words found less often are no features (minCount).
        threads: 1 gives equal models for equal data and settings; more are faster and do not (thread).
    """

    seed: int = 17
    held_out: float = 0.1
    epochs: int = 5
    learning_rate: float = 0.1
    dimensions: int = 64
    word_ngrams: int = 2
    buckets: int = 500_000
    min_count: int = 2
    threads: int = 1


@dataclass(frozen=True)
class _Texts:
    """Different texts of both collections, in the order of a hash of seed and content.

    Attributes:
        texts: large_string; positive, held_out: bool, one per text.
        doubled: texts that were left out because they had come before; contradictory: texts in both collections.
    """

    texts: pa.Array
    positive: np.ndarray
    held_out: np.ndarray
    doubled: int
    contradictory: int


def train(positive: Sequence[Path], negative: Sequence[Path], out: Path, settings: Settings) -> dict[str, Any]:
    """Trains a model and writes it to `out` in fastText's format, with its card beside it (`.md`).

    Args:
        positive, negative: files with a column `text`: Parquet, JSON lines, CSV or TSV, the last three also compressed. All
            their texts are held in memory.

    Returns the figures that the card shows, as JSON values.

    Raises ConfigError when floret is not installed, a file cannot be used, or there are too few texts; DataError when a file
    cannot be read.
    """
    library = floret_library("train quality")
    texts = _split(_read(positive), _read(negative), settings)
    _check_numbers(texts)
    lines = texts.texts.to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        data, made = Path(folder) / "train.txt", Path(folder) / "model.bin"
        with data.open("w", encoding="utf-8", newline="\n") as file:
            for row in np.flatnonzero(~texts.held_out).tolist():
                file.write(f"{LABEL_PREFIX}{POSITIVE if texts.positive[row] else NEGATIVE} {line_of(lines[row])}\n")
        model = library.train_supervised(
            input=str(data), mode="fasttext", loss="softmax", minn=0, maxn=0, verbose=0, seed=settings.seed,
            epoch=settings.epochs, lr=settings.learning_rate, dim=settings.dimensions, bucket=settings.buckets,
            wordNgrams=settings.word_ngrams, minCount=settings.min_count, thread=settings.threads,
        )  # fmt: skip
        model.save_model(str(made))
        written = write_checked(str(out), lambda stream: write_as_fasttext(made, stream))
    rows = np.flatnonzero(texts.held_out)
    scores = _scores(out, texts.texts.take(pa.array(rows)))
    figures: dict[str, Any] = {
        "model": {"file": out.name, "sha256": written.sha256, "bytes": written.size},
        "settings": asdict(settings),
        "library": {"floret": version("floret")},
        "data": {POSITIVE: described_files(positive), NEGATIVE: described_files(negative)},
        "texts": {
            "train": _numbers(texts.positive[~texts.held_out]),
            "held_out": _numbers(texts.positive[texts.held_out]),
            "left_out_doubled": texts.doubled,
            "left_out_in_both": texts.contradictory,
        },
        "held_out": held_out_figures(scores, texts.positive[rows]),
    }
    card = model_card(figures).encode()
    write_checked(str(out.with_suffix(".md")), lambda stream: stream.write(card))
    return figures


def floret_library(command: str) -> Any:
    """The package that trains. Raises ConfigError, beginning with the name of the command, when it is not installed."""
    try:
        return importlib.import_module("floret")
    except ImportError as error:
        raise ConfigError(
            f"{command}: the package floret, which trains fastText models, is not installed. Install the extra: "
            "pip install 'gristmill[train]' (Python 3.12 or older; floret has no wheels for newer ones)."
        ) from error


def line_of(text: str) -> str:
    """A text as one line of fastText's training format: white space becomes single spaces, and tokens that fastText would
    take for labels or for the end of the line get a mark in front.

    >>> line_of("good\\n __label__lq  text")
    'good \\\\__label__lq text'
    """
    return _NO_WORD.sub(r"\\", _SPACE.sub(" ", text))


def _read(files: Sequence[Path]) -> list[str]:
    found: list[str] = []
    for path in files:
        table = read_columns(path, [TEXT])
        kind = table[TEXT].type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ConfigError(f"{path}: column {TEXT}: expected text, found {kind}.")
        found += [text for text in table[TEXT].to_pylist() if text is not None and not text.isspace() and text]
    return found


def _split(positive: Sequence[str], negative: Sequence[str], settings: Settings) -> _Texts:
    pairs = [(text, POSITIVE) for text in positive] + [(text, NEGATIVE) for text in negative]
    split = split_by_content(pairs, settings)
    kinds = np.array([label == POSITIVE for label in split.labels], bool)
    return _Texts(split.texts, kinds, split.held_out, split.doubled, split.contradictory)


@dataclass(frozen=True)
class SplitTexts:
    """Different texts in the order of a hash of seed and content.

    Attributes:
        texts: large_string; labels: one per text; held_out: bool, one per text.
        doubled: texts that were left out because they had come before; contradictory: texts with several labels.
    """

    texts: pa.Array
    labels: list[str]
    held_out: np.ndarray
    doubled: int
    contradictory: int


def split_by_content(pairs: Iterable[tuple[str, str]], settings: Settings) -> SplitTexts:
    """Splits (text, label) pairs by a hash of each text, whatever their order."""
    keys: dict[bytes, tuple[str, str]] = {}
    both: set[bytes] = set()
    doubled = 0
    for text, label in pairs:
        key = hashlib.sha256(text.encode()).digest()
        if key not in keys:
            keys[key] = (text, label)
        elif keys[key][1] == label:
            doubled += 1
        else:
            both.add(key)
    # fastText reads the file as it is, one text after the other: labels must be mixed.
    seed = settings.seed.to_bytes(8, "big")
    order = sorted(keys.keys() - both, key=lambda key: hashlib.sha256(seed + key).digest())
    limit = int(settings.held_out * 2**64)
    return SplitTexts(
        pa.array([keys[key][0] for key in order], TEXT_TYPE),
        [keys[key][1] for key in order],
        np.array([int.from_bytes(key[:8], "big") < limit for key in order], bool),
        doubled,
        len(both),
    )


def _check_numbers(texts: _Texts) -> None:
    for part, chosen in (("training", ~texts.held_out), ("the held-out part", texts.held_out)):
        numbers = _numbers(texts.positive[chosen])
        if min(numbers.values()) < MIN_TEXTS:
            raise ConfigError(
                f"train quality: {part} needs at least {MIN_TEXTS} different texts of each kind, found "
                f"{numbers[POSITIVE]} positive and {numbers[NEGATIVE]} negative ones. Give more texts, or change the share "
                "that is held out."
            )


def _numbers(positive: np.ndarray) -> dict[str, int]:
    return {POSITIVE: int(positive.sum()), NEGATIVE: int((~positive).sum())}


def _scores(path: Path, texts: pa.Array) -> np.ndarray:
    """float32 scores of texts as the stage `classifier` would give them."""
    model = FastTextClassifier(read_model(path))
    labels, scores = model.predict(*text_buffers(texts), top=2)
    return np.asarray(np.where(labels == model.labels.index(POSITIVE), scores, np.float32(0.0)).sum(axis=1))


def described_files(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, digest and size of each."""
    return [{"file": path.name, "sha256": file_digest(path), "bytes": path.stat().st_size} for path in files]


def held_out_figures(scores: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Figures of scores on texts of known kind: AUC, and for thresholds and best fractions what is kept. `random` is the
    precision of any selection by chance: the share of positives.

    Args:
        scores: float32; positive: bool, of shape (texts,).
    """
    at = [{"threshold": least, **_kept(scores >= np.float32(least), positive)} for least in THRESHOLDS]
    order = np.argsort(-scores, kind="stable")
    best = []
    for fraction in FRACTIONS:
        chosen = np.zeros(len(scores), bool)
        chosen[order[: round(fraction * len(scores))]] = True
        least = rounded(float(scores[chosen].min(initial=1.0)), 6)
        best.append({"fraction": fraction, "threshold": least, **_kept(chosen, positive)})
    return {
        "auc": rounded(auc(scores, positive)),
        "random": rounded(float(positive.mean())),
        "thresholds": at,
        "best_fractions": best,
    }


def _kept(chosen: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    both = int((chosen & positive).sum())
    return {
        "kept": rounded(float(chosen.mean())),
        "precision": rounded(both / int(chosen.sum()) if chosen.any() else float("nan")),
        "recall": rounded(both / int(positive.sum()) if positive.any() else float("nan")),
        "f1": rounded(f1(chosen, positive)),
    }


def model_card(figures: Mapping[str, Any]) -> str:
    """The model's card in Markdown: use, figures on held-out texts, data and settings."""
    model, texts, held_out = figures["model"], figures["texts"], figures["held_out"]
    lines = [
        f"# {model['file']}",
        "",
        f"A fastText classifier that separates `{POSITIVE}` from `{NEGATIVE}` texts, trained by `gristmill train quality`;",
        f"SHA-256 `{model['sha256']}`, {model['bytes']:,} bytes.",
        "",
        "```yaml",
        "stages:",
        f"  classifier: {{model: {model['file']}, label: {POSITIVE}, keep_fraction: 0.1}}",
        "```",
        "",
        "## Figures on held-out texts",
        "",
        f"{texts['held_out'][POSITIVE]:,} positive and {texts['held_out'][NEGATIVE]:,} negative texts, split off by a hash of "
        f"their content. AUC {held_out['auc']}. They say how well the two collections are separated, not how good the texts "
        "are: topic, length and source tell them apart, too.",
        "",
        "| kept | threshold | share | precision | recall | F1 |",
        "|---|---:|---:|---:|---:|---:|",
        f"| a random selection | | | {_text(held_out['random'])} | | |",
    ]
    for row in held_out["best_fractions"]:
        lines.append(_row(f"best {row['fraction']:.0%}", row))
    for row in held_out["thresholds"]:
        lines.append(_row(f"from {row['threshold']}", row))
    lines += ["", "## Data", "", "| kind | file | bytes | SHA-256 |", "|---|---|---:|---|"]
    for kind, files in figures["data"].items():
        lines += [f"| {kind} | {file['file']} | {file['bytes']:,} | `{file['sha256']}` |" for file in files]
    lines += [
        "",
        f"Trained on {texts['train'][POSITIVE]:,} positive and {texts['train'][NEGATIVE]:,} negative texts. Left out: "
        f"{texts['left_out_doubled']:,} that were duplicates, {texts['left_out_in_both']:,} that were in both collections.",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in {**figures["settings"], **figures["library"]}.items()),
        "",
        "Equal data, settings and library give an equal file with one thread.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, row: Mapping[str, Any]) -> str:
    return f"| {name} | " + " | ".join(_text(row[k]) for k in ("threshold", "kept", "precision", "recall", "f1")) + " |"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
