"""Language identification: speed and agreement with the libraries, and figures on labelled text.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.language [--rounds N]

DIR holds `documents.parquet` (column `text`) for speed and agreement, and `language-id.parquet` (columns `text`,
`language`, `script`) for figures by language. Speeds are MB (10^6 bytes of UTF-8) per second of processor time of one
thread, the best of N rounds in which ours and the library take turns; the library runs on every 8th document. The stage's
own speed has scripts, resolution and the columns in it. Exits with 1 when a label differs from the library's.
"""

from __future__ import annotations

import argparse
import os
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
    return differ


def stage_speed(texts: pa.Array, rounds: int) -> None:
    batch = pa.table({"text": texts})
    size = int(np.diff(text_buffers(texts)[1]).sum()) / 1e6
    for backend in ("langid", "fasttext"):
        stage = Language(LanguageConfig(backend=backend))
        stage.measure(batch.slice(0, 2), StageContext())
        best = min(seconds(lambda stage=stage: stage.measure(batch, StageContext())) for _ in range(rounds))  # type: ignore[misc]
        print(f"stage language, backend {backend}: {size / best:.1f} MB/s")


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
    arguments = parser.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        print("Set GRISTMILL_DATA to the folder that holds documents.parquet and language-id.parquet.", file=sys.stderr)
        return 2
    documents = texts_of(Path(folder) / "documents.parquet")
    differ = compare_fasttext(documents, arguments.rounds) + compare_langid(documents, arguments.rounds)
    stage_speed(documents, arguments.rounds)
    figures(Path(folder) / "language-id.parquet")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
