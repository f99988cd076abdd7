"""The pages as they were written, one YAML file per language, checked when they are read; and the frames around copies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from gristmill.pipeline.errors import ConfigError, nearest

KINDS = frozenset(
    {
        "bilingual",
        "blog",
        "boilerplate",
        "code",
        "cookie_wall",
        "encyclopedic",
        "filler",
        "forum",
        "harmless_mention",
        "hate",
        "howto",
        "interview",
        "keyword_spam",
        "link_list",
        "mild_rudeness",
        "minutes",
        "mojibake",
        "news",
        "poem",
        "quoted_hate",
        "recipe",
        "review",
        "shop",
        "short_note",
        "table",
        "violence_harmless",
        "violent",
    }
)
"""What a page is."""

VERDICTS = frozenset({"keep", "drop_quality", "toxic", "mild"})
"""What a perfect filter does: keep the page, drop it for quality, or find it toxic, strongly or mildly."""

_REQUIRED = ("slug", "url", "kind", "verdict", "text")
_OPTIONAL = ("language", "trap")


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page that we wrote.

    `language` is FineWeb2's label (`deu_Latn`) or `und` where the text has none (mojibake). `home` is the
    label of the file that it stands in, which decides on the language of the frame that boilerplate copies
    get. `trap` says what the page tests and what is right; most pages are no traps.
    """

    slug: str
    url: str
    kind: str
    verdict: str
    text: str
    language: str
    home: str
    trap: str | None = None


@cache
def load_pages() -> tuple[Page, ...]:
    """All pages, by label and then in the order of their file.

    Raises
        ConfigError: a page lacks a field, has an unknown one, or repeats a slug; the message says where.
    """
    folder = resources.files(__package__) / "pages"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda f: f.name)
    if not files:
        raise ConfigError(f"No pages in {folder}: expected files such as eng_Latn.yaml. Reinstall gristmill.")
    pages: list[Page] = []
    seen: dict[str, str] = {}
    for file in files:
        label = file.name.removesuffix(".yaml")
        for number, entry in enumerate(yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)):
            page = _page(entry, label=label, where=f"{file.name}, page {number}")
            if page.slug in seen:
                raise ConfigError(
                    f"{file.name}: the slug {page.slug} is already used in {seen[page.slug]}; "
                    "give the page another one."
                )
            seen[page.slug] = file.name
            pages.append(page)
    return tuple(pages)


@cache
def load_frames() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Header lines and footer lines of invented sites, by the label of a page's file."""
    text = (resources.files(__package__) / "frames.yaml").read_text(encoding="utf-8")
    read = yaml.load(text, Loader=yaml.CSafeLoader)
    return {label: (tuple(frame["headers"]), tuple(frame["footers"])) for label, frame in read.items()}


def _page(entry: object, label: str, where: str) -> Page:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected a mapping of fields, found {type(entry).__name__}.")
    for name in entry:
        if name not in _REQUIRED + _OPTIONAL:
            raise ConfigError(f"{where}: unknown field `{name}`; {nearest(str(name), _REQUIRED + _OPTIONAL)}")
    for name in _REQUIRED:
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise ConfigError(f"{where}: `{name}` must be text that is not empty, found {entry.get(name)!r}.")
    for name, allowed in (("kind", KINDS), ("verdict", VERDICTS)):
        if entry[name] not in allowed:
            raise ConfigError(f"{where}: unknown {name} `{entry[name]}`; {nearest(entry[name], allowed)}")
    return Page(home=label, **{"language": label, **entry})
