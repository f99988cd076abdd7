"""What is known of the rights in texts: the licence, who states it on what evidence, and the facts that go with it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

Condition = Literal["attribution", "share-alike", "non-commercial", "academic-only", "no-derivatives"]
Words = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,4}$")]
MAX_ENTRIES = 100
"""Entries of a list, such as creators: it is written into the footer of every shard."""
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_ENTRIES)]
UNNAMED_MODEL = "unnamed model"
"""What `model_generated: true` stands for."""
OF_THE_LICENCE = ("attribution", "conditions", "terms")
OF_THE_TEXTS = ("creators", "collector", "language", "model_generated")
FACTS = (*OF_THE_LICENCE, *OF_THE_TEXTS)
"""What may be known beside the licence: what goes with it, and what is so whatever the licence."""


class License(BaseModel):
    """What is known about a source's licence, and who says so."""

    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"statement", *FACTS})
    """Fields that are stored only where they are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    spdx: str | None = Field(default=None, examples=["CC-BY-4.0"])
    """SPDX licence expression, or `LicenseRef-…` for what SPDX has no name for. A licence in words goes under `statement`."""
    stated_by: Literal["author", "distributor", "collector", "unknown"] = Field("unknown", examples=["distributor"])
    """Who says so: who wrote the texts, who published them, or who gathered them."""
    evidence: str | None = Field(default=None, examples=["https://example.org/license"])
    """Where it is stated: a URL or a file. `gristmill audit` lists the sources without."""
    statement: Words | None = Field(default=None, examples=["free for research, ask first"])
    """The licence in words, where it has no SPDX name."""
    attribution: Words | None = Field(default=None, examples=["Wikipedia contributors, https://en.wikipedia.org"])
    """How to credit, as the licensor wants it."""
    conditions: tuple[Condition, ...] | None = Field(
        default=None, max_length=5, examples=[["attribution", "share-alike"]]
    )
    """What the licence asks; an empty list: nothing."""
    creators: Names | None = Field(default=None, examples=[["Wikimedia Foundation"]])
    """Organisations or persons that made the texts or compiled them."""
    terms: Words | None = Field(default=None, examples=["https://example.org/terms-of-service"])
    """Terms of service under which the texts were got: a URL or a file."""
    collector: Name | None = Field(default=None, examples=["Common Crawl Foundation"])
    """Who gathered the texts."""
    language: tuple[Language, ...] | None = Field(default=None, max_length=MAX_ENTRIES, examples=[["eng_Latn", "de"]])
    """Languages as the source states them: BCP 47 tags or label pairs."""
    model_generated: bool | Names | None = Field(default=None, examples=[False])
    """Whether a model made the texts; a list names the models, and an empty one says no."""

    @field_validator("model_generated", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return (UNNAMED_MODEL,) if value else ()
        if value is None:
            return None
        if not (isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)):
            raise ValueError("expected true, false or a list of names of models")
        return tuple(value)

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        made: dict[str, Any] = handler(self)
        kept = {name: value for name, value in made.items() if value is not None or name not in self.OPTIONAL}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @property
    def name(self) -> str:
        """The licence in a word or some: as it is stated, or `unknown`."""
        return self.spdx or self.statement or "unknown"
