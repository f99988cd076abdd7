"""`gristmill adapt`: thresholds and stop words of a language from reference text, as a config in FineWeb2's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.launch.terminal.console import columns, out, say, say_json
from gristmill.launch.terminal.numbers import count, documents, number
from gristmill.pipeline.document import TEXT, TEXT_TYPE, one_chunk
from gristmill.pipeline.errors import ConfigError, DataError, nearest
from gristmill.stages.evaluation.text_files import read_columns
from gristmill.stages.labels.labels import canonical_labels
from gristmill.stages.labels.names import pairs_meant, suggestions
from gristmill.stages.quality.adaptation import (
    KEY_NAMES,
    KEYS,
    METHODS,
    MIN_DOCUMENTS,
    NEED_ENGLISH,
    STOP_WORD_SHARE,
    Cut,
    Method,
    Reference,
    choose,
    config_text,
    histogram,
    measure,
    stop_words,
)
from gristmill.stages.quality.language_configs import GRAM_RULES, read_config
from gristmill.stages.quality.rules import ENGLISH_LABEL
from gristmill.stages.quality.tokenizer.rules import piece_length

CELLS = 50
"""Width of a histogram."""
FEW_DOCUMENTS = 200
"""Below, a tenth of the documents is so few that a person should know."""


@dataclass(frozen=True)
class AdaptOptions:
    """What the command line says; names as there."""

    language: str
    reference: tuple[str, ...]
    english: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    english_where: tuple[str, ...] = ()
    column: str = TEXT
    stop_words: str | None = None
    output: str | None = None
    force: bool = False
    as_json: bool = False


def adapt(options: AdaptOptions) -> int:
    """Derives a language's config, writes it, and shows each threshold over its distribution."""
    label = _label(options.language)
    target = _target(options.output, label, options.force)
    methods = _methods(options.method, bool(options.english))
    own_words = None if options.stop_words is None else _listed(Path(options.stop_words))
    if own_words is None and piece_length(label) > 0:
        raise ConfigError(
            f"{label} is written without spaces between words, so words cannot be counted here. Give its stop words, one a "
            "line, with --stop-words FILE."
        )
    found = measure(_texts(options.reference, options.column, options.where), label, own_words or ())
    _enough(found, "--reference")
    english = None
    if options.english:
        english = measure(_texts(options.english, options.column, options.english_where), ENGLISH_LABEL)
        _enough(english, "--english")
    cuts = [choose(key, methods[key.name], found, english) for key in KEYS]
    words = stop_words(found.words) if own_words is None else own_words
    if not words:
        raise ConfigError("--reference: no word contains a letter, so there are no stop words. Give other text.")
    text = config_text(cuts, words, _heading(options, label, found, cuts))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be written: {error.strerror}. Choose another file with --output."
        ) from error
    read_config(target)
    if options.as_json:
        say_json(_figures(label, target, found, cuts, words))
    else:
        _show(label, target, found, cuts, words)
    return 0


def _label(name: str) -> str:
    pairs = pairs_meant(name)
    if len(pairs) != 1:
        hint = suggestions(name, pairs or canonical_labels())
        raise ConfigError(f"LANGUAGE: {name!r} does not name one of FineWeb2's language labels; {hint}")
    return pairs[0]


def _target(output: str | None, label: str, force: bool) -> Path:
    """Where the config goes: LABEL.yml here, in a folder, or the file that is named."""
    path = Path(output) if output is not None else Path(".")
    target = path if path.suffix in (".yml", ".yaml") else path / f"{label}.yml"
    if target.stem != label:
        raise ConfigError(f"--output: {target}: a config is found by its name. Name the file {label}.yml, or a folder.")
    if target.exists() and not force:
        raise ConfigError(
            f"{target} already exists and was not changed. --force overwrites it; --output chooses another file."
        )
    return target


def _methods(given: Sequence[str], has_english: bool) -> dict[str, Method]:
    """The method of each key, the later of two settings for it going first.

    Without a word from the user: repetition by mean and deviation where there is text in English to compare with, else
    as in English; the rest by tail. Edited reference text hardly repeats itself: a cut at its tail would be many times
    stricter than English's and leave little of a web crawl.
    """
    repetition = {key.name for key in KEYS if key.name == "dup_line_frac" or key.name.split(".")[0] in GRAM_RULES}
    chosen: dict[str, Method] = {
        name: "tail" if name not in repetition else "mean-deviation" if has_english else "english" for name in KEY_NAMES
    }
    groups = {name: tuple(key for key in KEY_NAMES if key.split(".")[0] == name) for name in GRAM_RULES}
    for setting in given:
        key, _, method = setting.rpartition("=")
        if method not in METHODS:
            raise ConfigError(f"--method: {method!r} is not a method; {nearest(method, METHODS)}")
        if method in NEED_ENGLISH and not has_english:
            raise ConfigError(
                f"--method {setting}: this compares with English text of the same kind as the reference. Give some with "
                "--english FILE."
            )
        names = KEY_NAMES if not key else groups.get(key, (key,))
        for name in names:
            if name not in chosen:
                raise ConfigError(
                    f"--method: {key!r} is not a threshold of a config; {nearest(key, [*KEY_NAMES, *GRAM_RULES])}"
                )
            chosen[name] = method
    return chosen


def _texts(files: Sequence[str], column: str, where: Sequence[str]) -> pa.Array:
    """The texts of files, of the rows that all conditions hold for."""
    conditions = [_condition(one) for one in where]
    parts = []
    for name in files:
        path = Path(name)
        if path.suffix == ".txt":
            parts.append(pa.array([_read_text(path)], TEXT_TYPE))
            continue
        table = read_columns(path, list(dict.fromkeys([column, *(key for key, _ in conditions)])))
        for key, value in conditions:
            table = table.filter(pc.equal(table[key].cast(pa.string()), value))
        kind = table[column].type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and table.num_rows:
            raise ConfigError(f"{path}: column {column}: expected text, found {kind}. Name the texts with --column.")
        texts = one_chunk(table[column].cast(TEXT_TYPE).drop_null())
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: column {column}: a text in it is not UTF-8. Rewrite the file: {error}") from error
        parts.append(texts)
    found = pa.concat_arrays(parts)
    if not len(found):
        held = f" for which {' and '.join(where)}" if where else ""
        raise ConfigError(f"{', '.join(files)}: no texts{held}. Give others.")
    return found


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(f"--where: expected COLUMN=VALUE, found {text!r}.")
    return key, value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text in UTF-8: {error}.") from error


def _listed(path: Path) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(line.strip() for line in _read_text(path).splitlines() if line.strip()))
    if len(words) < 2:
        raise ConfigError(f"--stop-words: {path}: expected at least 2 words, one per line, found {len(words)}.")
    return words


def _enough(found: Reference, option: str) -> None:
    if found.documents < MIN_DOCUMENTS:
        raise ConfigError(
            f"{option}: {documents(found.documents)} with words; a distribution needs {MIN_DOCUMENTS} at least, and "
            f"should have {FEW_DOCUMENTS}. Give more text, one document per row."
        )


def _heading(options: AdaptOptions, label: str, found: Reference, cuts: Sequence[Cut]) -> list[str]:
    methods = sorted({cut.method for cut in cuts})
    return [
        f"{label}, by `gristmill adapt` from {documents(found.documents)}: {', '.join(options.reference)}"
        + (f" ({', '.join(options.where)})" if options.where else "")
        + (f"; English: {', '.join(options.english)}" if options.english else ""),
        f"Methods: {', '.join(methods)}. language_score is not derived and not applied.",
    ]


def _figures(label: str, target: Path, found: Reference, cuts: Sequence[Cut], words: Sequence[str]) -> dict[str, Any]:
    return {
        "language": label,
        "config": str(target),
        "documents": found.documents,
        "stop_words": list(words),
        "thresholds": {
            cut.key.name: {
                "value": cut.value,
                "english": cut.key.english,
                "method": cut.method,
                "failing": cut.failing,
                "note": cut.note,
            }
            for cut in cuts
        },
    }


def _show(label: str, target: Path, found: Reference, cuts: Sequence[Cut], words: Sequence[str]) -> None:
    say(f"{label}: {documents(found.documents)} of reference text\n")
    for cut in cuts:
        values = found.values[cut.key.name]
        bars, low, high, at = histogram(values, cut.value, CELLS)
        side = "below" if cut.key.at_least else "above"
        kept = f", kept: {cut.note}" if cut.note else ""
        say(f"{cut.key.name} = {number(cut.value)}   ({cut.method}{kept}; English {number(cut.key.english)})")
        left, right = f"{number(low):>8} ", f" {number(high)}"
        say(left + bars + right)
        say(" " * (len(left) + at) + f"▲ {cut.failing:.1%} {side}")
    say()
    if found.words:
        total = sum(found.words.values())
        table = columns(("stop word", "left"), ("share of words", "right"), title=f"{len(words)} stop words")
        for word in words:
            table.add_row(word, f"{found.words.get(word, 0) / total:.2%}")
        out().print(table)
        say()
    if found.documents < FEW_DOCUMENTS:
        say(f"Only {count(found.documents)} documents: {FEW_DOCUMENTS} or more give more reliable tails.")
    if found.words and min(found.words.get(word, 0) for word in words) < STOP_WORD_SHARE * sum(found.words.values()):
        say(f"The rarer stop words make up less than {STOP_WORD_SHARE:.1%} of the words each.")
    say(f"wrote {target}")
    say(f"Use it:  quality: {{language_configs: {target.parent}}}")
