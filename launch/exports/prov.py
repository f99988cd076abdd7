"""W3C PROV-JSON of runs: sources, settled tables, models and outputs as entities, the run and its nodes as activities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from gristmill.launch.exports.finished import PRODUCER, Finished, licence_facts, timestamp
from gristmill.launch.exports.source_digests import SourceDigest, digests_of_runs, part_of
from gristmill.pipeline.licence import FACTS

_CAMEL = {fact: fact.replace("model_generated", "modelGenerated") for fact in FACTS}
PREFIXES = {"gm": f"{PRODUCER}/provenance/"}


def prov_json(outputs: Sequence[Finished]) -> dict[str, Any]:
    """One PROV-JSON document about the runs of some outputs. Two outputs of one run share its sources and activities."""
    made, digests = _Document(), digests_of_runs(outputs)
    for output in outputs:
        mine = [one for one in outputs if one.manifest.run == output.manifest.run]
        _describe(
            made, output, min(one.started for one in mine), max(one.ended for one in mine), digests[output.manifest.run]
        )
    return {"prefix": PREFIXES, **{kind: records for kind, records in made.records.items() if records}}


class _Document:
    """Records by kind and name; a relation is named by what it relates, so that it is there once."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, dict[str, Any]]] = {}

    def thing(self, kind: str, name: str, **attributes: Any) -> str:
        kept = {_attribute(key): value for key, value in attributes.items() if value not in (None, "")}
        self.records.setdefault(kind, {})[name] = kept
        return name

    def relation(self, kind: str, more: Mapping[str, str] = MappingProxyType({}), **ends: str) -> None:
        name = "_:" + quote(".".join([kind, *ends.values()]), safe=".")
        self.records.setdefault(kind, {})[name] = {f"prov:{end}": value for end, value in {**ends, **more}.items()}


def _attribute(name: str) -> str:
    prefix, _, rest = name.partition("_")
    return f"prov:{rest}" if prefix == "prov" else f"gm:{name}"


def _name(kind: str, *parts: str) -> str:
    return f"gm:{kind}/" + "/".join(quote(part, safe="") for part in parts)


def address(kind: str, *parts: str) -> str:
    """The address of a thing that these documents name, in full."""
    return PREFIXES["gm"] + _name(kind, *parts).removeprefix("gm:")


def _describe(
    made: _Document, output: Finished, started: datetime, ended: datetime, digests: Mapping[str, SourceDigest]
) -> None:
    manifest, key = output.manifest, output.manifest.run[:16]
    software = made.thing(
        "agent",
        _name("software", "gristmill", manifest.varies.packages.get("gristmill", "unknown")),
        prov_type={"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"},
        prov_label="Gristmill",
        version=manifest.varies.packages.get("gristmill"),
        python=manifest.varies.python,
    )
    run = made.thing(
        "activity",
        _name("run", key),
        prov_startTime=timestamp(started),
        prov_endTime=timestamp(ended),
        prov_label=manifest.name,
        run=manifest.run,
        configSha256=output.config_digest,
    )
    made.relation("wasAssociatedWith", activity=run, agent=software)
    sources = _sources(made, output, run, digests)
    _nodes(made, output, run, software)
    data = made.thing(
        "entity",
        _name("output", key, manifest.output),
        prov_label=f"{manifest.name}: {manifest.output}",
        rows=manifest.data.rows,
        files=manifest.data.files,
        bytes=manifest.data.bytes,
        contentRoot=manifest.data.root,
        filesRoot=manifest.files.root,
        manifestDigest=manifest.digest,
    )
    made.relation("wasGeneratedBy", {"time": timestamp(output.ended)}, entity=data, activity=run)
    made.relation("wasAttributedTo", entity=data, agent=software)
    for source in sources.values():
        made.relation("wasDerivedFrom", generatedEntity=data, usedEntity=source, activity=run)
    if manifest.varies.chain.previous is not None:
        before = made.thing("entity", _name("statement", manifest.varies.chain.previous))
        made.relation("wasInfluencedBy", influencee=data, influencer=before)


def _sources(made: _Document, output: Finished, run: str, digests: Mapping[str, SourceDigest]) -> dict[str, str]:
    found = {}
    for name, totals in output.manifest.sources.items():
        licence, read = licence_facts(totals.license), digests.get(name)
        found[name] = made.thing(
            "entity",
            _name("source", output.manifest.run[:16], name),
            prov_label=name,
            format=totals.format,
            snapshot=totals.snapshot,
            documents=totals.rows,
            textBytes=totals.text_bytes,
            files=totals.files,
            rejects=totals.rejects,
            prov_type={"$": "prov:Collection", "type": "prov:QUALIFIED_NAME"} if read and read.slices else None,
            slices=read.count if read else None,
            slicesRoot=read.root if read else None,
            license=licence.get("spdx"),
            licenseStatement=licence.get("statement"),
            licenseStatedBy=licence.get("stated_by"),
            licenseEvidence=licence.get("evidence"),
            **{_CAMEL[fact]: licence.get(fact) for fact in FACTS},
        )
        made.relation("used", activity=run, entity=found[name])
        for number, one in enumerate(read.slices if read else ()):
            piece = made.thing(
                "entity",
                _name("slice", output.manifest.run[:16], name, str(number)),
                prov_label=one.path,
                part=part_of(one),
                fileBytes=one.file_bytes,
                documents=one.rows,
                digest=one.digest,
            )
            made.relation("hadMember", collection=found[name], entity=piece)
    return found


def _nodes(made: _Document, output: Finished, run: str, software: str) -> None:
    manifest, key = output.manifest, output.manifest.run[:16]
    activities = {node.name: _name("node", key, node.name) for node in manifest.nodes}
    for node in manifest.nodes:
        account = manifest.accounts.nodes.get(node.name)
        here = made.thing(
            "activity",
            activities[node.name],
            prov_label=node.name,
            stage=node.use,
            stageVersion=node.version,
            fingerprint=node.fingerprint,
            documentsIn=account.entered.rows if account else None,
            documentsDropped=account.dropped.rows if account else None,
            documentsQuarantined=account.quarantined.rows if account else None,
            documentsKept=account.kept.rows if account else None,
        )
        made.relation("wasInformedBy", informed=run, informant=here)
        made.relation("wasAssociatedWith", activity=here, agent=software)
        for edge in node.from_:
            before = edge.partition(".")[0]
            if before in activities:
                made.relation("wasInformedBy", informed=here, informant=activities[before])
            elif before in manifest.sources:
                made.relation("used", activity=here, entity=_name("source", key, before))
        for field, digest in node.models.items():
            model = made.thing("entity", _name("model", digest), sha256=digest, prov_label=field)
            made.relation("used", activity=here, entity=model)
        if node.name in manifest.settled:
            table = made.thing(
                "entity",
                _name("settled", key, node.name),
                prov_label=f"settled answers of {node.name}",
                digest=manifest.settled[node.name],
            )
            made.relation("wasGeneratedBy", entity=table, activity=here)
            made.relation("used", activity=run, entity=table)
