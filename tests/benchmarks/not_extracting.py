"""What a language guess before extraction saves, and what it loses.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.not_extracting [--passes 2] [--keep eng_Latn deu_Latn] [--time]

DIR holds `documents.parquet` (a column `text`). Pages are made of its documents, each as often as there are passes, so that
languages have the corpus's own shares: menus, a cookie notice, a side column and a footer in English or German around the
text, and a `lang` that is right, wrong or missing. For each label pair to be kept: the slow way extracts every page and keeps
what the language stage calls so; the fast way asks `language_guess` first. A document is lost when the slow way keeps it and
the guess dropped its page.

With `--time` both ways are timed. No method saves more than the pages that are not wanted: a guess that is free and always
right would still leave the wanted ones to be extracted. That limit is measured too, by the time that these alone take, and
stands beside the ratio with the share of it that is reached. Figures of a busy machine mean nothing.
"""

from __future__ import annotations

import argparse
import html
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.stage import Stage, StageContext
from gristmill.stages.extraction.stage import Extract, ExtractConfig
from gristmill.stages.labels.labels import row_labels
from gristmill.stages.language.guess import LanguageGuess, LanguageGuessConfig
from gristmill.stages.language.stage import Language, LanguageConfig

TAGS = {"eng": "en", "deu": "de"}
"""What pages declare for these languages; for others the code of the label."""
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


def pages(texts: list[str], labels: list[str], passes: int) -> tuple[list[bytes], list[str]]:
    """Pages and how each declares its language: right, wrong or missing."""
    draw = random.Random(29)
    made, kinds = [], []
    for text, label in passes * list(zip(texts, labels, strict=True)):
        code = label.partition("_")[0]
        own = TAGS.get(code, code)
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


@dataclass(frozen=True)
class SlowWay:
    """What extracting every page gives: its seconds, the texts, and what the language stage calls them."""

    seconds: float
    texts: pa.Array
    labels: np.ndarray


def extracted(column: pa.Array) -> SlowWay:
    started = time.perf_counter()
    texts = measured(Extract(ExtractConfig()), "html", column)["text"].combine_chunks()
    labels = row_labels(measured(Language(LanguageConfig()), "text", texts.fill_null(""))) or []
    return SlowWay(time.perf_counter() - started, texts, np.array(labels))


def report(keep: str, kinds: list[str], slow: SlowWay, signals: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Prints what the guess drops and loses for a label; which pages are wanted, and which it drops."""
    guess = LanguageGuess(LanguageGuessConfig(keep=(keep,)))
    dropped = np.asarray(guess.decide(signals, None, StageContext()).port) < 0
    kept = (slow.labels == keep) & np.asarray(slow.texts.is_valid())
    lost = np.flatnonzero(kept & dropped)
    print(
        f"{keep}: the slow way keeps {kept.sum()} of {len(kept)} pages ({kept.mean():.1%}); the guess drops {dropped.sum()} of "
        f"{(~kept).sum()} others and loses {len(lost)}, {len(lost) / max(kept.sum(), 1):.2%} (wanted: at most 1 %)"
    )
    print(
        f"  by their number at most {len(kept) / max(kept.sum(), 1):.2f} times fewer pages can be extracted; "
        f"{len(kept) / (~dropped).sum():.2f} times fewer are"
    )
    for kind, number in sorted(Counter(kinds).items()):
        rows = np.array([one == kind for one in kinds])
        other = rows & ~kept
        print(
            f"  {kind}: {number} pages, {(dropped & other).sum() / max(other.sum(), 1):.1%} of those not wanted "
            f"dropped, {(kept & dropped & rows).sum()} of {(kept & rows).sum()} lost"
        )
    for row in lost[:20].tolist():
        print(f"  lost: {signals.slice(row, 1).to_pylist()[0]} {slow.texts[row].as_py()[:80]!r}")
    return kept, dropped


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--passes", type=int, default=2, help="how often each document is taken")
    options.add_argument("--keep", nargs="+", default=["eng_Latn", "deu_Latn"], metavar="LABEL")
    options.add_argument("--time", action="store_true")
    chosen = options.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        sys.exit("GRISTMILL_DATA names no folder: set it to the one that holds documents.parquet")
    texts = [text[:MOST_CHARACTERS] for text in pq.read_table(Path(folder) / "documents.parquet")["text"].to_pylist()]
    labels = row_labels(measured(Language(LanguageConfig()), "text", pa.array(texts, pa.large_string()))) or []
    made, kinds = pages(texts, labels, chosen.passes)
    column = pa.array(made, pa.large_binary())
    print(f"{len(made)} pages, {sum(map(len, made)) / 1e6:.1f} MB: {len(texts)} documents, each {chosen.passes} times")

    started = time.perf_counter()
    signals = measured(LanguageGuess(LanguageGuessConfig(keep=tuple(chosen.keep))), "html", column)
    guessed = time.perf_counter() - started
    slow = extracted(column)
    if chosen.time:
        rate = len(made) / slow.seconds
        print(f"extracting everything {rate:.0f} pages/s, the guess alone {len(made) / guessed:.0f}")
    for keep in chosen.keep:
        kept, dropped = report(keep, kinds, slow, signals)
        if chosen.time:
            fast = guessed + extracted(column.filter(pa.array(~dropped))).seconds
            least = extracted(column.filter(pa.array(kept))).seconds
            print(
                f"  after the guess {len(made) / fast:.0f} pages/s: {slow.seconds / fast:.2f} times (wanted: 3); with the "
                f"wanted pages alone {slow.seconds / least:.2f} times, of which {least / fast:.0%} is reached"
            )


if __name__ == "__main__":
    main()
