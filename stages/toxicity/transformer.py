"""Toxicity scores from transformer checkpoints in a local folder: Celadon's layout, or any sequence classifier.

Celadon (Arnett et al., *Toxicity of the Commons*, arXiv:2410.22587) is a DeBERTa-v3-small encoder whose first token's
state goes into five linear heads of four classes, the levels 0–3 of race_origin, gender_sex, religion, ability and
violence; its tensors are named `deberta.…` and `heads.0` to `heads.4`. Nothing is ever fetched: the folder must hold
config, weights and tokenizer.

Texts are read in windows of whole sentences, cut between tokens only where one sentence is longer than a window; no part
of a text is left unread. Windows of similar length go through the model together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.model import DIMENSIONS

LEVELS = 4
CELADON_CUTS = (0.25, 0.5, 0.75)
"""Cuts at which the levels of `level_scores` are the most probable classes again."""
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


def require(package: str) -> Any:
    """The imported package. Raises ConfigError when it is not installed."""
    try:
        return __import__(package)
    except ImportError as error:
        raise ConfigError(
            f"stage toxicity: this backend needs the package {package}, which is not installed. Install "
            "`gristmill[transformers]`, or use `backend: embedded`."
        ) from error


def check_folder(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json. Raises ConfigError when the folder is no checkpoint."""
    path = folder / "config.json"
    if not folder.is_dir() or not path.is_file():
        raise ConfigError(
            f"{folder}: no checkpoint here: expected a folder with config.json, the weights (model.safetensors or "
            "pytorch_model.bin) and the tokenizer. Download it once, and set `model` to the folder."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); download the checkpoint again") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(config).__name__}")
    if not _weights_file(folder):
        raise ConfigError(f"{folder}: no weights here: expected model.safetensors or pytorch_model.bin")
    return config


def _weights_file(folder: Path) -> Path | None:
    return next((p for name in ("model.safetensors", "pytorch_model.bin") if (p := folder / name).is_file()), None)


def _tensors(folder: Path) -> Mapping[str, Any]:
    torch = require("torch")
    path = _weights_file(folder)
    if path is None:
        raise ConfigError(f"{folder}: no weights here: expected model.safetensors or pytorch_model.bin")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        found: Mapping[str, Any] = load_file(str(path))
        return found
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]  # torch has no types here


class Checkpoint:
    """A loaded checkpoint: tokenizer and a function from token batches to scores float32[batch, 5]."""

    def __init__(self, folder: Path, *, celadon: bool, labels: Mapping[str, str], activation: str, device: str) -> None:
        config = check_folder(folder)
        self.torch = require("torch")
        transformers = require("transformers")
        if device == "cuda" and not self.torch.cuda.is_available():
            raise ConfigError("stage toxicity: `device: cuda`, and torch finds no GPU here; use `device: cpu`")
        self.device = device
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"{folder}: its tokenizer gives no offsets. Save it once as a fast tokenizer (tokenizer.json) in that folder."
            )
        self.positions = int(config.get("max_position_embeddings", 512))
        if celadon:
            self._load_celadon(folder, config, transformers)
        else:
            self._load_classifier(folder, transformers, labels, activation)

    def _load_celadon(self, folder: Path, config: Mapping[str, Any], transformers: Any) -> None:
        torch = self.torch
        if config.get("model_type") != "deberta-v2":
            raise ConfigError(
                f"{folder}: Celadon is a checkpoint of model_type deberta-v2, found {config.get('model_type')!r}. For "
                "another classifier use `backend: hf`."
            )
        tensors = _tensors(folder)
        hidden = int(config["hidden_size"])
        heads = []
        for at, name in enumerate(DIMENSIONS):
            weight, bias = tensors.get(f"heads.{at}.weight"), tensors.get(f"heads.{at}.bias")
            if weight is None or bias is None or tuple(weight.shape) != (LEVELS, hidden):
                found = "nothing" if weight is None else f"shape {tuple(weight.shape)}"
                raise ConfigError(
                    f"{folder}: the head of {name} must be heads.{at}.weight of shape {(LEVELS, hidden)} with its bias; "
                    f"found {found}. This is not a checkpoint in Celadon's layout."
                )
            head = torch.nn.Linear(hidden, LEVELS)
            head.load_state_dict({"weight": weight.float(), "bias": bias.float()})
            heads.append(head)
        encoder = transformers.DebertaV2Model(transformers.DebertaV2Config.from_pretrained(str(folder)))
        states = {key.removeprefix("deberta."): value for key, value in tensors.items() if key.startswith("deberta.")}
        missing, unexpected = encoder.load_state_dict(states, strict=False)
        # Position ids are a buffer that newer versions no longer keep.
        missing = [key for key in missing if not key.endswith("position_ids")]
        if missing:
            raise ConfigError(f"{folder}: the encoder lacks {len(missing)} tensors, such as deberta.{missing[0]}")
        encoder = encoder.float().eval().to(self.device)
        stacked = torch.nn.ModuleList(heads).eval().to(self.device)

        def score(**inputs: Any) -> np.ndarray:
            state = encoder(**inputs).last_hidden_state[:, 0, :]
            logits = torch.stack([head(state) for head in stacked], dim=1)
            return level_scores(torch.softmax(logits.double(), dim=2).cpu().numpy())

        self._score = score

    def _load_classifier(self, folder: Path, transformers: Any, labels: Mapping[str, str], activation: str) -> None:
        torch = self.torch
        model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder), local_files_only=True)
        known = {str(name): int(number) for number, name in model.config.id2label.items()}
        wrong = sorted(set(labels) - set(known))
        if wrong or not labels:
            raise ConfigError(
                f"{folder}: `labels` must map labels of this model to dimensions; it has {', '.join(sorted(known))}"
                + (f", and {wrong[0]!r} is not among them" if wrong else "")
            )
        model = model.float().eval().to(self.device)
        columns = [[known[label] for label, to in labels.items() if to == name] for name in DIMENSIONS]

        def score(**inputs: Any) -> np.ndarray:
            logits = model(**inputs).logits.double()
            chance = torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=1)
            values = chance.cpu().numpy()
            out = np.zeros((len(values), len(DIMENSIONS)), np.float32)
            for at, chosen in enumerate(columns):
                if chosen:
                    out[:, at] = values[:, chosen].max(axis=1)
            return out

        self._score = score

    def score_texts(self, text: pa.Array, *, window_tokens: int, batch_size: int) -> Scored:
        """Score a large_string column."""
        before, after = self._around()
        special = len(before) + len(after)
        room = min(window_tokens, self.positions) - special
        if room < 1:
            raise ConfigError(f"window_tokens: {window_tokens} leaves no room beside {special} special tokens")
        owner: list[int] = []
        spans: list[tuple[int, int]] = []
        tokens: list[list[int]] = []
        for row, first, end, ids in windows(text, self.tokenizer, room):
            owner.append(row)
            spans.append((first, end))
            tokens.append(ids)
        scores = np.zeros((len(tokens), len(DIMENSIONS)), np.float32)
        # Windows of equal length share a batch without padding, whatever else is in it.
        order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))
        with self.torch.inference_mode():
            for low in range(0, len(order), batch_size):
                chosen = order[low : low + batch_size]
                scores[chosen] = self._score(**self._batch([[*before, *tokens[at], *after] for at in chosen]))
        span = np.array(spans, np.int64).reshape(-1, 2)
        return Scored(owner=np.array(owner, np.int64), span=span, scores=scores)

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text, found by asking it."""
        plain = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        whole = list(self.tokenizer("a", add_special_tokens=True)["input_ids"])
        for at in range(len(whole) - len(plain) + 1):
            if whole[at : at + len(plain)] == plain:
                return whole[:at], whole[at + len(plain) :]
        raise ConfigError("the checkpoint's tokenizer changes a text when it adds special tokens; it cannot be used")

    def _batch(self, built: Sequence[list[int]]) -> dict[str, Any]:
        width = max(len(ids) for ids in built)
        pad = self.tokenizer.pad_token_id or 0
        ids = self.torch.tensor([one + [pad] * (width - len(one)) for one in built], device=self.device)
        mask = self.torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in built], device=self.device)
        return {"input_ids": ids, "attention_mask": mask}


@lru_cache(maxsize=2)
def checkpoint(
    folder: Path, celadon: bool, labels: tuple[tuple[str, str], ...], activation: str, device: str
) -> Checkpoint:
    """One per process and folder."""
    return Checkpoint(folder, celadon=celadon, labels=dict(labels), activation=activation, device=device)


def windows(text: pa.Array, tokenizer: Any, room: int) -> Iterator[tuple[int, int, int, list[int]]]:
    """(row, first byte, end byte, token ids) of each window: consecutive sentences of at most `room` tokens together."""
    data, offsets = text_buffers(text)
    none = kernel.Groups(np.empty(0, np.uint64), np.empty(0, np.uint8))
    _, _, owner, span = kernel.window_features(
        data, offsets, kernel.token_table(), kernel.TEXT_TOKENS, True, 10, none, 1024
    )
    at = 0
    for row in range(len(text)):
        begin = int(offsets[row])
        packed: list[int] = []
        first = end = 0
        while at < len(owner) and owner[at] == row:
            low, high = int(span[at, 0]), int(span[at, 1])
            at += 1
            for ids, a, b in _pieces(data[low:high].tobytes().decode("utf-8", "replace"), tokenizer, room):
                if packed and len(packed) + len(ids) > room:
                    yield row, first, end, packed
                    packed = []
                if not packed:
                    first = low - begin + a
                end = low - begin + b
                packed = packed + ids
        if packed:
            yield row, first, end, packed


def _pieces(sentence: str, tokenizer: Any, room: int) -> Iterator[tuple[list[int], int, int]]:
    """(token ids, first byte, end byte) of a sentence: one piece, or several of `room` tokens."""
    found = tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
    ids, places = list(found["input_ids"]), list(found["offset_mapping"])
    if len(ids) <= room:
        if ids:
            yield ids, 0, len(sentence.encode("utf-8"))
        return
    for low in range(0, len(ids), room):
        part = places[low : low + room]
        a, b = part[0][0], part[-1][1]
        yield ids[low : low + room], len(sentence[:a].encode("utf-8")), len(sentence[:b].encode("utf-8"))
