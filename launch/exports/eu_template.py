"""The fields of the European Commission's template for the public summary of training content.

The Explanatory Notice and Template for the Public Summary of Training Content for general-purpose AI models, required by
Article 53(1)(d) of Regulation (EU) 2024/1689: C(2025) 8311 final of 5 December 2025, after C(2025) 5235 of 24 July 2025.
"""

from __future__ import annotations

from gristmill.launch.exports.forms import Field

TEMPLATE = "C(2025) 8311 final, 5 December 2025"
SECTIONS = {
    "0": "This summary",
    "1.1": "Provider identification",
    "1.2": "Model identification",
    "1.3": "Modalities, overall training data size and other characteristics",
    "2.1": "Publicly available datasets",
    "2.2.1": "Datasets commercially licensed by rightsholders or their representatives",
    "2.2.2": "Private datasets obtained from other third parties",
    "2.3": "Data crawled and scraped from online sources",
    "2.4": "User data",
    "2.5": "Synthetic data",
    "2.6": "Other sources of data",
    "3.1": "Respect of reservation of rights from the text and data mining exception or limitation",
    "3.2": "Removal of illegal content",
    "3.3": "Other information",
}


def _of(section: str, category: str, *asked: tuple[str, str] | tuple[str, str, bool]) -> tuple[Field, ...]:
    """Fields that are asked only where data of a category were used (`when`)."""
    return tuple(
        Field(section, f"{category}.{item[0]}", item[1], len(item) > 2, None if item[0].endswith("used") else category)
        for item in asked
    )


COMMENTS = ("comments", "Additional comments", True)
MODALITIES = ("modalities", "Modalities of the content")
FIELDS = (
    Field("0", "summary.version", "Version of the summary"),
    Field("0", "summary.previous", "Links to previous versions", True),
    Field("0", "summary.last_update", "Last update"),
    Field("1.1", "provider.name", "Provider name and contact details"),
    Field("1.1", "provider.representative", "Authorised representative name and contact details"),
    Field("1.2", "model.versions", "Versioned model names"),
    Field("1.2", "model.dependencies", "Model dependencies"),
    Field("1.2", "model.placed_on_market", "Date of placement of the model on the Union market"),
    Field("1.3", "content.size", "Modality and training data size: text"),
    Field("1.3", "content.types", "Types of content: text"),
    Field("1.3", "content.other_modalities", "Image, audio, video and other: sizes and types of content, or none"),
    Field("1.3", "content.latest", "Latest date of data acquisition or collection"),
    Field("1.3", "content.continuous", "Is the model continuously trained on new data after this date"),
    Field("1.3", "content.languages", "Linguistic characteristics of the overall training data"),
    Field("1.3", "content.characteristics", "Other relevant characteristics of the overall training data"),
    Field("1.3", "content.comments", "Additional comments", True),
    *_of(
        "2.1",
        "public",
        ("used", "Were publicly available datasets used"),
        MODALITIES,
        ("large", "Large publicly available datasets"),
        ("small", "General description of other publicly available datasets"),
        COMMENTS,
    ),
    *_of(
        "2.2.1",
        "licensed",
        ("used", "Are there transactional commercial licensing agreements with rightsholders or their representatives"),
        MODALITIES,
    ),
    *_of(
        "2.2.2",
        "private",
        ("used", "Were private datasets obtained from third parties that are not licensed as in 2.2.1"),
        MODALITIES,
        ("known", "Private datasets that are publicly known"),
        ("description", "General description of private datasets that are not publicly known"),
        COMMENTS,
    ),
    *_of(
        "2.3",
        "crawled",
        ("used", "Were crawlers used by the provider or on its behalf"),
        ("names", "Crawler names or identifiers"),
        ("purposes", "Purposes of the crawlers"),
        ("behaviour", "General description of the crawlers' behaviour"),
        ("period", "Period of data collection"),
        ("description", "Comprehensive description of the type of content and online sources crawled"),
        MODALITIES,
        ("domains", "Summary of the most relevant domain names crawled"),
        COMMENTS,
    ),
    *_of(
        "2.4",
        "user",
        ("used", "Were data from user interactions with the AI model used"),
        ("services_used", "Were data from user interactions with the provider's other services or products used"),
        ("services", "General description of the services or products that collected the data"),
        MODALITIES,
        COMMENTS,
    ),
    *_of(
        "2.5",
        "synthetic",
        ("used", "Were synthetic AI-generated data created by the provider or on its behalf"),
        MODALITIES,
        ("models", "General-purpose AI models on the market that generated the data"),
        ("other_models", "Other AI models that generated the data"),
        COMMENTS,
    ),
    *_of(
        "2.6",
        "other",
        ("used", "Were other sources of data used"),
        ("description", "Narrative description of these sources and their data"),
        COMMENTS,
    ),
    Field("3.1", "rights.signatory", "Is the provider a signatory of the Code of Practice with these commitments"),
    Field("3.1", "rights.measures", "Measures to respect reservations of rights before and during data collection"),
    Field("3.1", "rights.comments", "Additional comments", True),
    Field("3.2", "illegal_content.measures", "Measures to avoid or remove illegal content"),
    Field("3.3", "processing.comments", "Other relevant information about data processing", True),
)
KEYS = frozenset(field.key for field in FIELDS)
"""Those of answers."""
