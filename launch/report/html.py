"""A run's report as one HTML file: from the manifest and the files of an output, or from the status of a run without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gristmill.launch.pages.markup import Child, Markup, fragment, tag
from gristmill.launch.pages.page import CHARTS, page
from gristmill.launch.report.collect import collect
from gristmill.launch.report.contents import Contents, section
from gristmill.launch.report.licences import sources
from gristmill.launch.report.repeats import duplicates, rebalancing
from gristmill.launch.report.sections import funnel, languages, machines, signals, toxicity
from gristmill.launch.report.top import audit_notice, empty_notice, header, notice, problems_notice, unfinished
from gristmill.pipeline.audit.open_files import what_a_run_wrote
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.running.status import RunStatus

SCRIPTS = (*CHARTS, "examples.js")
MOST_CONFIG = 200_000
"""Characters of a config that are shown."""
PARTS: Sequence[tuple[str, str, Callable[[Contents], Markup | None]]] = (
    ("funnel", "Funnel", funnel),
    ("languages", "Languages", languages),
    ("signals", "Signals", signals),
    ("duplicates", "Duplicates", duplicates),
    ("rebalancing", "Rebalancing", rebalancing),
    ("toxicity", "Toxicity", toxicity),
    ("licences", "Licences", sources),
    ("machines", "Machines", machines),
)


def report_page(folder: str, manifest: Predicate, audit: Mapping[str, Any] | None, beside: Sequence[str] = ()) -> str:
    """The report of a finished output.

    Args:
        audit: what `gristmill audit --json` says of it; None where nobody asked.
        beside: folders of other outputs of the run, which may hold its ledger.
    """
    contents = Contents(manifest, collect(folder, manifest, beside))
    made = [(key, name, _built(contents, folder, key, name, build)) for key, name, build in PARTS]
    made.append(("about", "About", _about(contents, folder)))
    shown = [(key, name, one) for key, name, one in made if one is not None]
    links = [tag("li", tag("a", name, href=f"#{key}")) for key, name, _ in shown]
    body = fragment(
        tag(
            "header",
            header(contents),
            audit_notice(audit, manifest.run),
            problems_notice(contents.facts.get("problems", ())),
            empty_notice(contents),
            class_="top wrap",
        ),
        tag("nav", tag("ul", *links, class_="wrap"), class_="bar", aria_label="Sections"),
        tag("main", *(one for _, _, one in shown), class_="wrap", id="main", tabindex=-1),
    )
    return _whole(f"{manifest.name}: report of {manifest.output}", body, contents.data())


def _built(
    contents: Contents, folder: str, key: str, name: str, build: Callable[[Contents], Markup | None]
) -> Markup | None:
    """A section, or a box in its place where a manifest says what no run writes: the others are still of use."""
    try:
        with what_a_run_wrote(folder):
            return build(contents)
    except GristmillError as error:
        return section(key, name, notice("bad", "This cannot be shown", tag("p", str(error)[:600])))


def damaged_page(folder: str, problem: str, audit: Mapping[str, Any] | None) -> str:
    """The report of an output whose manifest cannot be read: that, and what its audit found."""
    said = notice("bad", "The manifest cannot be read, so there is nothing else to show", tag("p", problem))
    body = tag("main", tag("h1", folder), said, audit_notice(audit, None), class_="wrap", id="main", tabindex=-1)
    return _whole(f"Report of {folder}", body, {})


def unfinished_page(folder: str, status: RunStatus) -> str:
    """The report of a run that has no output yet."""
    body = tag("main", unfinished(status, folder), class_="wrap", id="main", tabindex=-1)
    return _whole(f"{status.name}: a run that is not finished", body, {})


def _about(contents: Contents, folder: str) -> Markup:
    manifest, varies = contents.manifest, contents.manifest.varies
    facts = [
        ("folder", folder),
        ("run", manifest.run),
        ("manifest", varies.statement),
        ("seed", str(manifest.identity.seed)),
        ("command", " ".join(varies.command)),
        ("Python, platform", f"{varies.python}, {varies.platform}"),
        ("machine", varies.machine),
        ("tasks, files", f"{manifest.tasks:,}, {manifest.files.count:,}"),
    ]
    listed = [item for name, value in facts for item in (tag("dt", name), tag("dd", tag("code", value)))]
    return section(
        "about",
        "About this run",
        tag("dl", *listed, class_="facts"),
        tag("ul", *(tag("li", one) for one in manifest.notices[:50])) if manifest.notices else None,
        tag(
            "details",
            tag("summary", "The config, with overrides"),
            tag("pre", tag("code", varies.config[:MOST_CONFIG]), tabindex=0),
        ),
    )


def _whole(title: str, body: Child, data: Mapping[str, Any]) -> str:
    dialog = tag(
        "dialog",
        tag(
            "div",
            tag("div", tag("h2", "", tabindex=-1, id="examples-title"), tag("p", "", class_="says soft small")),
            tag("button", "Close", type="button", class_="plain close"),
            class_="head",
        ),
        tag("div", class_="list"),
        class_="examples",
        aria_labelledby="examples-title",
    )
    whole = fragment(
        tag("a", "Skip to the content", href="#main", class_="skip"),
        body,
        tag(
            "footer",
            tag("p", "Made by gristmill report. Nothing in this page is fetched from anywhere."),
            class_="end wrap",
        ),
        dialog,
    )
    return page(title, whole, scripts=SCRIPTS, data=data)
