"""The public summary of training content: the Commission's template filled in from runs and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

from gristmill.launch.exports.answers import CATEGORIES, MAX_AGE_DAYS, Answers
from gristmill.launch.exports.eu_template import FIELDS, SECTIONS, TEMPLATE
from gristmill.launch.exports.finished import Finished, licence_facts
from gristmill.launch.exports.forms import Fact, Filled, Form
from gristmill.launch.exports.shard_totals import DomainTotals, Totals, asked_for, count_shards, domain_totals
from gristmill.launch.exports.withdrawals import withdrawals
from gristmill.launch.report.kind_tokens import shares_in_tokens
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.shares import Shares
from gristmill.pipeline.provenance.statement import ManifestNode
from gristmill.pipeline.writing.share_tables import share_tables, unit_of

Facts = dict[str, list[str]]
WriteDomains = Callable[[Iterator[tuple[str, int, int]]], None]
HEADINGS = {key: f"## {title}" if key == "0" else f"## {key} {title}" for key, title in SECTIONS.items()}
NOTE = f"Template: {TEMPLATE}. Drafted by Gristmill from runs and answers; a person must check it."
LARGE = 0.03
"""A publicly available dataset is large above this share of all of them."""
RANGES = (
    (10**9, "Less than 1 billion tokens"),
    (10**13, "1 billion to 10 trillion tokens"),
    (None, "More than 10 trillion tokens"),
)
ANNEX = "Annex: shares by licence, creator and source (not part of the template)"
LISTED = 100
"""Domains that stand in the summary itself; all of them are in the file of `--domains`."""
LANGUAGES_LISTED = 50
ON_RIGHTS = frozenset({"rights", "licence"})
ON_ILLEGAL = frozenset({"url_filter", "toxicity", "content_warning", "redact"})
GENERATING = frozenset({"rewrite"})
"""Stages by what the template asks: those that act on rights, those that may take out illegal content, those whose texts a
model wrote."""


def eu_summary(
    outputs: Sequence[Finished],
    answers: Answers,
    today: date,
    write_domains: WriteDomains | None = None,
    max_age_days: int = MAX_AGE_DAYS,
) -> Form:
    """Fills in the template for a model that is trained on some outputs.

    Args:
        outputs: what it is trained on.
        answers: what people know.
        today: the day of the last update, where the answers have none.
        write_domains: takes all domains that the template asks for, (domain, documents, bytes), largest first.
        max_age_days: how old an answer may be.

    Raises ConfigError for answers about sources that no run has and for answers that contradict each other, and what reading
    shards raises.
    """
    answers.check_sources({name for output in outputs for name in output.manifest.sources})
    totals = Totals()
    with domain_totals() as domains:
        for output in outputs:
            count_shards(output, _crawled(output, answers), totals, domains)
        facts, owed = _facts(outputs, answers, totals, domains, today)
        _domains(answers, totals, domains, facts, owed, write_domains)
    used = {category: _used(category, outputs, answers) for category in CATEGORIES}
    made = []
    for item in FIELDS:
        answer = answers.values.get(item.key)
        known = tuple(Fact(text) for text in facts.get(item.key, ()))
        asked = item.when is None or used[item.when] is True
        reason = owed.get(item.key)
        if reason is None and not known and answer is None and not item.optional:
            reason = f"answer `{item.key}`"
        stale = answers.stale(item.key, today, max_age_days)
        made.append(Filled(item, known, answer, answers.dates.get(item.key), reason if asked else None, stale, asked))
    old = answers.stale_sources(today, max_age_days)
    return Form("Public summary of training content", TEMPLATE, HEADINGS, NOTE, made, old, {ANNEX: _shares(outputs)})


def _shares(outputs: Sequence[Finished]) -> list[str]:
    """What all outputs together hold by licence, creator and source, as far as their runs counted it."""
    found = [(output, shares_in_tokens(output.folder, output.manifest)) for output in outputs]
    counted = [known for _, known in found if known is not None]
    lines = [
        f"{output.folder}: no source states a licence, so shares were not counted"
        for output, known in found
        if known is None
    ]
    if not counted:
        return lines
    whole = Shares()
    for shares, _ in counted:
        whole.add(shares)
    unit = unit_of(whole) if whole.uncounted else "in tokens, as each output counted them"
    unit = counted[0][1] if len({unit for _, unit in counted}) == 1 else unit
    lines.append(f"Shares are {unit}. Copies count as often as they are written.")
    for table in share_tables(whole):
        lines += [table.note] if table.note else []
        lines += [
            f"{table.by} {row.name}: {row.share:.2%}, {row.documents:,} documents, {row.bytes:,} bytes of text"
            + ("" if row.tokens is None else f", {row.tokens:,} tokens")
            for row in table.rows
        ]
        lines += [f"and {table.more:,} more {table.by}s"] if table.more else []
    return lines


def _crawled(output: Finished, answers: Answers) -> frozenset[str]:
    """The shards with documents that somebody crawled for the provider; one with rows of several sources counts if any did."""
    mine = {name for name in output.manifest.sources if answers.category(name) == "crawled"}
    return frozenset(path for path, source in output.shards.items() if source in mine or (not source and mine))


def _used(category: str, outputs: Sequence[Finished], answers: Answers) -> bool | None:
    """Whether data of a category were used: a source is of it, or people say so; None where nobody knows."""
    if any(answers.category(name) == category for output in outputs for name in output.manifest.sources):
        if answers.values.get(f"{category}.used", "yes").strip().lower() == "no":
            raise ConfigError(
                f"--answers: {category}.used says no, and a source has the category {category}. Correct one of the two."
            )
        return True
    if category == "synthetic" and any(node.use in GENERATING for output in outputs for node in output.manifest.nodes):
        return True
    keys = [f"{category}.used"] + (["user.services_used"] if category == "user" else [])
    said = [answers.values.get(key, "").strip().lower() for key in keys]
    if "yes" in said:
        return True
    return False if all(answer == "no" for answer in said) else None


def _facts(
    outputs: Sequence[Finished], answers: Answers, totals: Totals, domains: DomainTotals, today: date
) -> tuple[Facts, dict[str, str]]:
    facts: Facts = {}
    owed: dict[str, str] = {}
    if "summary.last_update" not in answers.values:
        facts["summary.last_update"] = [today.strftime("%d/%m/%y")]
    _sizes(outputs, totals, facts)
    if totals.languages:
        facts["content.languages"] = _languages(totals)
    if totals.latest is not None:
        facts["content.latest"] = [f"{totals.latest[5:7]}/{totals.latest[:4]} (latest `date` of a document)"]
    _sources(outputs, answers, facts)
    withdrawn = dict.fromkeys(fact.text for output in outputs for fact in withdrawals(output))
    facts["rights.measures"] = [*_measures(outputs, ON_RIGHTS), *withdrawn]
    facts["illegal_content.measures"] = list(_measures(outputs, ON_ILLEGAL))
    written = list(_measures(outputs, GENERATING))
    if written:
        facts.setdefault("synthetic.used", ["yes"])
        facts.setdefault("synthetic.other_models", []).extend(written)
    for category in ("crawled", "private", "other"):
        key = f"{category}.description"
        bare = [
            n for n, said in answers.sources.items() if said.get("category") == category and "description" not in said
        ]
        if bare and key not in answers.values:
            # A source's name and size are no description of it.
            owed[key] = f"answer `{key}`, or sources.{bare[0]}.description"
    unknown = sorted({n for output in outputs for n in output.manifest.sources if answers.category(n) is None})
    if unknown:
        named = ", ".join(f"sources.{name}.category" for name in unknown)
        for key in ("public.used", "licensed.used", "private.used", "crawled.used", "other.used"):
            if key not in answers.values and key not in facts:
                owed[key] = f"answer `{key}`, or what each source is: {named}"
    return facts, owed


def _sizes(outputs: Sequence[Finished], totals: Totals, facts: Facts) -> None:
    size = sum(output.text_bytes for output in outputs)
    documents = sum(output.manifest.data.rows for output in outputs)
    counted = [_kind_tokens(output) for output in outputs]
    tokens = sum(one for one in counted if one is not None) if None not in counted else totals.tokens
    lines = [f"{size:,} bytes of UTF-8 text in {documents:,} documents, after processing"]
    if tokens is not None:
        lines.insert(0, f"{_range(tokens)} ({tokens:,} tokens by the tokenizer of the run)")
    elif size < 10**9:
        # A token of a text stands for at least one byte of it.
        lines.insert(0, f"{RANGES[0][1]} (fewer bytes than that)")
    facts["content.size"] = lines


def _kind_tokens(output: Finished) -> int | None:
    """Tokens of an output, where it was also written as tokens."""
    settings = output.manifest.identity.outputs[output.manifest.output].kinds
    found = [
        totals.units
        for name, totals in output.manifest.kinds.items()
        if name in settings and settings[name].format in ("megatron", "datatrove")
    ]
    return found[0] if found else None


def _range(tokens: int) -> str:
    return next(name for limit, name in RANGES if limit is None or tokens < limit or (limit == 10**13 == tokens))


def _languages(totals: Totals) -> list[str]:
    whole = sum(size for _, size in totals.languages.values()) or 1
    ordered = sorted(totals.languages.items(), key=lambda item: (-item[1][1], item[0]))
    lines = [f"{name}: {size / whole:.2%} of bytes, {rows:,} documents" for name, (rows, size) in ordered]
    more = len(lines) - LANGUAGES_LISTED
    return lines[:LANGUAGES_LISTED] + ([f"and {more:,} more languages"] if more > 0 else [])


def _sources(outputs: Sequence[Finished], answers: Answers, facts: Facts) -> None:
    by_category: dict[str, list[tuple[str, int, str]]] = {}
    read: dict[tuple[str, str], bool] = {}
    for output in outputs:
        for name, source in output.manifest.sources.items():
            category = answers.category(name)
            if category is None or (output.manifest.run, name) in read:
                continue
            read[output.manifest.run, name] = True
            by_category.setdefault(category, []).append((name, source.text_bytes, _source_line(output, name, answers)))
    whole = sum(size for mine in by_category.values() for _, size, _ in mine) or 1
    for category, mine in by_category.items():
        facts[f"{category}.used"] = ["yes"]
        if any(field.key == f"{category}.modalities" for field in FIELDS):
            facts[f"{category}.modalities"] = ["Text"]
        all_of_it = sum(size for _, size, _ in mine)
        if category == "public":
            large = [line for _, size, line in mine if size > LARGE * all_of_it]
            small = [line for _, size, line in mine if size <= LARGE * all_of_it]
            facts["public.large"] = large or ["none"]
            facts["public.small"] = small or ["none"]
        elif category == "synthetic":
            share = f"{all_of_it / whole:.2%} of the text read is of synthetic sources"
            facts["synthetic.other_models"] = [share, *(line for _, _, line in mine)]
        elif category == "crawled":
            facts["crawled.description"] = [line for _, _, line in mine]
            days = [answers.sources[name].get(end) for name, _, _ in mine for end in ("from", "until")]
            if all(days):
                facts["crawled.period"] = [
                    f"{answers.sources[n]['from']} to {answers.sources[n]['until']}" for n, _, _ in mine
                ]
        elif any(field.key == f"{category}.description" for field in FIELDS):
            facts[f"{category}.description"] = [line for _, _, line in mine]


def _source_line(output: Finished, name: str, answers: Answers) -> str:
    source, said = output.manifest.sources[name], answers.sources.get(name, {})
    licence = licence_facts(source.license)
    parts = [
        said.get("name", name),
        said.get("link"),
        said.get("description"),
        source.snapshot and f"snapshot {source.snapshot}",
        f"{source.text_bytes:,} bytes of text read in {source.rows:,} documents",
        f"licence {licence['spdx']}" if "spdx" in licence else None,
        f"licence as stated: {licence['statement']}" if "statement" in licence else None,
        f"terms {licence['terms']}" if "terms" in licence else None,
        f"gathered by {licence['collector']}" if "collector" in licence else None,
        f"made by models: {licence['model_generated']}" if "model_generated" in licence else None,
        f"collected {said.get('from', '?')} to {said.get('until', '?')}" if {"from", "until"} & said.keys() else None,
    ]
    return "; ".join(part for part in parts if part)


def _domains(
    answers: Answers,
    totals: Totals,
    domains: DomainTotals,
    facts: Facts,
    owed: dict[str, str],
    write: WriteDomains | None,
) -> None:
    if "crawled.used" not in facts:
        return
    if totals.without_url:
        owed["crawled.domains"] = (
            f"{', '.join(totals.without_url)} has no column `url`, so that its domains are unknown. Write the output with it"
        )
        return
    count, size, without = domains.counts()
    wanted, covered = asked_for(count, answers.size or "other"), 0
    shown: list[tuple[str, int, int]] = []

    def passing() -> Iterator[tuple[str, int, int]]:
        nonlocal covered
        for row in domains.largest(wanted):
            covered += row[2]
            if len(shown) < LISTED:
                shown.append(row)
            yield row

    if write is None:
        for _ in passing():
            continue
    else:
        write(passing())
    share = "5 % of domains, at most 1,000" if answers.size == "sme" else "10 % of domains"
    facts["crawled.domains"] = [
        f"the largest {wanted:,} of {count:,} registrable domains by bytes of text kept ({share}), with "
        f"{covered / size if size else 0:.1%} of the bytes; {without:,} documents have no domain",
        *(f"{name}: {each:,} bytes, {rows:,} documents" for name, rows, each in shown),
        *([f"and {wanted - len(shown):,} more (`--domains FILE`)"] if wanted > len(shown) else []),
    ]
    if answers.size is None:
        owed["crawled.domains"] = (
            "answer `provider.size` (sme or other): until then the list for other providers is shown"
        )


def _measures(outputs: Sequence[Finished], uses: frozenset[str]) -> Iterator[str]:
    told = set()
    for output in outputs:
        for node in output.manifest.nodes:
            if node.use in uses and (output.manifest.run, node.name) not in told:
                told.add((output.manifest.run, node.name))
                yield _measure(node, output.manifest.accounts.nodes.get(node.name, NodeAccount()))


def _measure(node: ManifestNode, account: NodeAccount) -> str:
    rules = ", ".join(f"{name} {hits.first[0]:,}" for name, hits in sorted(account.rules.items()))
    models = ", ".join(f"{name} sha256:{digest[:16]}" for name, digest in sorted(node.models.items()))
    return (
        f"stage {node.use} (`{node.name}`): {account.entered.rows:,} documents seen, {account.dropped.rows:,} dropped, "
        f"{account.quarantined.rows:,} quarantined"
        + (f"; first by rule: {rules}" if rules else "")
        + (f"; models: {models}" if models else "")
    )
