"""A Hugging Face dataset card with complete metadata, and Croissant with the RAI vocabulary, of a finished output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gristmill.launch.exports.answers import NONE, Answers
from gristmill.launch.exports.finished import Finished, licence_facts
from gristmill.launch.exports.shard_totals import Totals, count_shards
from gristmill.pipeline.licence import FACTS
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.spdx import expression
from gristmill.pipeline.writing.card import SHARDS, card_body, cell, croissant_metadata, front_matter

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
RAI_ANSWERS = {
    "rai:dataCollection": "collection.methodology",
    "rai:dataCollectionType": "collection.methods",
    "rai:dataAnnotationProtocol": "annotations.descriptions",
    "rai:annotatorDemographics": "annotators.descriptions",
    "rai:dataReleaseMaintenancePlan": "maintenance.plan",
    "rai:personalSensitiveInformation": "sensitivity.types",
    "rai:dataSocialImpact": "curation.proportionality",
    "rai:dataBiases": "curation.extrinsic_bias",
    "rai:dataLimitations": "relation.limitations",
    "rai:dataUseCases": "use.suitable",
}
"""Properties of RAI that only people can fill in, and the answers that do."""
ORGANIZATIONS = {"creator": "owners.teams", "publisher": "publisher.organizations"}
CITATION, LINK = "use.citation", "dataset.link"
ANSWERS = (*RAI_ANSWERS.values(), *ORGANIZATIONS.values(), CITATION, LINK)
"""Keys of all answers that Croissant takes."""
_URL = re.compile(r"https?://[^\s<>\"]+")
RAI = "http://mlcommons.org/croissant/RAI/"


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
    body = card_body(manifest, manifest.accounts, list(manifest.sources), nodes, manifest.data.columns)
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


def croissant_rai(output: Finished, answers: Answers | None = None) -> dict[str, Any]:
    """Croissant 1.1 as it lies beside the shards, with licences as facts, the day it was published, and RAI 1.0: what was
    collected, what is missing, what happened at each node, and by which models; and what people answered, if they did."""
    manifest = output.manifest
    body = croissant_metadata(manifest, manifest.data.columns)
    body["conformsTo"] = [body["conformsTo"], f"{RAI}1.0"]
    stated = [licence_facts(source.license) for source in manifest.sources.values()]
    body["license"] = sorted({facts.get("spdx") or facts.get("statement") or "unknown" for facts in stated})
    body |= _rights(manifest)
    body["datePublished"] = output.ended.date().isoformat()
    body["identifier"] = f"sha256:{manifest.digest}"
    body["rai:dataCollectionRawData"] = "; ".join(
        f"{name}: {source.rows:,} documents, {source.text_bytes:,} bytes of text in {source.files:,} {source.format} files"
        + (f", snapshot {source.snapshot}" if source.snapshot else "")
        for name, source in manifest.sources.items()
    )
    body["rai:dataCollectionMissingData"] = "; ".join(
        f"{name}: {source.rejects:,} records could not be read" for name, source in manifest.sources.items()
    )
    body["rai:dataPreprocessingProtocol"] = []
    for node in manifest.nodes:
        account = manifest.accounts.nodes.get(node.name, NodeAccount())
        body["rai:dataPreprocessingProtocol"].append(
            f"{node.name} (stage {node.use}, version {node.version}): {account.entered.rows:,} documents in, "
            f"{account.dropped.rows:,} dropped, {account.quarantined.rows:,} quarantined"
        )
    tools = [f"{node.name}: {n} sha256:{d}" for node in manifest.nodes for n, d in sorted(node.models.items())]
    if tools:
        body["rai:machineAnnotationTools"] = tools
    return body | _answered(body, {} if answers is None else answers.values)


def _answered(body: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
    """Answers as properties, after what the run says there; none that there is nothing of what is asked."""
    said = {key: text for key, text in answers.items() if text.strip().lower() not in NONE}
    made: dict[str, Any] = {}
    for name, key in RAI_ANSWERS.items():
        if key in said:
            made[name] = "; ".join([*([body[name]] if name in body else []), said[key]])
    for name, key in ORGANIZATIONS.items():
        if key in said:
            made[name] = {"@type": "sc:Organization", "name": said[key]}
    if CITATION in said:
        made["citeAs"] = said[CITATION]
    if _URL.fullmatch(said.get(LINK, "")):
        made["url"] = said[LINK]
    return made


def _rights(manifest: Predicate) -> dict[str, Any]:
    """What sources state of the rights in their texts, under schema.org's names; what is stated per source is named by it."""
    stated = {name: source.license for name, source in manifest.sources.items() if source.license is not None}

    def of(fact: str, says: str = "") -> list[str]:
        return [f"{name}: {says}{licence_facts(one)[fact]}" for name, one in stated.items() if getattr(one, fact)]

    creators = dict.fromkeys(name for one in stated.values() for name in one.creators or ())
    languages = dict.fromkeys(tag.replace("_", "-") for one in stated.values() for tag in one.language or ())
    made: dict[str, list[Any] | str] = {
        "creditText": of("attribution"),
        "usageInfo": [*of("conditions", "conditions of the licence: "), *of("terms", "terms of service: ")],
        "contributor": [{"@type": "sc:Organization", "name": name} for name in creators],
        "inLanguage": list(languages),
        "rai:dataCollection": "; ".join(
            [*of("collector", "collected by "), *of("model_generated", "made by models: ")]
        ),
    }
    return {name: values for name, values in made.items() if values}
