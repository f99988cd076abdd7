"""PROV-JSON and OpenLineage, read by the standards' own libraries, and outputs that no export is made of."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.data_quality_metrics_dataset import ColumnMetrics, DataQualityMetricsDatasetFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields
from prov.model import (
    ProvActivity,
    ProvAssociation,
    ProvCommunication,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvMembership,
    ProvUsage,
)

from gristmill.launch.commands.export_commands import ExportFormat
from gristmill.launch.exports import source_digests
from gristmill.launch.exports.finished import finished, licence_facts
from gristmill.launch.exports.prov import prov_json
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.licence import License
from tests.launch.exports.conftest import WORDS
from tests.launch.running import Command


def ends(document: ProvDocument, kind: Any) -> set[tuple[str, str]]:
    """The first two ends of all relations of a kind, as local names without the run's key."""
    found = set()
    for record in document.get_records(kind):
        first, second = (value.localpart for _, value in record.formal_attributes[:2])
        found.add((short(first), short(second)))
    return found


def short(name: str) -> str:
    parts = name.split("/")
    return parts[0] + ("/" + parts[-1] if len(parts) > 2 else "")


@pytest.fixture
def prov(run_folder: Path, gristmill: Command) -> ProvDocument:
    """Both outputs of the run, by the command line, deserialized by the library."""
    ran = gristmill("export", "prov", str(run_folder / "corpus"), str(run_folder / "bare"))
    assert ran.code == 0, ran.err
    return ProvDocument.deserialize(content=ran.out, format="json")


def test_prov_relates_sources_nodes_tables_and_outputs(prov: ProvDocument) -> None:
    assert ends(prov, ProvUsage) == {
        ("run", "source/crawl"),
        ("run", "source/shelf"),
        ("run", "settled/exact"),
        ("node/language", "source/crawl"),
        ("node/language", "source/shelf"),
        *((a, b) for a, b in ends(prov, ProvUsage) if b.startswith("model")),
    }
    assert ends(prov, ProvGeneration) == {
        ("settled/exact", "node/exact"),
        ("output/corpus", "run"),
        ("output/bare", "run"),
    }
    assert ends(prov, ProvDerivation) == {
        (f"output/{output}", f"source/{source}") for output in ("corpus", "bare") for source in ("crawl", "shelf")
    }
    assert ("node/exact", "node/language") in ends(prov, ProvCommunication)
    assert {a for a, _ in ends(prov, ProvAssociation)} == {"run", "node/language", "node/exact"}


def test_prov_states_licences_digests_and_times(prov: ProvDocument, run_folder: Path) -> None:
    manifest = json.loads((run_folder / "corpus/manifest.json").read_text())["predicate"]
    entities = {short(e.identifier.localpart): e for e in prov.get_records(ProvEntity)}

    def value(entity: str, name: str) -> Any:
        return next((v for k, v in entities[entity].attributes if k.localpart == name), None)

    assert (value("source/crawl", "license"), value("source/crawl", "licenseStatedBy")) == ("CC-BY-4.0", "author")
    assert (value("source/shelf", "license"), value("source/shelf", "licenseStatement")) == (None, WORDS)
    assert (value("source/shelf", "collector"), value("source/shelf", "modelGenerated")) == (WORDS, WORDS)
    assert value("source/crawl", "collector") is None
    assert value("output/corpus", "contentRoot") == manifest["data"]["root"]
    assert value("settled/exact", "digest") == manifest["settled"]["exact"]
    runs = [one for one in prov.get_records(ProvActivity) if short(one.identifier.localpart) == "run"]
    start, end = runs[0].get_startTime(), runs[0].get_endTime()
    assert len(runs) == 1
    other = json.loads((run_folder / "bare/manifest.json").read_text())["predicate"]
    written = [datetime.fromisoformat(one["varies"]["written"]) for one in (manifest, other)]
    assert start <= end == max(written)


def test_prov_is_the_same_after_a_round_through_the_library(prov: ProvDocument, run_folder: Path) -> None:
    again = prov_json([finished(str(run_folder / name)) for name in ("corpus", "bare")])
    assert ProvDocument.deserialize(content=json.dumps(again)) == prov
    assert ProvDocument.deserialize(content=prov.serialize(format="json")) == prov


def read_event(line: str) -> RunEvent:
    """An event built of the standard's generated classes, which check it, and which must have the schema that it names."""
    event = json.loads(line)

    def facet(kind: Any, body: dict[str, Any], **made: Any) -> Any:
        assert body["_schemaURL"] == kind._get_schema()
        found = kind(**{k: v for k, v in body.items() if not k.startswith("_")} | made)
        return found

    inputs, outputs = [], []
    for one in event["inputs"]:
        quality = facet(DataQualityMetricsDatasetFacet, one["facets"]["dataQualityMetrics"])
        version = facet(DatasetVersionDatasetFacet, one["facets"]["version"])
        made = {"dataQualityMetrics": quality, "version": version}
        inputs.append(InputDataset(one["namespace"], one["name"], facets=made))
    for one in event["outputs"]:
        fields = [SchemaDatasetFacetFields(**item) for item in one["facets"]["schema"]["fields"]]
        facets: dict[str, Any] = {"schema": facet(SchemaDatasetFacet, one["facets"]["schema"], fields=fields)}
        stated = {}
        if "dataQualityMetrics" in one["facets"]:
            body = one["facets"]["dataQualityMetrics"]
            metrics = {name: ColumnMetrics(**item) for name, item in body["columnMetrics"].items()}
            facets["dataQualityMetrics"] = facet(DataQualityMetricsDatasetFacet, body, columnMetrics=metrics)
            facets["version"] = facet(DatasetVersionDatasetFacet, one["facets"]["version"])
            stated = {
                "outputStatistics": facet(OutputStatisticsOutputDatasetFacet, one["outputFacets"]["outputStatistics"])
            }
        outputs.append(OutputDataset(one["namespace"], one["name"], facets=facets, outputFacets=stated))
    assert event["schemaURL"] == RunEvent._get_schema()
    return RunEvent(
        eventTime=event["eventTime"],
        producer=event["producer"],
        eventType=RunState(event["eventType"]),
        run=Run(event["run"]["runId"]),
        job=Job(event["job"]["namespace"], event["job"]["name"]),
        inputs=inputs,
        outputs=outputs,
    )


def test_openlineage_events_are_what_its_classes_hold(run_folder: Path, gristmill: Command, tmp_path: Path) -> None:
    folders = [str(run_folder / name) for name in ("corpus", "bare")]
    ran = gristmill("export", "openlineage", *folders, "--output", "events.jsonl")
    assert (ran.code, ran.out) == (0, "export: events.jsonl (openlineage)\n")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    start, complete = map(read_event, lines)
    assert [start.eventType, complete.eventType] == [RunState.START, RunState.COMPLETE]
    assert start.run.runId == complete.run.runId
    assert start.eventTime <= complete.eventTime
    assert [one.name for one in complete.inputs or ()] == ["small/crawl", "small/shelf"]
    assert [one.name for one in complete.outputs or ()] == folders
    manifest = json.loads((run_folder / "corpus/manifest.json").read_text())["predicate"]
    first = (complete.outputs or [])[0]
    assert first.outputFacets is not None and first.facets is not None
    assert first.outputFacets["outputStatistics"].rowCount == manifest["data"]["rows"] == 50
    assert {one.name for one in first.facets["schema"].fields} == set(manifest["data"]["columns"])
    own = json.loads(lines[1])["outputs"][0]["facets"]["gristmill_provenance"]
    assert own["manifestDigest"] == manifest["digest"]
    sources = {one["name"]: one["facets"]["gristmill_source"]["license"] for one in json.loads(lines[0])["inputs"]}
    shelf = sources["small/shelf"]
    assert (shelf["statement"], shelf["stated_by"], "spdx" in shelf) == (WORDS, "unknown", False)
    assert (shelf["conditions"], shelf["creators"]) == ("attribution; non-commercial", f"{WORDS}; Shelf")
    assert sources["small/crawl"]["spdx"] == "CC-BY-4.0"


def slices_of(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Path and digest of what each task read, as the ledgers' footers have it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for ledger in sorted((folder / "ledger").iterdir()):
        log = json.loads((pq.ParquetFile(ledger).metadata.metadata or {})[b"gristmill.log"])
        for task in log["tasks"]:
            (one,) = task["slices"]
            found.setdefault(one["source"], []).append((one["path"], one["digest"]))
    return found


def test_sources_have_digests_of_what_was_read(run_folder: Path, gristmill: Command, prov: ProvDocument) -> None:
    expected = slices_of(run_folder / "corpus")
    assert set(expected) == {"crawl", "shelf"}
    event = json.loads(gristmill("export", "openlineage", str(run_folder / "bare")).out.splitlines()[0])
    for one in event["inputs"]:
        mine = expected[one["name"].rpartition("/")[2]]
        own = one["facets"]["gristmill_source"]
        assert [(file["path"], file["digest"]) for file in own["files"]] == mine
        assert (own["slices"], own["slicesRoot"]) == (len(mine), merkle_root([digest for _, digest in mine]))
        assert one["facets"]["version"]["datasetVersion"] == f"sha256:{own['slicesRoot']}"
    members = ends(prov, ProvMembership)
    assert members == {("source/crawl", "slice/0"), ("source/shelf", "slice/0")}
    digests = {
        value
        for record in prov.get_records(ProvEntity)
        for key, value in record.attributes
        if key.localpart == "digest" and "slice/" in record.identifier.localpart
    }
    assert digests == {digest for mine in expected.values() for _, digest in mine}


def test_sources_of_many_slices_have_their_root_alone(
    run_folder: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_digests, "LISTED", 0)
    ran = gristmill("export", "prov", str(run_folder / "corpus"))
    document = ProvDocument.deserialize(content=ran.out, format="json")
    assert not ends(document, ProvMembership) and "slicesRoot" in ran.out
    line = gristmill("export", "openlineage", str(run_folder / "corpus")).out.splitlines()[0]
    assert all("files" not in one["facets"]["gristmill_source"] for one in json.loads(line)["inputs"])


def test_an_output_alone_says_nothing_of_ledgers_that_lie_elsewhere(
    run_folder: Path, gristmill: Command, tmp_path: Path
) -> None:
    shutil.copytree(run_folder / "bare", tmp_path / "alone/bare")
    ran = gristmill("export", "prov", "alone/bare")
    assert ran.code == 0 and "slicesRoot" not in ran.out, ran.err


def test_ledgers_of_other_slices_end_an_export(run_folder: Path, gristmill: Command, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "corpus", tmp_path / "corpus")
    ledger = next((tmp_path / "corpus/ledger").iterdir())
    table = pq.read_table(ledger)
    text = (pq.ParquetFile(ledger).metadata.metadata or {})[b"gristmill.log"].decode()
    digest = slices_of(run_folder / "corpus")["crawl"][0][1]
    changed = text.replace(digest, digest[::-1])
    pq.write_table(table.replace_schema_metadata({b"gristmill.log": changed.encode()}), ledger)
    ran = gristmill("export", "openlineage", "corpus")
    assert (ran.code, "name slices with other digests than its manifest" in ran.error) == (2, True), ran.err


FORMATS = [one.value for one in ExportFormat]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", [1, 3])
def test_an_output_of_another_format_is_refused_with_what_to_do(
    run_folder: Path, gristmill: Command, tmp_path: Path, form: str, number: int
) -> None:
    manifest = json.loads((run_folder / "corpus/manifest.json").read_text())
    (tmp_path / "old").mkdir()
    body = {**manifest, "predicate": {**manifest["predicate"], "format": number}}
    (tmp_path / "old/manifest.json").write_text(json.dumps(body))
    ran = gristmill("export", form, "old", "--output", "made")
    assert ran.code == 2 and not (tmp_path / "made").exists(), ran.err
    assert ran.error.startswith(f"error: old/manifest.json: format {number} of ")
    assert "this version reads format 2" in ran.error and "Restore" not in ran.error and ".." not in ran.error
    assert "Use the version of Gristmill that wrote it" in ran.error and "or repeat the run" in ran.error


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT or CC-BY-4.0", "MIT OR CC-BY-4.0"),
        ("LicenseRef-ours", "LicenseRef-ours"),
        ("free for research", None),
        ("MIT AND", None),
        ("", None),
        ("(" * 400, None),
        ("MIT " * 1000, None),
    ],
)
def test_only_spdx_expressions_are_taken_for_licences(stated: str, expected: str | None) -> None:
    facts = licence_facts(License(spdx=stated, stated_by="unknown"))
    assert facts.get("spdx") == expected
    assert facts.get("statement") == (None if expected else stated)


def test_what_is_no_output_of_this_format_is_refused(run_folder: Path, gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = gristmill("export", "prov", "empty")
    assert ran.code == 2
    assert "no manifest.json" in ran.error
    manifest = json.loads((run_folder / "corpus/manifest.json").read_text())
    for name, changed, told in (
        ("old", {"format": 1}, "format 1"),
        ("edited", {"name": "other"}, "digest does not match"),
    ):
        (tmp_path / name).mkdir()
        body = {**manifest, "predicate": {**manifest["predicate"], **changed}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(body))
        ran = gristmill("export", "openlineage", name)
        assert (ran.code, told in ran.error) == (2, True), ran.err
    folder = str(run_folder / "corpus")
    assert "duplicate" in gristmill("export", "prov", folder, folder).error
    assert gristmill("export", "prov", folder, "--output", "no/such/file").code not in (0, None)
