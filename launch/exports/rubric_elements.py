"""The elements of the data-curation rubric, with what each asks for, and what can show that it is documented.

Bhardwaj, Gujral, Wu, Zogheib, Maharaj, Becker: Machine learning data practices through a data curation lens, FAccT 2024, arXiv
2405.02703. The elements are those of the rubric that its authors publish (justsustainabilitydesign.org, `Rubric.pdf` of
2024-10-10, which arXiv 2410.22473 uses too): 18, where the paper counts 19, since integrity is now part of authenticity. What
is asked is said in our words.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    "Rubric of Bhardwaj et al. as published on 2024-10-10 (18 elements); FAccT 2024, arXiv 2405.02703; arXiv 2410.22473"
)


@dataclass(frozen=True)
class Criterion:
    """One thing that a standard asks for.

    Attributes:
        asks: what.
        key: the answer that documents it.
        run: the name of a check of the run that documents it as well.
        when: the name of a check of the run without which it is not asked.
    """

    asks: str
    key: str | None = None
    run: str | None = None
    when: str | None = None


@dataclass(frozen=True)
class Element:
    """An element: what its minimum standard asks for, and its standard of excellence."""

    category: str
    name: str
    minimum: tuple[Criterion, ...]
    excellence: tuple[Criterion, ...]


C = Criterion
ELEMENTS = (
    Element(
        "Scope",
        "Context, purpose, motivation",
        (
            C("the problem domain", "motivations.domains"),
            C("which problems it addresses, and why they matter", "motivations.factors"),
            C("why existing datasets do not do", "curation.need"),
        ),
        (
            C("how its context bears on reuse", "curation.reuse_context"),
            C("the makers' awareness of social, political and historical context", "curation.social_context"),
        ),
    ),
    Element(
        "Scope",
        "Requirements",
        (
            C("how the problem was formulated", "curation.problem_formulation"),
            C("how the plan for the dataset came about", "curation.plan"),
        ),
        (C("which intrinsic biases the formulation brings", "curation.intrinsic_bias"),),
    ),
    Element(
        "Ethicality and reflexivity",
        "Ethicality",
        (
            C("how benefits outweigh harms of making it", "curation.proportionality"),
            C("informed consent, or that it is not about humans", "curation.consent"),
        ),
        (C("more than guidelines and checklists require", "curation.beyond_guidelines"),),
    ),
    Element(
        "Ethicality and reflexivity",
        "Domain knowledge & data practices",
        (C("which expertise and data skills making it took", "curation.expertise"),),
        (C("which expertise understanding and reusing it takes", "curation.expertise_for_reuse"),),
    ),
    Element(
        "Ethicality and reflexivity",
        "Context awareness",
        (C("a positionality statement", "curation.positionality"),),
        (C("a reflexive account of assumptions, methods and framings", "curation.reflexivity"),),
    ),
    Element(
        "Ethicality and reflexivity",
        "Environmental footprint",
        (
            C("the footprint in numbers", "curation.footprint"),
            C("what was measured and what was not", "curation.footprint_scope"),
        ),
        (
            C("a lifecycle assessment", "curation.footprint_lifecycle"),
            C("an assessment of design choices, with reasons", "curation.footprint_choices"),
        ),
    ),
    Element(
        "Data pipeline",
        "Data collection",
        (
            C("how data and metadata were collected", "collection.methods"),
            C("why they were collected from these sources", "curation.collection_reason"),
            C("how and why texts were synthesized", "curation.synthesis", when="synthesized"),
        ),
        (
            C("the criteria for selecting sources", "criteria.selection"),
            C("how they were defined and why chosen", "curation.source_criteria"),
            C("how the sources selected fare by them", "curation.source_evaluation"),
            C("biases and limits of the synthesis", "curation.synthesis_bias", when="synthesized"),
        ),
    ),
    Element(
        "Data pipeline",
        "Data processing",
        (C("how data were cleaned, transformed or dropped", run="processing"),),
        (
            C("how decisions about processing were made and why", "transformations.comparison"),
            C("what they may have done to the data", "transformations.risks"),
        ),
    ),
    Element(
        "Data pipeline",
        "Data annotation",
        (
            C("the process of annotation", "annotations.descriptions", run="annotation"),
            C(
                "how labels were made of the data, checked against it, or reused",
                "annotations.tasks",
                run="unlabelled",
            ),
        ),
        (
            C("which worldviews annotations represent", "curation.annotation_worldviews"),
            C("how robust labels are, and how disagreement was settled", "curation.annotation_robustness"),
        ),
    ),
    Element(
        "Data quality",
        "Suitability",
        (C("why it is right for its purpose", "use.suitable"),),
        (
            C("accuracy for the purpose", "curation.accuracy"),
            C("completeness for the purpose", "curation.completeness"),
            C("timeliness for the purpose", "curation.timeliness"),
            C("consistency for the purpose", "curation.consistency"),
        ),
    ),
    Element(
        "Data quality",
        "Representativeness",
        (
            C("the population", "curation.population"),
            C("how far the sampling represents it", "curation.representativeness"),
        ),
        (C("which extrinsic biases making and sampling bring", "curation.extrinsic_bias"),),
    ),
    Element(
        "Data quality",
        "Authenticity",
        (
            C("how identity and origin of all data were verified", "curation.origin_verified"),
            C("how the integrity of all data was verified", run="integrity"),
            C("what each step of processing took away or changed", run="processing"),
        ),
        (
            C("a persistent identifier", "curation.identifier"),
            C("its provenance", run="provenance"),
            C("how others verify its integrity", run="verification"),
        ),
    ),
    Element(
        "Data quality",
        "Reliability",
        (
            C("what each data element stands for", "examples.fields"),
            C("which steps made sure of it", "curation.reliability"),
        ),
        (C("how others verify what a data element stands for", "curation.reliability_verification"),),
    ),
    Element(
        "Data quality",
        "Structured documentation",
        (C("a context document of an established structure", run="structured"),),
        (C("one that leaves no mandatory item out", run="complete_card"),),
    ),
    Element(
        "Data management",
        "Findability",
        (C("a globally unique, persistent identifier (no mere URL)", "curation.identifier"),),
        (
            C("metadata", run="structured"),
            C("the searchable repository that has metadata and data", "curation.repository"),
        ),
    ),
    Element(
        "Data management",
        "Accessibility",
        (
            C("what is needed to read its content", run="readable"),
            C("how the identifier leads to metadata and data", "curation.identifier_resolves"),
        ),
        (
            C("the protocol", "curation.protocol"),
            C("how access is authenticated and authorized", "access.control"),
            C("metadata that stay when the data go", "curation.metadata_after_removal"),
        ),
    ),
    Element(
        "Data management",
        "Interoperability",
        (C("metadata and data that people and machines read", run="readable"),),
        (
            C("controlled vocabularies of metadata and data", run="vocabularies"),
            C("qualified references to other resources", "curation.references"),
        ),
    ),
    Element(
        "Data management",
        "Reusability",
        (
            C("where the data came from", "collection.sources", run="origin"),
            C("who collected them", "curation.collector", run="collector"),
            C("when they were collected", "curation.collected", run="collected"),
        ),
        (
            C("metadata and data described by standards of the domain", run="structured"),
            C("the licence", run="licences"),
            C("how it may be used", "use.uses"),
            C("further provenance", run="provenance"),
        ),
    ),
)
KEYS = frozenset(
    one.key for element in ELEMENTS for one in (*element.minimum, *element.excellence) if one.key is not None
)
"""Answers that it takes; those outside of the group `curation` are the Data Card's."""
