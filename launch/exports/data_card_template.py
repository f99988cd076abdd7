"""The sections and fields of a Data Card, as the Data Cards Playbook's template has them.

Pushkarna, Zaldivar, Kjartansson: Data Cards, FAccT 2022, arXiv 2204.01075; the template is `DataCardsExtendedTemplate.md` of
PAIR-code/datacardsplaybook, commit 9c6545b of 2023-02-22. Its breakdown of transformations, six fields for each of seven kinds,
is here one of nodes; links and notes beside a field go into its answer.
"""

from __future__ import annotations

from gristmill.launch.exports.forms import Field

TEMPLATE = "Data Cards Playbook, DataCardsExtendedTemplate of 2023-02-22 (commit 9c6545b); arXiv 2204.01075"
RUN, OPTIONAL = "run", "optional"
_Asked = tuple[str, str] | tuple[str, str, str]
_SECTIONS: tuple[tuple[str, str, str, tuple[_Asked, ...]], ...] = (
    # section, subsection, group of keys, (key, label, what a run fills in without people or is optional)
    ("Summary", "", "dataset", (
        ("summary", "Summary"), ("link", "Dataset Link"), ("card_authors", "Data Card Author(s)"))),
    ("Authorship", "Publishers", "publisher", (
        ("organizations", "Publishing Organization(s)"), ("industry", "Industry Type(s)"), ("contact", "Contact Detail(s)"))),
    ("Authorship", "Dataset Owners", "owners", (
        ("teams", "Team(s)"), ("contact", "Contact Detail(s)"), ("authors", "Author(s)"))),
    ("Authorship", "Funding Sources", "funding", (
        ("institutions", "Institution(s)"), ("summary", "Funding or Grant Summary(ies)"))),
    ("Dataset Overview", "", "overview", (
        ("subjects", "Data Subject(s)"), ("snapshot", "Dataset Snapshot", RUN), ("content", "Content Description"),
        ("statistics", "Descriptive Statistics", RUN))),
    ("Dataset Overview", "Sensitivity of Data", "sensitivity", (
        ("types", "Sensitivity Type(s)"), ("fields", "Field(s) with Sensitive Data"),
        ("handling", "Security and Privacy Handling"), ("risks", "Risk Type(s)"),
        ("links", "Supplemental Link(s)", OPTIONAL), ("mitigations", "Risk(s) and Mitigation(s)"))),
    ("Dataset Overview", "Dataset Version and Maintenance", "maintenance", (
        ("status", "Maintenance Status"), ("version", "Version Details", RUN), ("plan", "Maintenance Plan"),
        ("next_update", "Next Planned Update(s)"), ("changes", "Expected Change(s)"))),
    ("Example of Data Points", "", "examples", (
        ("modality", "Primary Data Modality", RUN), ("links", "Sampling of Data Points"), ("fields", "Data Fields"),
        ("typical", "Typical Data Point"), ("atypical", "Atypical Data Point"))),
    ("Motivations & Intentions", "Motivations", "motivations", (
        ("purposes", "Purpose(s)"), ("domains", "Domain(s) of Application"), ("factors", "Motivating Factor(s)"))),
    ("Motivations & Intentions", "Intended Use", "use", (
        ("uses", "Dataset Use(s)"), ("suitable", "Suitable Use Case(s)"), ("unsuitable", "Unsuitable Use Case(s)"),
        ("problem_space", "Research and Problem Space(s)"), ("citation", "Citation Guidelines"))),
    ("Access, Retention, & Wipeout", "Access", "access", (
        ("type", "Access Type"), ("documentation", "Documentation Link(s)", RUN), ("prerequisites", "Prerequisite(s)"),
        ("policies", "Policy Link(s)"), ("control", "Access Control List(s)"))),
    ("Access, Retention, & Wipeout", "Retention", "retention", (
        ("duration", "Duration"), ("policy", "Policy Summary"), ("process", "Process Guide"),
        ("exceptions", "Exception(s) and Exemption(s)"))),
    ("Access, Retention, & Wipeout", "Wipeout and Deletion", "deletion", (
        ("duration", "Duration"), ("event", "Deletion Event Summary"), ("means", "Acceptable Means of Deletion"),
        ("obligations", "Post-Deletion Obligations"), ("requirements", "Operational Requirement(s)"),
        ("exceptions", "Exceptions and Exemptions"))),
    ("Provenance", "Collection", "collection", (
        ("methods", "Method(s) Used"), ("methodology", "Methodology Detail(s)"), ("sources", "Source Description(s)"),
        ("cadence", "Collection Cadence"), ("integration", "Data Integration"), ("processing", "Data Processing", RUN))),
    ("Provenance", "Collection Criteria", "criteria", (
        ("selection", "Data Selection"), ("inclusion", "Data Inclusion"), ("exclusion", "Data Exclusion", RUN))),
    ("Provenance", "Relationship to Source", "relation", (
        ("use", "Use & Utility(ies)"), ("benefit", "Benefit and Value(s)"), ("limitations", "Limitation(s) and Trade-Off(s)"))),
    ("Provenance", "Version and Maintenance", "versions", (
        ("first", "First Version"), ("caveats", "Note(s) and Caveat(s)"), ("cadence", "Cadence"),
        ("updates", "Last and Next Update(s)"), ("changes", "Changes on Update(s)"))),
    ("Human and Other Sensitive Attributes", "", "human", (
        ("attributes", "Sensitive Human Attribute(s)"), ("intentionality", "Intentionality"), ("rationale", "Rationale"),
        ("sources", "Source(s)"), ("methodology", "Methodology Detail(s)"), ("distributions", "Distribution(s)"),
        ("correlations", "Known Correlations"), ("risks", "Risk(s) and Mitigation(s)"))),
    ("Extended Use", "Use with Other Data", "other_data", (
        ("safety", "Safety Level"), ("safe", "Known Safe Dataset(s) or Data Type(s)"), ("practices", "Best Practices"),
        ("unsafe", "Known Unsafe Dataset(s) or Data Type(s)"), ("limitations", "Limitation(s) and Recommendation(s)"))),
    ("Extended Use", "Forking & Sampling", "forking", (
        ("safety", "Safety Level"), ("methods", "Acceptable Sampling Method(s)"), ("practices", "Best Practice(s)"),
        ("risks", "Risk(s) and Mitigation(s)"), ("limitations", "Limitation(s) and Recommendation(s)"))),
    ("Extended Use", "Use in ML or AI Systems", "ml", (
        ("uses", "Dataset Use(s)"), ("features", "Notable Feature(s)"), ("guidelines", "Usage Guideline(s)"),
        ("distributions", "Distribution(s)"), ("correlations", "Known Correlation(s)"),
        ("splits", "Split Statistics", RUN))),
    ("Transformations", "Synopsis", "transformations", (
        ("applied", "Transformation(s) Applied", RUN), ("fields", "Field(s) Transformed", RUN),
        ("methods", "Library(ies) and Method(s) Used", RUN))),
    ("Transformations", "Breakdown of Transformations", "transformations", (
        ("breakdown", "By node", RUN), ("comparison", "Comparative Summary"), ("risks", "Residual & Other Risk(s)"),
        ("oversight", "Human Oversight Measure(s)"), ("considerations", "Additional Considerations"))),
    ("Annotations & Labeling", "", "annotations", (
        ("workforce", "Annotation Workforce Type", RUN), ("characteristics", "Annotation Characteristic(s)", RUN),
        ("descriptions", "Annotation Description(s)"), ("distributions", "Annotation Distribution(s)"),
        ("tasks", "Annotation Task(s)"))),
    ("Annotations & Labeling", "Human Annotators", "annotators", (
        ("descriptions", "Annotator Description(s)"), ("tasks", "Annotator Task(s)"), ("languages", "Language(s)"),
        ("locations", "Location(s)"), ("genders", "Gender(s)"))),
    ("Validation Types", "", "validation", (
        ("methods", "Method(s)", RUN), ("breakdown", "Breakdown(s)", RUN), ("description", "Description(s)"))),
    ("Validation Types", "Description of Human Validators", "validators", (
        ("characteristics", "Characteristic(s)"), ("descriptions", "Description(s)"), ("languages", "Language(s)"),
        ("locations", "Location(s)"), ("genders", "Gender(s)"))),
    ("Sampling Methods", "", "sampling", (
        ("methods", "Method(s) Used", RUN), ("characteristics", "Characteristic(s)"), ("criteria", "Sampling Criteria"))),
    ("Known Applications & Benchmarks", "", "applications", (
        ("ml", "ML Application(s)"), ("results", "Evaluation Result(s)"), ("processes", "Evaluation Process(es)"),
        ("statistics", "Description(s) and Statistic(s)"), ("caveats", "Expected Performance and Known Caveats"))),
    ("Terms of Art", "", "terms", (
        ("definitions", "Concepts and Definitions referenced in this Data Card", OPTIONAL),)),
    ("Reflections on Data", "", "reflections", (("notes", "Reflections", OPTIONAL),)),
)  # fmt: skip
GATES = {
    f"{group}.{first}": tuple(closed)
    for group, first, closed in (
        ("versions", "first", ("versions",)),
        ("human", "attributes", ("human",)),
        ("annotations", "workforce", ("annotations", "annotators")),
        ("annotators", "descriptions", ("annotators",)),
        ("validation", "methods", ("validation", "validators")),
        ("validators", "characteristics", ("validators",)),
        ("sampling", "methods", ("sampling",)),
        ("applications", "ml", ("applications",)),
    )
}
"""By field, the groups of which the template asks the rest only where the answer to it is not `none` or `no`."""


def _section(name: str, sub: str) -> str:
    return f"{name}, {sub}" if sub else name


FIELDS = tuple(
    Field(
        _section(name, sub),
        f"{group}.{one[0]}",
        one[1],
        OPTIONAL in one[2:],
    )
    for name, sub, group, asked in _SECTIONS
    for one in asked
)
FROM_RUN = frozenset(f"{group}.{one[0]}" for _, _, group, asked in _SECTIONS for one in asked if RUN in one[2:])
"""Keys of fields that are filled in where a run tells of them; what a run tells of others is beside what people owe."""
HEADINGS = {
    _section(name, sub): (f"## {name}" if sub == "" else f"### {sub}")
    if index and _SECTIONS[index - 1][0] == name
    else f"## {name}" + (f"\n\n### {sub}" if sub else "")
    for index, (name, sub, _, _) in enumerate(_SECTIONS)
}
KEYS = frozenset(field.key for field in FIELDS)
"""Those of answers."""
