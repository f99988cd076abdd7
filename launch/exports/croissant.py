"""Croissant with the RAI vocabulary, PROV-O and people's answers, of a finished output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gristmill.launch.exports.answers import NONE, Answers
from gristmill.launch.exports.finished import Finished, licence_facts, timestamp
from gristmill.launch.exports.prov import address
from gristmill.launch.exports.source_digests import source_digests
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.statement import ManifestNode, Predicate
from gristmill.pipeline.writing.card import croissant_metadata

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


def croissant_rai(output: Finished, answers: Answers | None = None) -> dict[str, Any]:
    """Croissant 1.1 as it lies beside the shards, with licences as facts, the day it was published, PROV-O, and RAI 1.0: what
    was collected, what is missing, what happened at each node, and by which models; and what people answered, if they did.

    Raises what `source_digests` raises.
    """
    manifest = output.manifest
    body = croissant_metadata(manifest, manifest.data.columns)
    body["@context"]["prov"] = "http://www.w3.org/ns/prov#"
    body["conformsTo"] = [body["conformsTo"], f"{RAI}1.0"]
    stated = [licence_facts(source.license) for source in manifest.sources.values()]
    body["license"] = sorted({facts.get("spdx") or facts.get("statement") or "unknown" for facts in stated})
    body |= _rights(manifest) | _provenance(output)
    made = {name: _activity(node) for node in manifest.nodes for name in node.columns}
    for field in body["recordSet"][0]["field"]:
        field |= {"prov:wasGeneratedBy": made[field["name"]]} if field["name"] in made else {}
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


def _activity(node: ManifestNode) -> dict[str, str]:
    return {"@type": "prov:Activity", "prov:label": f"{node.name} (stage {node.use}, version {node.version})"}


def _provenance(output: Finished) -> dict[str, Any]:
    """What the output was derived from, by what it was generated, and the program to which it is attributed, as PROV-O; names
    of sources and of the run are those of the PROV export."""
    manifest, digests = output.manifest, source_digests(output)
    derived = [
        {
            "@id": address("source", manifest.run[:16], name),
            "@type": "prov:Entity",
            "prov:label": name,
            **({"prov:value": f"slices with the Merkle root {digests[name].root}"} if name in digests else {}),
        }
        for name in manifest.sources
    ]
    return {
        "prov:wasDerivedFrom": derived,
        "prov:wasGeneratedBy": {
            "@id": address("run", manifest.run[:16]),
            "@type": "prov:Activity",
            "prov:label": manifest.name,
            "prov:startedAtTime": timestamp(output.started),
            "prov:endedAtTime": timestamp(output.ended),
        },
        "prov:wasAttributedTo": {
            "@type": "prov:SoftwareAgent",
            "prov:label": f"Gristmill {manifest.varies.packages.get('gristmill', '')}".strip(),
        },
    }
