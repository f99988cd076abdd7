"""The section of a report about sources and licences: what sources state, and what the output holds under each licence."""

from __future__ import annotations

from gristmill.launch.pages.charts import KEPT, OTHER, legend, opens, table
from gristmill.launch.pages.markup import Child, Markup, tag
from gristmill.launch.report.contents import Contents, missing, section
from gristmill.launch.report.figures import bars
from gristmill.launch.report.kind_tokens import of_kind, token_kind, with_tokens
from gristmill.launch.report.sections import MOST_LANGUAGES, MOST_ROWS
from gristmill.launch.terminal.numbers import count, share, size
from gristmill.pipeline.writing.share_tables import share_tables, unit_of


def sources(contents: Contents) -> Markup:
    """Sources with their licences, before and after, and shares of the output by licence, creator and source."""
    after = contents.facts.get("sources_after", {})
    total = sum(after.values())
    rows = []
    licences: dict[str, list[int]] = {}
    for name, one in sorted(contents.manifest.sources.items(), key=lambda item: -item[1].rows)[:MOST_ROWS]:
        licence = one.license.model_dump() if one.license else {}
        spdx = one.license.name if one.license and one.license.name != "unknown" else "not stated"
        key = contents.documents([f"source:{name}"], name, "Some documents of this source in this output.")
        told = [str(licence[part]) for part in ("stated_by", "evidence") if licence.get(part)]
        rows.append(
            [
                opens(key, name),
                one.format,
                one.snapshot or "–",
                spdx,
                "; ".join(told) or "–",
                count(one.rows),
                opens(
                    key, count(after.get(name, 0)), f"{count(after.get(name, 0))} documents of {name} in this output"
                ),
                share(after.get(name, 0), total),
            ]
        )
        sums = licences.setdefault(spdx, [0, 0])
        sums[0] += one.rows
        sums[1] += after.get(name, 0)
    read = sum(one[0] for one in licences.values())
    drawn = [
        {
            "label": name,
            "before": a / max(1, read),
            "after": b / max(1, total),
            "before_tip": f"{name}, read: {count(a)} documents",
            "after_tip": f"{name}, in this output: {count(b)} documents",
            "said": f"{share(a, read)} → {share(b, total)}",
        }
        for name, (a, b) in sorted(licences.items(), key=lambda one: -one[1][0])[:MOST_LANGUAGES]
    ]
    heads = ["source", "format", "snapshot", "licence", "stated by, evidence", "read", "in this output", "share"]
    return section(
        "licences",
        "Sources and licences",
        contents.chart(
            "Shares of licences before and after. The table below has the numbers.",
            bars(drawn, ("before", "after"), (OTHER, KEPT)),
            legend(("other", "documents read"), ("kept", "documents in this output")),
        )
        if len(drawn) > 1
        else None,
        table("Sources, as the config states them", heads, rows, left=[1, 2, 3, 4]),
        *_shares(contents),
    )


def _shares(contents: Contents) -> list[Child]:
    shares = contents.manifest.accounts.shares.get(contents.manifest.output)
    if shares is None:
        return [missing("No source states a licence, so shares by licence were not counted.")]
    unit, counted, kind = unit_of(shares), contents.facts.get("tokens"), token_kind(contents.manifest)
    if counted is not None and kind is not None:
        shares, unit = with_tokens(shares, counted), of_kind(kind)
    made: list[Child] = [
        tag("h3", "Shares of this output"),
        tag("p", f"Shares are {unit}. Copies count as often as they are written."),
    ]
    for one in share_tables(shares):
        rows = [
            [
                row.name,
                count(row.documents),
                size(row.bytes),
                "–" if row.tokens is None else count(row.tokens),
                f"{row.share:.2%}",
            ]
            for row in one.rows
        ]
        heads = [one.by, "documents", "text", "tokens", "share"]
        made += [missing(one.note)] if one.note else []
        made += [table(f"By {one.by}", heads, rows)] if rows else []
        made += [missing(f"{count(one.more)} more are in the manifest.")] if one.more else []
    return made
