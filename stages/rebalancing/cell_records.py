"""What a mix's report keeps of its cells, so that other budgets can be tried on them later: written, read, regrouped.

A group's cells are few where weights come from a rebalancer, and many where they are scores; the report has at most
MOST_ROWS for each of the MOST_GROUPS largest groups, and FEW_ROWS for the others. Cells that share a row are one cell with
their mean weight and times seen: sums are kept, and how many cells there were is on record (`cells`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.values import described
from gristmill.stages.labels.groups import label
from gristmill.stages.rebalancing.budgets import SEPARATOR
from gristmill.stages.rebalancing.cells import Cells

MOST_ROWS, MOST_GROUPS, FEW_ROWS = 200, 100, 2
MOST_READ = 1 << 20
"""Groups of a record that are read, and its rows: more than a report ever has, and little to hold."""
_Whole = Annotated[int, Field(ge=0, lt=1 << 62, strict=True)]
_Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_STORED = ConfigDict(extra="ignore", frozen=True)


class GroupRecord(BaseModel):
    """The cells of one group, as columns of equal length.

    Attributes:
        name: the values of the columns `by`; or one name made of them.
        cells: how many cells there were; more than there are rows where rows stand for several.
        largest: the largest amount of a document.
        weight, seen, documents, amount: as in `Cells`.
    """

    model_config = _STORED
    name: list[str] = Field(min_length=1, max_length=64)
    cells: _Whole
    largest: _Whole
    weight: list[_Weight] = Field(min_length=1, max_length=MOST_READ)
    seen: list[_Whole]
    documents: list[_Whole]
    amount: list[_Whole]

    @model_validator(mode="after")
    def _of_one_length(self) -> GroupRecord:
        lengths = {len(column) for column in (self.weight, self.seen, self.documents, self.amount)}
        if len(lengths) != 1 or self.cells < max(lengths):
            raise ValueError("weight, seen, documents and amount need equal lengths, and no more rows than cells")
        return self


class CellRecord(BaseModel):
    """The cells of all groups of a mix: `by` are the columns of the groups, `unit` names what amounts count."""

    model_config = _STORED
    by: list[str] = Field(max_length=64)
    unit: str
    groups: list[GroupRecord] = Field(max_length=MOST_READ)


@dataclass(frozen=True)
class Regrouped:
    """Cells by the groups of another mix.

    Attributes:
        groups: the cells, by names as `solve_budgets` takes them.
        coarse: how many groups have rows that stand for several cells.
    """

    groups: dict[str, Cells]
    coarse: int


def cell_record(groups: Mapping[str, Cells], by: Sequence[str], unit: str) -> dict[str, Any]:
    """The cells as JSON values; see the module's docstring."""
    largest = sorted(groups, key=lambda name: (-int(groups[name].amount.sum()), name))
    rows = {name: MOST_ROWS if place < MOST_GROUPS else FEW_ROWS for place, name in enumerate(largest)}
    return {
        "by": list(by),
        "unit": unit,
        "groups": [
            {
                "name": name.split(SEPARATOR),
                "cells": len(groups[name].weight),
                "largest": groups[name].largest,
                **{column: values.tolist() for column, values in _columns(groups[name], rows[name]).items()},
            }
            for name in sorted(groups)
        ],
    }


def _columns(cells: Cells, rows: int) -> dict[str, np.ndarray]:
    """Weight, seen, documents and amount in at most so many rows. What earns nothing keeps a row of its own."""
    columns = {"weight": cells.weight, "seen": cells.seen, "documents": cells.documents, "amount": cells.amount}
    if len(cells.weight) <= rows:
        return columns
    size = np.maximum(cells.amount, 1).astype(np.float64)
    some = cells.weight > 0
    before = np.cumsum(np.where(some, size, 0.0))
    parts = np.minimum(rows - 2, (before - size) * (rows - 1) / max(1.0, float(before[-1])))
    _, code = np.unique(np.where(some, parts.astype(np.int64), -1), return_inverse=True)
    # `bincount` adds from first to last: the same sums on every machine.
    whole = np.bincount(code, size)
    found = {
        "weight": np.bincount(code, cells.weight * size) / whole,
        "seen": np.rint(np.bincount(code, cells.seen * size) / whole).astype(np.int64),
    }
    for name in ("documents", "amount"):
        total = np.zeros(len(whole), np.int64)
        np.add.at(total, code, columns[name])
        found[name] = total
    return found


def read_cells(record: Any, where: str) -> CellRecord:
    """A record out of a manifest. Raises DataError naming `where` when it is none."""
    try:
        found = CellRecord.model_validate(record)
    except ValidationError as error:
        raise DataError(
            f"{where}: these are not the counts that a `mix` reports ({described(error)[0]}). Restore the manifest, or repeat "
            "the run."
        ) from error
    names = [tuple(group.name) for group in found.groups]
    if len(set(names)) != len(names) or any(len(name) not in (1, len(found.by)) for name in names):
        raise DataError(
            f"{where}: a group occurs twice, or has other values than of {', '.join(found.by) or 'no column'}. Restore the "
            "manifest, or repeat the run."
        )
    rows = sum(len(group.weight) for group in found.groups)
    whole = sum(sum(group.documents) + sum(group.amount) for group in found.groups)
    if rows > MOST_READ or whole >= 1 << 62:
        raise DataError(
            f"{where}: has {rows} rows that count {whole}; expected at most {MOST_READ}, and sums below 2^62. Restore the "
            "manifest, or repeat the run."
        )
    return found


def regroup(record: CellRecord, by: Sequence[str], separated: bool, in_documents: bool) -> Regrouped | str:
    """The cells by the groups of another mix, or what is missing to tell.

    Args:
        by: columns of its groups; any of the record's.
        separated: whether names hold their values apart, as margins need it.
        in_documents: whether it counts documents in place of the record's amounts.
    """
    unknown = [column for column in by if column not in record.by]
    if unknown:
        return f"it counted by {', '.join(record.by) or 'no column'}, which says nothing about `{unknown[0]}`"
    merged: dict[str, list[GroupRecord]] = {}
    for group in record.groups:
        values = _values(group.name, record.by)
        if values is not None:
            chosen = tuple(values[record.by.index(column)] for column in by)
            name = SEPARATOR.join(chosen) if separated else label(chosen)
        elif list(by) == record.by and not separated:
            name = group.name[0]
        else:
            return f"it does not say which part of the group {group.name[0]!r} is which of {', '.join(record.by)}"
        merged.setdefault(name, []).append(group)
    groups = {name: _cells(parts, in_documents) for name, parts in sorted(merged.items())}
    return Regrouped(groups, sum(group.cells > len(group.weight) for group in record.groups))


def _values(name: Sequence[str], by: Sequence[str]) -> Sequence[str] | None:
    """The values that a group's name is made of, if it says so."""
    if len(name) == len(by) > 1:
        return name
    if len(name) > 1:
        return None
    parts = [name[0]] if len(by) == 1 else [""] * len(by) if name[0] == "unknown" else name[0].split("_")
    return ["" if part == "unknown" else part for part in parts] if len(parts) == len(by) else None


def _cells(parts: Sequence[GroupRecord], in_documents: bool) -> Cells:
    """Rows of several groups as the cells of one, rows of equal weight and times seen together."""
    found: dict[tuple[float, int], list[int]] = {}
    for part in parts:
        for weight, seen, documents, amount in zip(part.weight, part.seen, part.documents, part.amount, strict=True):
            total = found.setdefault((weight, seen), [0, 0])
            total[0] += documents
            total[1] += documents if in_documents else amount
    keys = sorted(found)
    return Cells(
        np.array([weight for weight, _ in keys], np.float64),
        np.array([seen for _, seen in keys], np.int64),
        np.array([found[key][0] for key in keys], np.int64),
        np.array([found[key][1] for key in keys], np.int64),
        largest=1 if in_documents else max(part.largest for part in parts),
    )


def coarseness(regrouped: Regrouped) -> str | None:
    """What to say of groups whose cells were too many to be kept, or None."""
    if not regrouped.coarse:
        return None
    return (
        f"{regrouped.coarse} of {len(regrouped.groups)} groups had more different weights than a manifest keeps; theirs are "
        "means, and λ is near what a run would find."
    )
