"""Toxicity scores from transformer checkpoints in a local folder: Celadon's layout, or any sequence classifier.

Celadon (Arnett et al., *Toxicity of the Commons*, arXiv:2410.22587) is a DeBERTa-v3-small encoder whose first token's
state goes into five linear heads of four classes, the levels 0–3 of race_origin, gender_sex, religion, ability and
violence; its tensors are named `deberta.…` and `heads.0` to `heads.4`. Loading and batches are those of `stages.networks`, as
for the stage `encoder`. Nothing is ever fetched: the folder must hold config, weights and tokenizer.

Texts are read in windows of whole sentences, cut between tokens only where one sentence is longer than a window; no part
of a text is left unread. Windows of similar length go through the model together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.networks.folder import read_folder, require
from gristmill.stages.networks.network import network
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.model import DIMENSIONS

LEVELS = 4
CELADON_CUTS = (0.25, 0.5, 0.75)
"""Cuts at which the levels of `level_scores` are the most probable classes again."""
THREADS = 1
"""Cores that a network uses: a worker has one."""
NO_LIMIT = 1 << 62
"""Tokens of a batch: its windows are counted instead."""
BLOCK_WINDOWS = 8192
"""Windows whose tokens are held at once, and among which those of similar length share a batch."""
BLOCK_SENTENCES = 2048
"""Sentences that the tokenizer gets at once."""
TOLERANCE = 1e-3
"""Difference of a probability between machines and batches."""
LEVEL_TOLERANCE = 0.26
"""The same of `level_scores`: where two neighbouring levels are all but equally probable, either may be the likelier one."""
HF_CUTS = (0.5, 0.75, 0.9)
"""Cuts of level 1, 2 and 3 for the probabilities of an ordinary classifier, where the config names none."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Windows of texts and their scores.

    Attributes:
        owner: int64[n], the text of each window, ascending.
        span: int64[n, 2], (offset, end) in bytes of the text.
        scores: float32[n, 5].
    """

    owner: np.ndarray
    span: np.ndarray
    scores: np.ndarray


def level_scores(probabilities: np.ndarray) -> np.ndarray:
    """float32[n, 5] in [0, 1) from probabilities [n, 5, 4] of the levels: a quarter for each level of the most probable
    class, and within the quarter the expected level, so that CELADON_CUTS give the model's own levels."""
    likeliest = probabilities.argmax(axis=2)
    expected = (probabilities * np.arange(LEVELS)).sum(axis=2) / (LEVELS - 1)
    return np.asarray((likeliest + np.minimum(expected, 0.999)) / LEVELS, np.float32)


def check_folder(folder: Path, *, celadon: bool, labels: Mapping[str, str], pickled: bool) -> None:
    """Raises ConfigError when a folder holds no network of the kind that is asked for, or not the labels."""
    require()
    found = read_folder(str(folder), pickled=pickled)
    if celadon and not found.pickled:
        _check_heads(folder, found.heads)
    wrong = sorted(set(labels) - set(found.labels))
    if not celadon and wrong:
        raise ConfigError(
            f"{folder}: `labels` must map labels of this model to dimensions; it has {', '.join(sorted(found.labels))}, and "
            f"{wrong[0]!r} is not among them"
        )


def _check_heads(folder: Path, heads: tuple[int, ...]) -> None:
    if heads != (LEVELS,) * len(DIMENSIONS):
        raise ConfigError(
            f"{folder}: this is not a checkpoint in Celadon's layout: expected the tensors heads.0.weight to heads.4.weight "
            f"with {LEVELS} rows each, for {', '.join(DIMENSIONS)}; found heads of {list(heads)} rows. For another classifier "
            "use `backend: hf`."
        )


class Checkpoint:
    """A loaded checkpoint: from texts to windows and their scores."""

    def __init__(
        self, folder: Path, *, celadon: bool, labels: Mapping[str, str], activation: str, device: str, pickled: bool
    ) -> None:
        self.network = network(str(folder), device, "float32", THREADS, pickled)
        self.tokenizer = self.network.tokenizer
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"{folder}: its tokenizer gives no offsets. Save it once as a fast tokenizer (tokenizer.json) in that folder."
            )
        self.celadon, self.activation = celadon, activation
        if celadon:
            _check_heads(folder, self.network.heads)
        known = list(read_folder(str(folder), pickled=pickled).labels)
        self.columns = [[known.index(label) for label, to in labels.items() if to == name] for name in DIMENSIONS]

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        """float32[n, 5] of logits."""
        if self.celadon:
            return level_scores(_softmax(logits.reshape(len(logits), len(DIMENSIONS), LEVELS)))
        chance = 1.0 / (1.0 + np.exp(-logits)) if self.activation == "sigmoid" else _softmax(logits)
        out = np.zeros((len(logits), len(DIMENSIONS)), np.float32)
        for at, chosen in enumerate(self.columns):
            if chosen:
                out[:, at] = chance[:, chosen].max(axis=1)
        return out

    def score_texts(self, text: pa.Array, *, window_tokens: int, batch_size: int) -> Scored:
        """Score a large_string column."""
        before, after = self._around()
        special = len(before) + len(after)
        room = min(window_tokens, self.network.positions) - special
        if room < 1:
            raise ConfigError(f"window_tokens: {window_tokens} leaves no room beside {special} special tokens")
        owners: list[int] = []
        spans: list[tuple[int, int]] = []
        scores: list[np.ndarray] = []
        found = windows(text, self.tokenizer, room)
        while block := list(islice(found, BLOCK_WINDOWS)):
            built = [[*before, *ids, *after] for *_, ids in block]
            logits = self.network.logits(built, most_rows=batch_size, most_tokens=NO_LIMIT).astype(np.float64)
            if not np.isfinite(logits).all():
                raise ConfigError("the network gives no number for some sentence: its weights are damaged")
            scores.append(self._scores(logits))
            owners += [row for row, *_ in block]
            spans += [(first, end) for _, first, end, _ in block]
        return Scored(
            owner=np.array(owners, np.int64),
            span=np.array(spans, np.int64).reshape(-1, 2),
            scores=np.concatenate(scores) if scores else np.empty((0, len(DIMENSIONS)), np.float32),
        )

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text, found by asking it."""
        plain = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        whole = list(self.tokenizer("a", add_special_tokens=True)["input_ids"])
        for at in range(len(whole) - len(plain) + 1):
            if whole[at : at + len(plain)] == plain:
                return whole[:at], whole[at + len(plain) :]
        raise ConfigError("the checkpoint's tokenizer changes a text when it adds special tokens; it cannot be used")


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    if not logits.size:
        return logits
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@lru_cache(maxsize=2)
def checkpoint(
    folder: Path, celadon: bool, labels: tuple[tuple[str, str], ...], activation: str, device: str, pickled: bool
) -> Checkpoint:
    """One per process and folder."""
    return Checkpoint(
        folder, celadon=celadon, labels=dict(labels), activation=activation, device=device, pickled=pickled
    )


def windows(text: pa.Array, tokenizer: Any, room: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """(row, first byte, end byte, token ids) of each window: consecutive sentences of at most `room` tokens together."""
    data, offsets = text_buffers(text)
    none = kernel.Groups(np.empty(0, np.uint64), np.empty(0, np.uint8))
    _, _, owner, span = kernel.window_features(
        data, offsets, kernel.token_table(), kernel.TEXT_TOKENS, 1, 10, none, 1024
    )
    row = first = end = 0
    packed: list[int] = []
    for block in range(0, len(owner), BLOCK_SENTENCES):
        rows, places = owner[block : block + BLOCK_SENTENCES].tolist(), span[block : block + BLOCK_SENTENCES].tolist()
        sentences = [data[low:high].tobytes().decode("utf-8", "replace") for low, high in places]
        # All at once: a fast tokenizer spends most of a call on a single sentence with the call.
        made = tokenizer(
            sentences, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip
        for at, sentence in enumerate(sentences):
            start = places[at][0] - int(offsets[rows[at]])
            for ids, a, b in _pieces(sentence, made["input_ids"][at], made["offset_mapping"][at], room):
                if packed and (rows[at] != row or len(packed) + len(ids) > room):
                    yield row, first, end, packed
                    packed = []
                if not packed:
                    row, first = rows[at], start + a
                end = start + b
                packed = packed + ids
    if packed:
        yield row, first, end, packed


def _pieces(
    sentence: str, ids: list[int], places: Sequence[tuple[int, int]], room: int
) -> Iterator[tuple[list[int], int, int]]:
    """(token ids, first byte, end byte) of a sentence: one piece, or several of `room` tokens."""
    if len(ids) <= room:
        if ids:
            yield ids, 0, len(sentence.encode("utf-8"))
        return
    for low in range(0, len(ids), room):
        part = places[low : low + room]
        a, b = part[0][0], part[-1][1]
        yield ids[low : low + room], len(sentence[:a].encode("utf-8")), len(sentence[:b].encode("utf-8"))
