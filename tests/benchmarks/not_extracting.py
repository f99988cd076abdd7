"""What a language guess before extraction saves, and what it loses.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.not_extracting [--pages 6000] [--time]

DIR holds `documents.parquet` (a column `text`). Pages are made of its documents: menus, a cookie notice, a side column and a
footer in English or German around the text, and a `lang` that is right, wrong or missing. The slow way extracts every page and
keeps what the language stage calls `eng_Latn`; the fast way asks `language_guess` first. A document is lost when the slow way
keeps it and the guess dropped its page. With `--time` both ways are timed; figures of a busy machine mean nothing.
"""

from __future__ import annotations

import argparse
import html
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.stage import Stage, StageContext
from gristmill.stages.extraction.stage import Extract, ExtractConfig
from gristmill.stages.labels.labels import row_labels
from gristmill.stages.language.guess import LanguageGuess, LanguageGuessConfig
from gristmill.stages.language.stage import Language, LanguageConfig

KEEP = "eng_Latn"
BATCH = 250
MOST_CHARACTERS = 12_000
"""Of a document: longer ones are cut, so that pages are of the size that crawls have."""
FRAMES = {
    "en": (
        "Home News Sports Weather Culture Travel About Contact Subscribe Search Login",
        "We use cookies to improve your experience on this site. By clicking accept you agree to their use.",
        "Most read: five things to know before you travel this summer, and where to find help when plans change.",
        "All rights reserved. Terms of use, privacy policy, imprint.",
    ),
    "de": (
        "Startseite Nachrichten Sport Wetter Kultur Reisen Kontakt Abonnieren Suche Anmelden",
        "Wir verwenden Cookies, um Ihnen die Nutzung dieser Seite zu erleichtern. Mit dem Klick stimmen Sie zu.",
        "Meistgelesen: f\u00fcnf Dinge, die Sie vor der Reise im Sommer wissen sollten, und wo es Hilfe gibt.",
        "Alle Rechte vorbehalten. Nutzungsbedingungen, Datenschutz, Impressum.",
    ),
}


def page(text: str, frame: str, lang: str | None, draw: random.Random) -> bytes:
    """A page around a text."""
    menu, cookies, side, footer = (html.escape(part) for part in FRAMES[frame])
    links = "".join(f"<li><a href='/{word.lower()}'>{word}</a></li>" for word in menu.split())
    body = "".join(f"<p>{html.escape(part)}</p>\n" for part in text.split("\n") if part.strip())
    declared = "" if lang is None else draw.choice([f" lang='{lang}'", f' class="no-js" lang="{lang}-XX"'])
    return (
        f"<!DOCTYPE html><html{declared}><head><meta charset='utf-8'><title>{html.escape(text[:40])}</title>"
        f"<style>.a > p {{ color: red }}</style><script>if (1 < 2) {{ document.write('<p>{menu}</p>'); }}</script></head>"
        f"<body><header><ul>{links}</ul></header><div class='notice'><p>{cookies}</p></div><main><article>"
        f"<h1>{html.escape(text[:60])}</h1>{body}</article></main><aside><p>{side}</p></aside>"
        f"<footer><p>{footer}</p></footer></body></html>"
    ).encode()


def pages(texts: list[str], labels: list[str], count: int) -> tuple[list[bytes], list[str]]:
    """Pages and how each declares its language: right, wrong or missing."""
    draw = random.Random(29)
    made, kinds = [], []
    for number in range(count):
        text, label = texts[number % len(texts)], labels[number % len(texts)]
        own = "en" if label == KEEP else label.partition("_")[0]
        kind = draw.choice(["right", "wrong", "missing"])
        lang = {"right": own, "wrong": "de" if own == "en" else "en", "missing": None}[kind]
        frame = draw.choice(["en", "de"])
        made.append(page(text, frame, lang, draw))
        kinds.append(f"{kind} lang, {frame} frame")
    return made, kinds


def measured(stage: Stage, column: str, values: pa.Array) -> pa.Table:
    """A stage's signals, in batches; what it measured of the first row is thrown away, with its compiling."""
    stage.check_files()
    stage.measure(pa.table({column: values[:1]}), StageContext())
    parts = [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
    return pa.concat_tables([pa.table(dict(stage.measure(pa.table({column: part}), StageContext()))) for part in parts])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pages", type=int, default=6000)
    options.add_argument("--time", action="store_true")
    chosen = options.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        sys.exit("GRISTMILL_DATA names no folder: set it to the one that holds documents.parquet")
    texts = [text[:MOST_CHARACTERS] for text in pq.read_table(Path(folder) / "documents.parquet")["text"].to_pylist()]
    language, guess, extract = (
        Language(LanguageConfig()),
        LanguageGuess(LanguageGuessConfig(keep=(KEEP,))),
        Extract(ExtractConfig()),
    )
    labels = row_labels(measured(language, "text", pa.array(texts, pa.large_string()))) or []
    made, kinds = pages(texts, labels, chosen.pages)
    column = pa.array(made, pa.large_binary())
    print(
        f"{len(made)} pages, {sum(map(len, made)) / 1e6:.1f} MB; {labels.count(KEEP)} of {len(texts)} texts in {KEEP}"
    )

    started = time.perf_counter()
    signals = measured(guess, "html", column)
    dropped = np.asarray(guess.decide(signals, None, StageContext()).port) < 0
    guessed = time.perf_counter() - started
    extracted = measured(extract, "html", column)["text"].combine_chunks()
    answers = row_labels(measured(language, "text", extracted.fill_null(""))) or []
    slow = time.perf_counter() - started - guessed
    kept = np.array([answer == KEEP for answer in answers]) & np.asarray(extracted.is_valid())
    lost = np.flatnonzero(kept & dropped)
    print(
        f"the slow way keeps {kept.sum()}; the guess drops {dropped.sum()} of {(~kept).sum()} other pages and loses "
        f"{len(lost)}, {len(lost) / max(kept.sum(), 1):.2%} (wanted: at most 1 %)"
    )
    for kind, number in sorted(Counter(kinds).items()):
        rows = np.array([one == kind for one in kinds])
        other = rows & ~kept
        print(
            f"  {kind}: {number} pages, {(dropped & other).sum() / max(other.sum(), 1):.1%} of those not wanted "
            f"dropped, {(kept & dropped & rows).sum()} of {(kept & rows).sum()} lost"
        )
    for row in lost[:20].tolist():
        print(f"  lost: {signals.slice(row, 1).to_pylist()[0]} {extracted[row].as_py()[:80]!r}")
    if chosen.time:
        started = time.perf_counter()
        rest = measured(extract, "html", column.filter(pa.array(~dropped)))["text"].combine_chunks()
        measured(language, "text", rest.fill_null(""))
        fast = guessed + time.perf_counter() - started
        print(
            f"extracting everything {len(made) / slow:.0f} pages/s, after the guess {len(made) / fast:.0f}: "
            f"{slow / fast:.2f} times (wanted: 3); the guess alone {len(made) / guessed:.0f} pages/s"
        )


if __name__ == "__main__":
    main()
