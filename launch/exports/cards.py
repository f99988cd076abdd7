"""A Hugging Face dataset card with complete metadata, of a finished output."""

from __future__ import annotations

import re
from typing import Any

from gristmill.launch.exports.finished import Finished, licence_facts
from gristmill.launch.exports.shard_totals import Totals, count_shards
from gristmill.launch.report.kind_tokens import shares_in_tokens
from gristmill.pipeline.licence import FACTS
from gristmill.pipeline.spdx import expression
from gristmill.pipeline.writing.card import SHARDS, card_body, cell, front_matter

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B",
         "100B<n<1T", "n>1T")  # fmt: skip
"""The hub's size categories: below 1,000 rows, and then by powers of ten."""
HUB_LICENCES = {
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
    **{
        name: name.lower()
        for name in (
            "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Unlicense", "CC0-1.0", "CC-BY-2.0", "CC-BY-2.5",
            "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0",
            "CC-BY-ND-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0",
            "CC-BY-NC-SA-4.0",
        )
    },
}  # fmt: skip
"""The hub's own names of licences, by SPDX identifier; every other licence is `other` there."""
FACT_NAMES = {
    "attribution": "to be credited as",
    "conditions": "conditions of the licence",
    "terms": "terms of service",
    "creators": "creators",
    "collector": "collected by",
    "language": "languages, as stated",
    "model_generated": "made by models",
}
"""What is known beside the licence, as a card says it."""
MOST_LANGUAGES = 200
_CODE = re.compile(r"[a-z]{2,3}")
_NO_LANGUAGE = frozenset({"und", "zxx", "mul", "mis"})


def dataset_card(output: Finished) -> str:
    """The card: metadata of the hub, what went in, what happened, licences and languages.

    Raises DataError for shards that cannot be read; they are, where the output has a column `language`.
    """
    manifest = output.manifest
    totals = Totals()
    if {"language", "text"} <= manifest.data.columns.keys():
        count_shards(output, frozenset(), totals, None)
    codes = _codes(totals)
    values: dict[str, Any] = {
        "pretty_name": f"{manifest.name}: {manifest.output}",
        **_licence(output),
        **({"language": codes[:MOST_LANGUAGES]} if codes else {}),
        **({"multilinguality": "monolingual" if len(codes) == 1 else "multilingual"} if codes else {}),
        "size_categories": [_size(manifest.data.rows)],
        "tags": ["gristmill"],
        **SHARDS,
    }
    nodes = [*manifest.sources, *(node.name for node in manifest.nodes)]
    shares = shares_in_tokens(output.folder, manifest)
    body = card_body(manifest, manifest.accounts, list(manifest.sources), nodes, manifest.data.columns, shares)
    return front_matter(values) + body + "\n".join([*_licences(output), *_languages(totals)]) + "\n"


def _size(rows: int) -> str:
    return SIZES[min(max(len(str(rows)) - 3, 0), len(SIZES) - 1)]


def _codes(totals: Totals) -> list[str]:
    found: dict[str, int] = {}
    for label, (_, size) in totals.languages.items():
        code = label.partition("_")[0]
        if _CODE.fullmatch(code) and code not in _NO_LANGUAGE:
            found[code] = found.get(code, 0) + size
    return sorted(found, key=lambda code: (-found[code], code))


def _licence(output: Finished) -> dict[str, Any]:
    """`license` as the hub has it: one name or several where it knows all of them, else `other` with a name of our own."""
    stated = {(source.license.spdx or "") if source.license else "" for source in output.manifest.sources.values()}
    names = [HUB_LICENCES.get(expression(one) or "") for one in stated]
    if None in names or not names:
        return {"license": "other", "license_name": "by-source", "license_link": "README.md#licences"}
    known = sorted({str(name) for name in names})
    return {"license": known[0] if len(known) == 1 else known}


def _licences(output: Finished) -> list[str]:
    lines = ["", "## Licences", "", "| source | SPDX | as stated | stated by | evidence |", "|---|---|---|---|---|"]
    for name, source in output.manifest.sources.items():
        facts = licence_facts(source.license)
        cells = [name, *(facts.get(key, "–") for key in ("spdx", "statement", "stated_by", "evidence"))]
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    for name, source in output.manifest.sources.items():
        facts = licence_facts(source.license)
        told = [f"- {FACT_NAMES[fact]}: {cell(facts[fact])}" for fact in FACTS if fact in facts]
        lines += ["", f"What is known of the rights in `{name}`:", "", *told] if told else []
    return lines


def _languages(totals: Totals) -> list[str]:
    if not totals.languages:
        return []
    whole = sum(size for _, size in totals.languages.values()) or 1
    lines = ["", "## Languages", "", "| language | documents | share of bytes |", "|---|---:|---:|"]
    ordered = sorted(totals.languages.items(), key=lambda item: (-item[1][1], item[0]))
    lines += [f"| {cell(name)} | {rows:,} | {size / whole:.2%} |" for name, (rows, size) in ordered[:MOST_LANGUAGES]]
    return lines
