"""OpenLineage run events of runs: START and COMPLETE, with sources as inputs, outputs, schemas, counts and digests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gristmill.launch.exports.finished import PRODUCER, Finished, licence_facts, timestamp
from gristmill.launch.exports.source_digests import SourceDigest, digests_of_runs, part_of
from gristmill.pipeline.provenance.logs import SliceRead
from gristmill.pipeline.storage import is_remote, local

SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE = "gristmill"
_FACETS = {
    "schema": "1-2-0/SchemaDatasetFacet",
    "dataQualityMetrics": "1-0-1/DataQualityMetricsDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}


def run_events(outputs: Sequence[Finished]) -> Iterator[dict[str, Any]]:
    """Two events for each run of the outputs, which share it: START, then COMPLETE."""
    runs: dict[str, list[Finished]] = {}
    digests = digests_of_runs(outputs)
    for output in outputs:
        runs.setdefault(output.manifest.run, []).append(output)
    for key, mine in runs.items():
        # The standard wants a UUID: this one follows from the run's key, so that a second export names the same run.
        ident = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/run/{key}"))
        for kind, moment in (
            ("START", min(output.started for output in mine)),
            ("COMPLETE", max(output.ended for output in mine)),
        ):
            yield {
                "eventType": kind,
                "eventTime": timestamp(moment),
                "producer": PRODUCER,
                "schemaURL": EVENT,
                "run": {"runId": ident, "facets": {"gristmill_provenance": _provenance(mine[0])}},
                "job": {"namespace": NAMESPACE, "name": mine[0].manifest.name, "facets": {}},
                "inputs": _inputs(mine[0], digests[key]),
                "outputs": [_output(output, kind == "COMPLETE") for output in mine],
            }


def _facet(name: str, **body: Any) -> dict[str, Any]:
    version, _, schema = _FACETS[name].partition("/")
    return {
        "_producer": PRODUCER,
        "_schemaURL": f"{SPEC}/facets/{version}/{schema}.json#/$defs/{schema}",
        **body,
    }


def _own(kind: str, **body: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}/openlineage/{kind}/v1", **body}


def _provenance(output: Finished) -> dict[str, Any]:
    manifest = output.manifest
    return _own(
        "run",
        runKey=manifest.run,
        configSha256=output.config_digest,
        settled=dict(manifest.settled),
        nodes=[
            {"name": node.name, "stage": node.use, "version": node.version, "fingerprint": node.fingerprint}
            for node in manifest.nodes
        ],
        packages=dict(manifest.varies.packages),
    )


def _inputs(output: Finished, digests: Mapping[str, SourceDigest]) -> list[dict[str, Any]]:
    found = []
    for name, totals in output.manifest.sources.items():
        read = digests.get(name)
        own = _own(
            "source",
            format=totals.format,
            snapshot=totals.snapshot,
            license=licence_facts(totals.license),
            rejects=totals.rejects,
            **({"slices": read.count, "slicesRoot": read.root} if read else {}),
            **({"files": [_slice(one) for one in read.slices]} if read and read.slices else {}),
        )
        metrics = _facet(
            "dataQualityMetrics",
            rowCount=totals.rows,
            bytes=totals.text_bytes,
            fileCount=totals.files,
            columnMetrics={},
        )
        version = {"version": _facet("version", datasetVersion=f"sha256:{read.root}")} if read else {}
        found.append(
            {
                "namespace": NAMESPACE,
                "name": f"{output.manifest.name}/{name}",
                "facets": {"dataQualityMetrics": metrics, **version, "gristmill_source": own},
                "inputFacets": {},
            }
        )
    return found


def _slice(one: SliceRead) -> dict[str, Any]:
    return {
        "path": one.path,
        "part": part_of(one),
        "bytes": one.file_bytes,
        "documents": one.rows,
        "digest": one.digest,
    }


def _output(output: Finished, complete: bool) -> dict[str, Any]:
    manifest = output.manifest
    remote = is_remote(output.folder)
    scheme, _, rest = output.folder.partition("://")
    bucket, _, path = rest.partition("/")
    made: dict[str, Any] = {
        "namespace": f"{scheme}://{bucket}" if remote else "file",
        "name": path if remote else str(local(output.folder).absolute()),
        "facets": {
            "schema": _facet("schema", fields=[{"name": n, "type": t} for n, t in manifest.data.columns.items()]),
        },
        "outputFacets": {},
    }
    if complete:
        data = manifest.data
        made["facets"]["dataQualityMetrics"] = _facet(
            "dataQualityMetrics",
            rowCount=data.rows,
            bytes=data.bytes,
            fileCount=data.files,
            columnMetrics={"text": {"count": data.rows}},
        )
        made["facets"]["version"] = _facet("version", datasetVersion=f"sha256:{manifest.digest}")
        made["facets"]["gristmill_provenance"] = _own(
            "output",
            manifestDigest=manifest.digest,
            statementDigest=manifest.varies.statement,
            contentRoot=data.root,
            filesRoot=manifest.files.root,
            textBytes=output.text_bytes,
        )
        made["outputFacets"]["outputStatistics"] = _facet(
            "outputStatistics", rowCount=data.rows, size=data.bytes, fileCount=data.files
        )
    return made
