"""Thresholds and stop words of languages, from files in FineWeb2's format, or from the table that comes with Gristmill.

The folder holds one YAML file per language, named by its label (`deu_Latn.yml`), as FineWeb2's repository publishes them
(https://github.com/huggingface/fineweb-2, folder `configs`). Their keys become thresholds the way FineWeb2's pipeline
uses them with datatrove's filters; what that pipeline switches off stays off, and what it sets for all languages alike is
`quality_rules.UNIVERSAL`. `language_score` belongs to the language stage and is only checked here.

The table (`languages.yml`, made by `build_languages`) has the same keys for the languages that the default
identifiers name, and leaves out those in which they are as in English.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.table_cache import kept_tables
from gristmill.stages.quality.rules import ENGLISH, UNIVERSAL, Thresholds

_LABEL = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_SUFFIXES = (".yml", ".yaml")
_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z_][\w-]*)\s*:", re.MULTILINE)

RULE_OF_KEY = {
    "dup_line_frac": "dup_line_frac",
    "line_punct_thr": "too_few_terminal_lines",
    "max_avg_word_length": "words_too_long",
    "max_non_alpha_words_ratio": "too_few_alpha_words",
    "min_avg_word_length": "words_too_short",
    "new_line_ratio": "too_many_newlines",
}
"""Rule of each key that holds one number. `max_non_alpha_words_ratio` is, despite its name, the least share of words
with a letter."""
OFF_AT_ZERO = frozenset({"dup_line_frac", "max_avg_word_length", "max_non_alpha_words_ratio", "min_avg_word_length"})
"""Keys whose rule datatrove switches off when they are 0."""
GRAM_RULES = {"top_n_grams": ("top_{}_gram", range(2, 5)), "dup_n_grams": ("dup_{}_grams", range(5, 11))}
"""Rule and sizes of each key that holds pairs of n and threshold."""
_KEYS = frozenset({*RULE_OF_KEY, *GRAM_RULES, "language_score", "stopwords"})

TABLE = Path(__file__).with_name("languages.yml")
"""The table that comes with Gristmill."""

MIN_STOP_WORDS = 2
"""Different stop words that FineWeb2 asks of a document in every language."""


@dataclass(frozen=True)
class LanguageConfig:
    """What the quality stage knows of one language."""

    thresholds: Thresholds
    stop_words: tuple[str, ...]
    """Empty where there is no list; the threshold for stop words is off then."""


def config_files(folder: Path) -> dict[str, Path]:
    """The folder's config files by label.

    Raises ConfigError when it is no folder, holds no config, or a YAML file in it is not named by a label.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ConfigError(
            f"language_configs: expected a folder of files such as deu_Latn.yml, found {found} at {folder}. "
            "FineWeb2 publishes one at https://github.com/huggingface/fineweb-2 (folder configs)."
        )
    files: dict[str, Path] = {}
    for name in sorted(os.listdir(folder)):  # some two thousand names: a Path of each takes ten times as long to sort
        label, suffix = os.path.splitext(name)
        if suffix not in _SUFFIXES:
            continue
        if not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{folder / name}: the name is not a language label. Name the file by ISO 639-3 code and ISO 15924 script, "
                "such as deu_Latn.yml, or move it out of the folder."
            )
        if label in files:
            raise ConfigError(f"{folder / name}: {files[label].name} names the same language. Remove one of the two.")
        files[label] = folder / name
    if not files:
        raise ConfigError(
            f"language_configs: {folder} holds no .yml file. Expected one per language, such as deu_Latn.yml."
        )
    return files


def read_config(path: Path) -> LanguageConfig:
    """One language's config.

    Raises ConfigError naming the file, the key, what was expected and what was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a map with the keys {', '.join(sorted(_KEYS))}; found {_found(value)}.")
    keys = _TOP_LEVEL_KEY.findall(text)
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{path}: the key `{key}` is listed {keys.count(key)} times. Keep one.")
    for key in value:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key `{key}`; {nearest(str(key), _KEYS)}")
    missing = sorted(_KEYS - value.keys())
    if missing:
        raise ConfigError(f"{path}: the key `{missing[0]}` is missing. Expected: {', '.join(sorted(_KEYS))}.")
    thresholds: dict[str, float | None] = dict(UNIVERSAL)
    thresholds["too_few_stop_words"] = MIN_STOP_WORDS
    _number(path, "language_score", value["language_score"])
    for key, rule in RULE_OF_KEY.items():
        number = _number(path, key, value[key])
        thresholds[rule] = None if number == 0 and key in OFF_AT_ZERO else number
    for key, (rule, sizes) in GRAM_RULES.items():
        for n, number in _pairs(path, key, value[key], sizes).items():
            thresholds[rule.format(n)] = number
    return LanguageConfig(thresholds, _words(path, value["stopwords"]))


def read_configs(folder: Path) -> Mapping[str, LanguageConfig]:
    """All configs of a folder, by label. Raises ConfigError as `config_files` and `read_config` do."""
    return {label: read_config(path) for label, path in config_files(folder).items()}


@cache
def read_table() -> Mapping[str, LanguageConfig]:
    """The configs that come with Gristmill, by label; English's, which no file needs to state, is not among them."""
    # Read as YAML once: that takes each process 0.1 s.
    value = json.loads(kept_tables("quality-languages", __file__, _table_as_json, [TABLE])["json"].tobytes())
    as_english: dict[str, float | None] = dict(UNIVERSAL)
    as_english.update({rule: ENGLISH[rule] for rule in RULE_OF_KEY.values()})
    as_english.update({rule.format(n): ENGLISH[rule.format(n)] for rule, sizes in GRAM_RULES.values() for n in sizes})
    table = {}
    for label, own in value.items():
        words = tuple(own.pop("stopwords"))
        thresholds = dict(as_english)
        thresholds["too_few_stop_words"] = MIN_STOP_WORDS if words else None
        thresholds.update({RULE_OF_KEY[key]: number for key, number in own.items()})
        table[label] = LanguageConfig(thresholds, words)
    return table


def _table_as_json() -> dict[str, np.ndarray]:
    value = yaml.load(TABLE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {"json": np.frombuffer(json.dumps(value).encode(), np.uint8)}


def _found(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ConfigError(f"{path}: `{key}` must be a number, found {_found(value)}.")
    return value


def _pairs(path: Path, key: str, value: Any, sizes: range) -> dict[int, float]:
    expected = f"a list of [n, threshold] with n from {sizes[0]} to {sizes[-1]}"
    if not isinstance(value, list):
        raise ConfigError(f"{path}: `{key}` must be {expected}, found {_found(value)}.")
    found: dict[int, float] = {}
    for item in value:
        if not (isinstance(item, list) and len(item) == 2 and type(item[0]) is int and item[0] in sizes):
            raise ConfigError(f"{path}: `{key}` must be {expected}, found {_found(item)} in it.")
        if item[0] in found:
            raise ConfigError(f"{path}: `{key}` gives n = {item[0]} twice. Keep one.")
        found[item[0]] = _number(path, key, item[1])
    return found


def _words(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: `stopwords` must be a list of words, found {_found(value)}.")
    for item in value:
        if not isinstance(item, str):
            raise ConfigError(
                f"{path}: `stopwords` must be a list of words, found {_found(item)} in it. "
                "Put words that YAML reads as something else (no, on, 1) in quotation marks."
            )
    return tuple(value)
