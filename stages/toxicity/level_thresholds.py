"""The scores from which the toxicity model's levels begin, chosen on labelled and clean texts that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.model import DIMENSIONS, ToxicityModel
from gristmill.stages.toxicity.training_texts import Labelled

CLEAN_RATES = (2e-3, 1e-3, 2e-4)
"""Share of clean sentences, in the genre with most, that may reach level 1, 2 and 3 of one dimension. Where there is clean
text, level 1 follows ANY_CLEAN_RATE instead. Documents are protected by the stage's rule on chance, which needs more of a
long text."""
ANY_CLEAN_RATE = 1.9e-3
"""Share of clean sentences, on average over genres, that may reach level 1 of any dimension."""
RESERVED = 0.16
"""Part of ANY_CLEAN_RATE that each dimension has for itself; the rest goes where it finds most."""
MIN_SENTENCES = 500
"""A genre with fewer clean sentences says too little about rates."""
LEAST_SCORE = 0.2
"""No level begins below, so that the windows which the stage lists by default are enough to judge by."""
FLATTERING = ("madlibs",)
"""Templated sources, whose texts are found too easily to choose cuts by."""


def level_cuts(model: ToxicityModel, labelled: Labelled, clean: pa.Array, genre: np.ndarray) -> np.ndarray:
    """float32[5, 3] scores: for each dimension the cuts of level 1, 2 and 3, ascending.

    The cuts of levels 2 and 3 agree best with the labels: the score at which level k or more is balanced on the labelled
    texts (as many texts above it as have the level), raised until at most CLEAN_RATES[k] of clean sentences reach it.
    Level 1 is what a sentence counts by, so its cuts are chosen together: see `first_cuts`. Without clean text they
    are balanced like the others.
    """
    steps = model.windows(labelled.text).highest
    together = first_cuts(model, labelled, clean, genre)
    cuts = np.empty((len(DIMENSIONS), 3), np.float32)
    for head in range(len(DIMENSIONS)):
        known = labelled.levels[:, head] >= 0
        found = np.sort(steps[known, head])[::-1]
        previous = 0
        for level in (1, 2, 3):
            count = int((labelled.levels[known, head] >= level).sum())
            balanced = int(found[min(count, len(found) - 1)]) if count else kernel.LEVELS - 1
            rare = int(np.searchsorted(-model.clean_tail[head], -CLEAN_RATES[level - 1], side="left"))
            quiet = rare if model.clean_tail[head, 0] > model.clean_tail[head, -1] else 0
            step = max(balanced, quiet)
            if level == 1 and together is not None and count:
                step = int(together[head])
            step = min(max(step, previous + 1, model.step_at(head, LEAST_SCORE)), kernel.LEVELS - 1)
            cuts[head, level - 1] = model.probability[head, step]
            previous = step
    return cuts


def first_cuts(model: ToxicityModel, labelled: Labelled, clean: pa.Array, genre: np.ndarray) -> np.ndarray | None:
    """int64[5] steps: level 1 of each dimension, chosen together; None without clean text.

    Each dimension begins where its own share of clean sentences is RESERVED of ANY_CLEAN_RATE. Then, again and again, that
    cut is lowered that finds most further toxic texts per further clean sentence, until ANY_CLEAN_RATE of clean
    sentences reach a cut. Texts are those of the most common language among the labelled ones, without FLATTERING.
    """
    windows = model.windows(clean, floor=np.zeros(kernel.HEADS, np.int16))
    names = genre[windows.owner]
    genres = [name for name in sorted(set(genre.tolist())) if (names == name).sum() >= MIN_SENTENCES]
    if not genres:
        return None
    used = np.isin(names, genres)
    steps = windows.steps[used, : len(DIMENSIONS)].astype(np.int64)
    # Each genre weighs the same, whatever its size.
    weight = np.zeros(int(used.sum()))
    for name in genres:
        mine = names[used] == name
        weight[mine] = 1.0 / (len(genres) * mine.sum())
    languages, counts = np.unique(labelled.language.astype(str), return_counts=True)
    chosen = (labelled.language == languages[int(counts.argmax())]) & ~np.isin(labelled.source, FLATTERING)
    toxic = labelled.rows(chosen & (labelled.levels[:, -1] > 0))
    texts = model.windows(toxic.text).highest[:, : len(DIMENSIONS)].astype(np.int64)
    cuts = np.array([_rarest(steps[:, head], weight, RESERVED * ANY_CLEAN_RATE) for head in range(len(DIMENSIONS))])
    least = [model.step_at(head, LEAST_SCORE) for head in range(len(DIMENSIONS))]
    cuts = np.asarray(np.maximum(cuts, least))
    found, reached = (texts >= cuts).any(axis=1), (steps >= cuts).any(axis=1)
    while True:
        spent = float(weight[reached].sum())
        best: tuple[float, int, int] | None = None
        for head in range(len(DIMENSIONS)):
            lower = (steps[:, head] < cuts[head]) & (steps[:, head] >= least[head])
            below = np.unique(steps[lower, head])[::-1]
            if not len(below):
                continue
            for cut in below[[0, 1, 3, 7, 15]] if len(below) > 15 else below[:1]:
                cost = float(weight[(steps[:, head] >= cut) & ~reached].sum())
                if spent + cost > ANY_CLEAN_RATE:
                    continue
                gain = int(((texts[:, head] >= cut) & ~found).sum())
                worth = gain / (cost + 1e-6)
                if gain and (best is None or worth > best[0]):
                    best = worth, head, int(cut)
        if best is None:
            return cuts
        _, head, cut = best
        cuts[head] = cut
        found |= texts[:, head] >= cut
        reached |= steps[:, head] >= cut


def _rarest(steps: np.ndarray, weight: np.ndarray, rate: float) -> int:
    """The lowest step that at most `rate` of the weight reaches."""
    order = np.argsort(-steps, kind="stable")
    heavy = np.flatnonzero(np.cumsum(weight[order]) > rate)
    return int(steps[order[heavy[0]]]) + 1 if len(heavy) else 0
