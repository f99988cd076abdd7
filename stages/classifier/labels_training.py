"""Training of classifiers with several labels, such as topics or formats, from texts that carry one label each.

As `stages.classifier.training`, of which this is the general case: fastText's own code as floret carries it, a split by a
hash of each text, figures on the held-out part with the file that was written.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT, TEXT_TYPE
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.storage import write_checked
from gristmill.stages.classifier.label_evaluation import evaluated, figures_text
from gristmill.stages.classifier.labels import ANY, MAX_LABELS
from gristmill.stages.classifier.training import (
    MIN_TEXTS,
    Settings,
    described_files,
    floret_library,
    line_of,
    split_by_content,
)
from gristmill.stages.evaluation.text_files import read_columns
from gristmill.stages.fasttext.floret_file import write_as_fasttext
from gristmill.stages.fasttext.model_file import LABEL_PREFIX, read_model
from gristmill.stages.fasttext.predict import FastTextClassifier


def train_labels(files: Sequence[Path], out: Path, settings: Settings, column: str = "label") -> dict[str, Any]:
    """Trains a model and writes it to `out` in fastText's format, with its card beside it (`.md`).

    Args:
        files: with the columns `text` and `column`: Parquet, JSON lines, CSV or TSV, the last three also compressed. All
            their texts are held in memory.
        column: holds each text's label. White space in labels becomes `_`: a label is one token of fastText's format.

    Returns the figures that the card shows, as JSON values.

    Raises ConfigError when floret is not installed, a file cannot be used, or labels are too few, too many or cannot be told
    apart; DataError when a file cannot be read.
    """
    library = floret_library("train classifier")
    pairs, unlabelled = [], 0
    for path in files:
        found, without = read_labels(path, column)
        pairs += found
        unlabelled += without
    names = label_names({label for _, label in pairs})
    split = split_by_content([(text, names[label]) for text, label in pairs], settings)
    held_out = split.held_out
    train = Counter(label for label, held in zip(split.labels, held_out.tolist(), strict=True) if not held)
    _check_numbers(train, set(names.values()))
    lines = split.texts.to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        data, made = Path(folder) / "train.txt", Path(folder) / "model.bin"
        with data.open("w", encoding="utf-8", newline="\n") as file:
            for row in np.flatnonzero(~held_out).tolist():
                file.write(f"{LABEL_PREFIX}{split.labels[row]} {line_of(lines[row])}\n")
        model = library.train_supervised(
            input=str(data), mode="fasttext", loss="softmax", minn=0, maxn=0, verbose=0, seed=settings.seed,
            epoch=settings.epochs, lr=settings.learning_rate, dim=settings.dimensions, bucket=settings.buckets,
            wordNgrams=settings.word_ngrams, minCount=settings.min_count, thread=settings.threads,
        )  # fmt: skip
        model.save_model(str(made))
        written = write_checked(str(out), lambda stream: write_as_fasttext(made, stream))
    rows = np.flatnonzero(held_out)
    classifier = FastTextClassifier(read_model(out))
    figures: dict[str, Any] = {
        "model": {"file": out.name, "sha256": written.sha256, "bytes": written.size},
        "settings": asdict(settings),
        "library": {"floret": version("floret")},
        "data": described_files(files),
        "texts": {
            "train": dict(sorted(train.items())),
            "held_out": len(rows),
            "left_out_doubled": split.doubled,
            "left_out_in_both": split.contradictory,
            "left_out_without_label_or_text": unlabelled,
        },
        "held_out": evaluated(classifier, split.texts.take(pa.array(rows)), [split.labels[row] for row in rows]),
    }
    card = labels_card(figures).encode()
    write_checked(str(out.with_suffix(".md")), lambda stream: stream.write(card))
    return figures


def read_labels(path: Path, column: str) -> tuple[list[tuple[str, str]], int]:
    """(text, label) of each row that has both, and how many have not.

    Raises ConfigError when the file or a column is missing or of another type, or no row has a label; DataError when it
    cannot be read.
    """
    table = read_columns(path, [TEXT, column])
    for name in (TEXT, column):
        kind = table[name].type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not text and not pa.types.is_null(kind) and not (name == column and pa.types.is_integer(kind)):
            raise ConfigError(f"{path}: column {name}: expected text, found {kind}.")
    texts = table[TEXT].cast(TEXT_TYPE).to_pylist()
    labels = table[column].cast(pa.string()).to_pylist()
    pairs = [
        (text, label)
        for text, label in zip(texts, labels, strict=True)
        if text and not text.isspace() and label is not None and label.strip()
    ]
    if not pairs:
        raise ConfigError(
            f"{path}: none of its {table.num_rows} rows has both a text and a label. Name the column with labels "
            f"(--label-column; now `{column}`)."
        )
    return pairs, len(texts) - len(pairs)


def label_names(labels: set[str]) -> dict[str, str]:
    """The name in a model of each label of the data: one token, without fastText's prefix.

    Raises ConfigError for labels that would become one, that are no names, or that are too few or too many.
    """
    names = {label: "_".join(label.split()).removeprefix(LABEL_PREFIX) for label in sorted(labels)}
    seen: dict[str, str] = {}
    for label, name in names.items():
        if not name or not name.isprintable() or name == ANY:
            raise ConfigError(f"the label {label!r} cannot be the name of one. Rename it in the data.")
        if name in seen:
            raise ConfigError(
                f"the labels {seen[name]!r} and {label!r} would both be {name!r}. Rename one in the data."
            )
        seen[name] = label
    if not 2 <= len(names) <= MAX_LABELS:
        listed = ", ".join(list(names)[:5])
        raise ConfigError(f"expected 2 to {MAX_LABELS} different labels, found {len(names)}: {listed}.")
    return names


def _check_numbers(train: Mapping[str, int], labels: set[str]) -> None:
    few = {label: train.get(label, 0) for label in sorted(labels) if train.get(label, 0) < MIN_TEXTS}
    if few:
        listed = ", ".join(f"{label} {number}" for label, number in list(few.items())[:10])
        more = f" and {len(few) - 10} more" if len(few) > 10 else ""
        raise ConfigError(
            f"train classifier: training needs at least {MIN_TEXTS} different texts of each label; {listed}{more}. Give more "
            "texts, leave these labels out, or take them together."
        )


def labels_card(figures: Mapping[str, Any]) -> str:
    """The model's card in Markdown: use, figures on held-out texts, data and settings."""
    model, texts = figures["model"], figures["texts"]
    lines = [
        f"# {model['file']}",
        "",
        f"A fastText classifier with {len(texts['train'])} labels, trained by `gristmill train classifier`; SHA-256 "
        f"`{model['sha256']}`, {model['bytes']:,} bytes.",
        "",
        "```yaml",
        "stages:",
        f"  classifier: {{model: {model['file']}, labels: all}}",
        "```",
        "",
        "## Figures on held-out texts",
        "",
        f"{texts['held_out']:,} texts, split off by a hash of their content.",
        "",
        "```",
        *figures_text(figures["held_out"]),
        "```",
        "",
        "## Data",
        "",
        "| file | bytes | SHA-256 |",
        "|---|---:|---|",
        *(f"| {file['file']} | {file['bytes']:,} | `{file['sha256']}` |" for file in figures["data"]),
        "",
        f"Trained on {sum(texts['train'].values()):,} texts. Left out: {texts['left_out_doubled']:,} that were duplicates, "
        f"{texts['left_out_in_both']:,} with several labels, {texts['left_out_without_label_or_text']:,} without either.",
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
