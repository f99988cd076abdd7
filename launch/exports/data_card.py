"""A Data Card of an output: what its run knows, with where the output says so, what people answered, and what is owed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from gristmill.launch.exports.answers import MAX_AGE_DAYS, NONE, Answers
from gristmill.launch.exports.data_card_template import FIELDS, FROM_RUN, GATES, HEADINGS, TEMPLATE
from gristmill.launch.exports.finished import Finished, licence_facts, timestamp
from gristmill.launch.exports.forms import Fact, Filled, Form, evidence
from gristmill.launch.exports.shard_totals import Totals, count_shards
from gristmill.launch.exports.withdrawals import withdrawals
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.statement import ManifestNode
from gristmill.pipeline.writing.share_tables import share_tables, unit_of

Facts = dict[str, list[Fact]]
LISTED = 100
"""Lines of one kind (nodes, columns, sources, rules, languages) that a field shows; further ones are counted."""
SAMPLING = frozenset({"rebalance", "mix", "replicate", "quantiles"})
HANDLING = frozenset({"redact", "toxicity", "content_warning", "url_filter", "rights", "licence"})
WRITING = frozenset({"rewrite"})
"""Stages by field: those that draw or repeat documents, those that take sensitive or unwanted content out, those whose texts a
model wrote."""


OF_SOURCES = {"creators": "made by", "collector": "collected by", "language": "in"}
OF_LICENCES = {"attribution": "credit:", "conditions": "asks", "terms": "terms of service"}
"""What sources state of the rights in their texts, with the words before it, by the field where it stands."""


def data_card(output: Finished, answers: Answers, today: date, max_age_days: int = MAX_AGE_DAYS) -> Form:
    """Fills in a Data Card.

    Args:
        answers: what people know.
        today: the day from which ages of answers are counted.
        max_age_days: how old an answer may be.

    Raises ConfigError for answers about sources that the run has not and for a `none` that the run contradicts, and DataError
    for shards that cannot be read; they are, for languages, where the output has the columns `language` and `text`.
    """
    answers.check_sources(output.manifest.sources)
    facts = card_facts(output)
    described = all("description" in answers.sources.get(name, {}) for name in output.manifest.sources)
    for name, said in answers.sources.items():
        told = [said[key] for key in ("name", "link", "description") if key in said]
        told += (
            [f"collected {said.get('from', '?')} to {said.get('until', '?')}"] if {"from", "until"} & {*said} else []
        )
        if told:
            facts["collection.sources"].append(Fact(f"{name}: {'; '.join(told)}", f"--answers: sources.{name}"))
    closed = {group: gate for gate, groups in GATES.items() if _none(answers, gate) for group in groups}
    made = []
    for item in FIELDS:
        known, answer = tuple(facts.get(item.key, ())), answers.values.get(item.key)
        if known and item.key in GATES and _none(answers, item.key):
            raise ConfigError(f"--answers: {item.key} says none, but the run tells: {known[0].text:.200}. Correct it.")
        gate = closed.get(item.key.partition(".")[0], item.key)
        enough = (known and item.key in FROM_RUN) or (item.key == "collection.sources" and described)
        owed = gate == item.key and answer is None and not enough and not item.optional
        made.append(
            Filled(
                item,
                known,
                answer,
                answers.dates.get(item.key),
                f"answer `{item.key}`" if owed else None,
                answers.stale(item.key, today, max_age_days),
                gate == item.key or answer is not None,
            )
        )
    note = (
        f"Sections of a Data Card ({TEMPLATE}), of the output whose manifest has the digest `{output.manifest.digest}`. Lines "
        "that end in a place are what the run recorded there; the others are people's answers. A person must check it."
    )
    title = f"Data Card: {output.manifest.name}: {output.manifest.output}"
    return Form(title, TEMPLATE, HEADINGS, note, made, answers.stale_sources(today, max_age_days))


def _none(answers: Answers, key: str) -> bool:
    return answers.values.get(key, "").strip().lower() in NONE


def card_facts(output: Finished) -> Facts:
    """What the run tells, by field."""
    manifest = output.manifest
    data, nodes = manifest.data, manifest.nodes
    places = {node.name: evidence("nodes", str(number)) for number, node in enumerate(nodes)}
    rows = f"{data.rows:,} documents in {data.files:,} Parquet files of {data.bytes:,} bytes"
    read = sum(source.rows for source in manifest.sources.values())
    size = Fact(f"{output.text_bytes:,} bytes of UTF-8 text, copies counted", evidence("accounts", "outputs"))
    facts: Facts = {
        "dataset.summary": [
            Fact(
                f"{data.rows:,} documents, made by Gristmill from {read:,} documents of {len(manifest.sources):,} sources",
                evidence("sources"),
            )
        ],
        "overview.snapshot": [
            Fact(rows, evidence("data")),
            size,
            Fact(f"{len(data.columns):,} fields", evidence("data", "columns")),
        ],
        "overview.statistics": [
            Fact(f"{output.text_bytes / max(data.rows, 1):,.0f} bytes of text per document in the mean", size.evidence),
            *(
                Fact(f"{totals.units:,} units written as `{name}`", evidence("kinds", name))
                for name, totals in manifest.kinds.items()
            ),
        ],
        "maintenance.version": [
            Fact(f"run {manifest.run}", evidence("run")),
            Fact(f"written {timestamp(output.ended)}", evidence("varies", "written")),
            Fact(f"version {manifest.varies.chain.sequence} of its chain", evidence("varies", "chain")),
        ],
        "examples.modality": [Fact("Text Data", evidence("data", "columns"))],
        "examples.fields": list(_columns(output)),
        "access.documentation": [
            Fact("README.md (dataset card) and croissant.json (metadata) lie in the output", "manifest.json#/subject")
        ],
        "access.policies": list(_licences(output)),
        "collection.methodology": [
            Fact(f"{name}: read from {one.files:,} files, format {one.format}", evidence("sources", name))
            for name, one in manifest.sources.items()
        ],
        "collection.sources": list(_sources(output)),
        "collection.processing": [_node(output, node) for node in nodes],
        "criteria.selection": [
            Fact(
                f"{name}: a sample of its files, a share of {share:g}", evidence("identity", "sources", name, "config")
            )
            for name, one in manifest.identity.sources.items()
            if isinstance(config := one.get("config"), dict) and isinstance(share := config.get("sample"), float | int)
        ],
        "criteria.exclusion": list(_rules(output)),
        "ml.splits": [Fact(f"train: {data.rows:,} documents; there is no other split", "README.md")],
        "transformations.applied": [Fact(f"{node.name}: stage `{node.use}`", places[node.name]) for node in nodes],
        "transformations.fields": list(_fields(output, places)),
        "transformations.methods": [
            Fact(
                f"{node.name}: stage `{node.use}` of version {node.version}, fingerprint {node.fingerprint}{_models(node)}",
                places[node.name],
            )
            for node in nodes
        ],
        "transformations.breakdown": [_node(output, node) for node in nodes],
        "annotations.workforce": [
            Fact(f"Machine: {node.name} (stage `{node.use}`){_models(node)}", places[node.name])
            for node in nodes
            if node.models
        ],
        "annotations.characteristics": [
            Fact(
                f"{node.name}: {_account(output, node).entered.rows:,} documents seen",
                evidence("accounts", "nodes", node.name),
            )
            for node in nodes
            if node.models
        ],
        "validation.methods": [
            Fact(
                "Consistency: at every node documents in = dropped + quarantined + emitted, as counts and as sums of keys, or "
                "the run stops",
                evidence("accounts", "nodes"),
            ),
            Fact("Integrity: what was stored was read back and compared; roots of digests", evidence("files")),
        ],
        "validation.breakdown": [Fact(f"{read:,} documents at {len(nodes):,} nodes", evidence("accounts", "nodes"))],
        "overview.subjects": [*_of(output, WRITING), *_written(output)],
        "deletion.event": list(withdrawals(output)),
        "sensitivity.handling": _of(output, HANDLING),
        "sampling.methods": _of(output, SAMPLING),
    }
    for by, fact in _shares(output):
        facts["access.policies" if by == "licence" else "overview.statistics"].append(fact)
    _languages(output, facts)
    return {key: _bounded(lines) for key, lines in facts.items()}


def _bounded(lines: list[Fact]) -> list[Fact]:
    more = len(lines) - LISTED
    return lines[:LISTED] + ([Fact(f"and {more:,} more", lines[LISTED].evidence)] if more > 0 else [])


def _account(output: Finished, node: ManifestNode) -> NodeAccount:
    return output.manifest.accounts.nodes.get(node.name, NodeAccount())


def _node(output: Finished, node: ManifestNode) -> Fact:
    account = _account(output, node)
    return Fact(
        f"{node.name} (stage `{node.use}`): {account.entered.rows:,} documents in, {account.dropped.rows:,} dropped, "
        f"{account.quarantined.rows:,} quarantined, {account.kept.rows:,} kept",
        evidence("accounts", "nodes", node.name),
    )


def _of(output: Finished, uses: Iterable[str]) -> list[Fact]:
    return [_node(output, node) for node in output.manifest.nodes if node.use in uses]


def _models(node: ManifestNode) -> str:
    found = ", ".join(f"{name} sha256:{digest}" for name, digest in sorted(node.models.items()))
    return f", models {found}" if found else ""


def _columns(output: Finished) -> Iterator[Fact]:
    made = {name: node.name for node in output.manifest.nodes for name in node.columns}
    for name, kind in output.manifest.data.columns.items():
        by = f", made by node {made[name]}" if name in made else ""
        yield Fact(f"{name}: {kind}{by}", evidence("data", "columns", name))


def _fields(output: Finished, places: Mapping[str, str]) -> Iterator[Fact]:
    for node in output.manifest.nodes:
        names = ", ".join(node.columns)
        told = [f"adds {names}"] if names else []
        told += [f"text {node.text}"] if node.text else []
        if told:
            yield Fact(f"{node.name}: {'; '.join(told)}", places[node.name])


def _sources(output: Finished) -> Iterator[Fact]:
    for name, one in output.manifest.sources.items():
        known = licence_facts(one.license)
        told = [f"snapshot {one.snapshot}"] if one.snapshot else []
        told += [f"{label} {known[fact]}" for fact, label in OF_SOURCES.items() if fact in known]
        told += [f"{one.rejects:,} records could not be read"]
        yield Fact(
            f"{name}: {one.rows:,} documents, {one.text_bytes:,} bytes of text read; {'; '.join(told)}",
            evidence("sources", name),
        )


def _licences(output: Finished) -> Iterator[Fact]:
    for name, one in output.manifest.sources.items():
        known = licence_facts(one.license)
        stated = known.get("spdx") or known.get("statement")
        told = ["no licence is stated"]
        if stated:
            told = [f"licence {stated}, stated by {known['stated_by']}"]
            told.append(f"evidence {known['evidence']}" if "evidence" in known else "without evidence")
        told += [f"{label} {known[fact]}" for fact, label in OF_LICENCES.items() if fact in known]
        yield Fact(f"{name}: {'; '.join(told)}", evidence("sources", name, "license"))


def _shares(output: Finished) -> Iterator[tuple[str, Fact]]:
    """Shares of what the output holds, with what they are by: licence, creator or source."""
    shares = output.manifest.accounts.shares.get(output.manifest.output)
    if shares is None:
        return
    for table in share_tables(shares):
        place = evidence("accounts", "shares", output.manifest.output, f"{table.by}s")
        yield table.by, Fact(f"Shares by {table.by}, {unit_of(shares)}. {table.note}".strip(), place)
        for row in table.rows:
            yield table.by, Fact(f"{row.name}: {row.share:.2%}, {row.documents:,} documents", place)
        if table.more:
            yield table.by, Fact(f"{table.more:,} more {table.by}s", place)


def _rules(output: Finished) -> Iterator[Fact]:
    accounts = output.manifest.accounts.nodes
    for name in (*output.manifest.sources, *(node.name for node in output.manifest.nodes)):
        for rule, hits in sorted(accounts.get(name, NodeAccount()).rules.items()):
            yield Fact(
                f"{name}: {rule}: {hits.first[0]:,} documents", evidence("accounts", "nodes", name, "rules", rule)
            )


def _written(output: Finished) -> Iterator[Fact]:
    for name, source in output.manifest.sources.items():
        models = licence_facts(source.license).get("model_generated")
        if models and models != "none":
            yield Fact(
                f"Synthetically generated data: {name}, by {models}",
                evidence("sources", name, "license", "model_generated"),
            )


def _languages(output: Finished, facts: Facts) -> None:
    data = output.manifest.data
    if not {"language", "text"} <= data.columns.keys():
        return
    totals = Totals()
    count_shards(output, frozenset(), totals, None)
    whole = sum(size for _, size in totals.languages.values()) or 1
    ordered = sorted(totals.languages.items(), key=lambda item: (-item[1][1], item[0]))
    lines = [
        Fact(f"{name}: {rows:,} documents, {size / whole:.2%} of the bytes of text", "data/: column language")
        for name, (rows, size) in ordered
    ]
    facts["overview.statistics"] += lines
    facts["ml.distributions"] = lines
