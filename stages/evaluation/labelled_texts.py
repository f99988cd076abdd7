"""Reads texts that carry the language and script they are in, and checks the codes.

A labelled file has the columns `text`, `language` (ISO 639-3) and `script` (ISO 15924); others are ignored. It is Parquet,
JSON lines, CSV or TSV by its name, the last three also compressed (`.gz`, `.zst`, `.bz2`).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gristmill.pipeline.document import TEXT, TEXT_TYPE, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.evaluation.text_files import read_columns
from gristmill.stages.kernels.unicode import SCRIPT_NAMES
from gristmill.stages.labels.labels import FOLDED_SCRIPTS, canonical_label, canonical_labels, codes

COLUMNS = (TEXT, "language", "script")
_CODE = re.compile(r"[a-z]{3}")


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with their labels.

    Attributes:
        texts: `large_string`, without nulls.
        labels: the canonical label pair of each text.
        unknown: pairs that are not canonical, by how many texts have them, each with the nearest canonical pair, if
            there is one: no identifier is expected to answer them.
    """

    texts: pa.Array
    labels: list[str]
    unknown: Mapping[str, tuple[int, str | None]]


def read_labelled(path: Path) -> LabelledTexts:
    """Reads and checks a labelled file.

    Raises ConfigError when there is no such file, its kind is unknown, a column is missing, or a code is no ISO 639-3 or
    ISO 15924 code, naming the row and the nearest code; DataError when the file cannot be read.
    """
    table = read_columns(path, COLUMNS)
    for name in COLUMNS:
        kind = table[name].type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
            raise ConfigError(f"{path}: column {name}: expected text, found {kind}.")
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True)
            raise ConfigError(
                f"{path}, row {row}: {name} is missing. Every row needs {', '.join(COLUMNS)}; drop the rows without."
            )
    if not table.num_rows:
        raise ConfigError(f"{path}: no rows. Give labelled texts.")
    pairs = list(zip(table["language"].to_pylist(), table["script"].to_pylist(), strict=True))
    canonical = {pair: _checked(path, pairs.index(pair), *pair) for pair in dict.fromkeys(pairs)}
    labels = [canonical[pair] for pair in pairs]
    known = canonical_labels()
    unknown = {
        label: (count, _nearest_label(label)) for label, count in sorted(Counter(labels).items()) if label not in known
    }
    return LabelledTexts(one_chunk(table[TEXT].cast(TEXT_TYPE)), labels, unknown)


def _checked(path: Path, row: int, language: str, script: str) -> str:
    if not _CODE.fullmatch(language):
        known = codes().get(language, ())
        hint = f" Did you mean {known[0][:3]}?" if known else ""
        raise ConfigError(f"{path}, row {row}: {language!r} is not an ISO 639-3 code (three small letters).{hint}")
    scripts = {*SCRIPT_NAMES, *FOLDED_SCRIPTS}
    if script not in scripts:
        close = difflib.get_close_matches(script, scripts, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}?" if close else " Examples: Latn, Cyrl, Arab, Hani."
        raise ConfigError(f"{path}, row {row}: {script!r} is not an ISO 15924 code of a script of Unicode.{hint}")
    return canonical_label(language, script)


def _nearest_label(label: str) -> str | None:
    """The canonical pair of the same language in another script, else one of a similar code."""
    known = sorted(canonical_labels())
    same = [other for other in known if other[:3] == label[:3]]
    close = same or difflib.get_close_matches(label, known, n=1, cutoff=0.85)
    return close[0] if close else None
