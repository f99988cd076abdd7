"""Language identification: speed and agreement with the libraries, and figures on labelled text.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.language [--rounds N] [--corpus SHARDS]

DIR holds `documents.parquet` (column `text`) for speed and agreement, and `language-id.parquet` (columns `text`,
`language`, `script`) for figures by language. Speeds are MB (10^6 bytes of UTF-8) per second of processor time of one
thread, the best of N rounds in which ours and the library take turns; the library runs on every 8th document. The stage's
own speed has scripts, resolution and the columns in it, and is a median, given as a share of SHA-256's over the same bytes
too. For `read: enough` it counts the decisions that differ from those about whole texts, documents in two languages apart.
Exits with 1 when a label differs from the library's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from py3langid.langid import LanguageIdentifier

from gristmill.pipeline.document import TEXT_TYPE, one_chunk, text_buffers
from gristmill.pipeline.stage import StageContext
from gristmill.stages.fasttext import model_file as fasttext_format
from gristmill.stages.fasttext.predict import FastTextClassifier
from gristmill.stages.labels.labels import UNDETERMINED, canonical_label, supported_labels
from gristmill.stages.language import langid_format
from gristmill.stages.language.evaluation import evaluate, expected_calibration_error
from gristmill.stages.language.identify import default_model
from gristmill.stages.language.kernels.langid import LangidClassifier
from gristmill.stages.language.stage import Language, LanguageConfig
from tests.benchmarks.figures import figure

EVERY = 8
"""The libraries run on every n-th document, for they are slow."""


def texts_of(path: Path) -> pa.Array:
    return one_chunk(pq.read_table(path, columns=["text"])["text"].cast(TEXT_TYPE))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare_fasttext(texts: pa.Array, rounds: int) -> int:
    ours = FastTextClassifier(fasttext_format.read_model(default_model("fasttext")))
    library = fasttext.load_model(str(default_model("fasttext")))
    # As the library's callers pass a document: one line. Its own `predict` fails with NumPy 2, `f.predict` does not.
    lines = [text.replace("\n", " ") + "\n" for text in texts.to_pylist()]
    return compare(
        "fasttext lid.176",
        texts,
        ours,
        [(label.removeprefix("__label__"), score) for ((score, label),) in predictions(library, lines)],
        lambda: predictions(library, lines[::EVERY]),
        rounds,
    )


def predictions(library: fasttext.FastText._FastText, lines: list[str]) -> list[list[tuple[float, str]]]:
    return [library.f.predict(line, 1, 0.0, "strict") for line in lines]


def compare_langid(texts: pa.Array, rounds: int) -> int:
    ours = LangidClassifier(langid_format.read_model(default_model("langid")))
    library = LanguageIdentifier.from_modelpath(default_model("langid"), norm_probs=True)
    plain = texts.to_pylist()
    return compare(
        "py3langid",
        texts,
        ours,
        [library.classify(text) for text in plain],
        lambda: [library.classify(text) for text in plain[::EVERY]],
        rounds,
    )


def compare(
    name: str,
    texts: pa.Array,
    ours: FastTextClassifier | LangidClassifier,
    expected: list[tuple[str, float]],
    run_library: Callable[[], object],
    rounds: int,
) -> int:
    """Prints speed, ratio and agreement; returns how many labels differ."""
    data, offsets = text_buffers(texts)
    size = (offsets[-1] - offsets[0]) / 1e6
    sample = sum(int(offsets[row + 1] - offsets[row]) for row in range(0, len(texts), EVERY)) / 1e6
    labels, scores = ours.predict(data, offsets)
    named = [ours.labels[label] if label >= 0 else None for label in labels[:, 0]]
    differ = sum(
        found != label
        for found, (label, _) in zip(named, expected, strict=True)
        if found is not None or label == UNDETERMINED
    )
    gap = max(
        abs(float(score) - other)
        for found, score, (_, other) in zip(named, scores[:, 0], expected, strict=True)
        if found is not None
    )
    times = [(seconds(lambda: ours.predict(data, offsets)), seconds(run_library)) for _ in range(rounds)]
    mine, theirs = size / min(t for t, _ in times), sample / min(t for _, t in times)
    print(
        f"{name}: {mine:.1f} MB/s, library {theirs:.1f} MB/s, ratio {mine / theirs:.1f}; labels equal "
        f"{1 - differ / len(named):.4%} of {len(named)}, largest difference of scores {gap:.1e}"
    )
    figure(f"model {name}", mine, "MB/s", data="documents.parquet", against="its library", other=theirs)
    return differ


def stage_speed(name: str, texts: pa.Array, rounds: int) -> None:
    """Prints the stage's speed, as MB/s and as a share of what SHA-256 does with the same bytes; all take turns, and each
    figure is a median."""
    batch = pa.table({"text": texts})
    data, offsets = text_buffers(texts)
    body = data[offsets[0] : offsets[-1]]
    size = len(body) / 1e6
    stages = {
        f"backend {backend}, read {read}": Language(LanguageConfig(backend=backend, read=read))
        for backend, read in (("langid", "all"), ("langid", "enough"), ("fasttext", "all"))
    }
    work: dict[str, Callable[[], object]] = {"SHA-256": lambda: hashlib.sha256(body)}
    work |= {label: lambda stage=stage: stage.measure(batch, StageContext()) for label, stage in stages.items()}  # type: ignore[misc]
    for stage in stages.values():
        stage.measure(batch.slice(0, 2), StageContext())
    times: dict[str, list[float]] = {label: [] for label in work}
    for _ in range(rounds):
        for label, run in work.items():
            times[label].append(seconds(run))
    yardstick = statistics.median(times.pop("SHA-256"))
    print(f"{name}: {len(texts)} texts, {size:.1f} MB, SHA-256 {size / yardstick:.0f} MB/s")
    for label, taken in times.items():
        median = statistics.median(taken)
        print(f"  stage language, {label}: {size / median:.1f} MB/s, {yardstick / median:.4f} of SHA-256")
        figure(f"the stage, {label}", size / median, "MB/s", data=name)


def agreement(name: str, texts: pa.Array) -> None:
    """Prints how often `read: enough` decides as `read: all` does."""
    batch = pa.table({"text": texts})
    whole, part = (
        pa.table(dict(Language(LanguageConfig(read=read)).measure(batch, StageContext()))) for read in ("all", "enough")
    )
    differ = np.zeros(len(texts), bool)
    for column in ("language", "language_script"):
        differ |= np.array(whole[column].to_pylist()) != np.array(part[column].to_pylist())
    one, other = whole["language_score"].to_numpy(), part["language_score"].to_numpy()
    at = [
        f"{least} {int(np.sum((one >= least) != (other >= least)))}" for least in (0.3, 0.5, 0.8, 0.9, 0.95, 0.97, 0.99)
    ]
    sizes = np.diff(text_buffers(texts)[1])
    read = part["language_bytes_read"].to_numpy()
    print(
        f"read: enough, {name}: {len(texts)} texts, {np.mean(read < sizes):.1%} sampled, {read.sum() / sizes.sum():.1%} of "
        f"the bytes read; labels that differ {int(differ.sum())}; on the other side of min_score {', '.join(at)}"
    )


def in_two_languages(texts: list[str], labels: list[str], share: float, count: int) -> pa.Array:
    """Made documents of 4,000 to 12,000 characters, of which a share is in one language and the rest in another: one after
    the other, or line by line."""
    draw = np.random.default_rng(round(share * 100))
    known: dict[str, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        known.setdefault(label, []).append(text)
    names = sorted(label for label, listed in known.items() if len(listed) >= 6 and label in supported_labels("langid"))

    def piece(label: str, size: int) -> list[str]:
        lines: list[str] = []
        while sum(map(len, lines)) < size:
            lines.append(known[label][draw.integers(len(known[label]))])
        return lines if not size else [*lines[:-1], lines[-1][: size - sum(map(len, lines[:-1]))]]

    made = []
    for _ in range(count):
        first, second = draw.choice(names, 2, replace=False)
        size = int(draw.integers(4000, 12_000))
        lines = piece(first, int(size * share)) + piece(second, size - int(size * share))
        if draw.random() < 0.5:
            draw.shuffle(lines)
        made.append("\n".join(lines))
    return pa.array(made, TEXT_TYPE)


def figures(path: Path) -> None:
    table = pq.read_table(path)
    rows = zip(table["language"].to_pylist(), table["script"].to_pylist(), strict=True)
    given = [canonical_label(language, script) for language, script in rows]
    batch = pa.table({"text": table["text"].cast(TEXT_TYPE)}).combine_chunks()
    for backend, calibrated in (("langid", True), ("langid", False), ("fasttext", False)):
        stage = Language(LanguageConfig(backend=backend, calibrated=calibrated))
        name = f"{backend}, calibrated," if calibrated else backend
        signals = pa.table(dict(stage.measure(batch, StageContext())))
        answers = [
            f"{language}_{script}" if language != UNDETERMINED else UNDETERMINED
            for language, script in zip(
                signals["language"].to_pylist(), signals["language_script"].to_pylist(), strict=True
            )
        ]
        scores = signals["language_score"].to_pylist()
        supported = supported_labels(backend)
        report = evaluate(given, answers, supported)
        inside = [i for i, label in enumerate(given) if label in supported]
        error = expected_calibration_error([scores[i] for i in inside], [given[i] == answers[i] for i in inside])
        print(
            f"{name} on {path.name}: macro-F1 {report['macro_f1_supported']:.4f} and accuracy "
            f"{report['accuracy_supported']:.4f} over {report['languages_supported']} supported languages "
            f"({report['documents_supported']} texts), expected calibration error {error:.4f}"
        )
        for least in (0.0, 0.5, 0.8, 0.9, 0.93, 0.95, 0.99, 0.995):
            cut = [label if score >= least else UNDETERMINED for label, score in zip(answers, scores, strict=True)]
            at = evaluate(given, cut, supported)
            print(
                f"  min_score {least}: supported kept and right {at['accuracy_supported']:.4f}, unsupported accepted "
                f"{at['unsupported_accepted']:.4f}"
            )
        print("  most confused among the supported:", end=" ")
        confusions = report["confusions"][:12]
        print(", ".join(f"{answer} for {truth} {count}" for truth, answer, count in confusions) or "none")


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmark language identification.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", type=Path, help="a folder of Parquet shards, measured as well")
    arguments = parser.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        print("Set GRISTMILL_DATA to the folder that holds documents.parquet and language-id.parquet.", file=sys.stderr)
        return 2
    documents = texts_of(Path(folder) / "documents.parquet")
    corpora = {"documents.parquet": documents}
    if arguments.corpus is not None:
        shards = [texts_of(path) for path in sorted(arguments.corpus.glob("**/*.parquet"))]
        corpora[arguments.corpus.name] = one_chunk(pa.chunked_array(shards))
    for name, texts in corpora.items():
        stage_speed(name, texts, max(arguments.rounds, 5))
    labelled = pq.read_table(Path(folder) / "language-id.parquet")
    chunks = one_chunk(labelled["text"].cast(TEXT_TYPE))
    for name, texts in {**corpora, "language-id.parquet": chunks}.items():
        agreement(name, texts)
    pairs = zip(labelled["language"].to_pylist(), labelled["script"].to_pylist(), strict=True)
    labels = [canonical_label(language, script) for language, script in pairs]
    for share in (0.55, 0.7, 0.8, 0.9, 0.95, 1.0):
        agreement(f"{share:.0%} in one language", in_two_languages(chunks.to_pylist(), labels, share, 1000))
    differ = compare_fasttext(documents, arguments.rounds) + compare_langid(documents, arguments.rounds)
    figures(Path(folder) / "language-id.parquet")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
