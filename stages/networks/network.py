"""A loaded network: token sequences in, numbers out. One per process, immutable, and nothing is ever fetched or run from it.

Two kinds of folders are known: any sequence classifier or regressor of the library, and encoders with several linear heads on
the first token's state, whose tensors are `PREFIX.…` and `heads.0.weight`, `heads.0.bias` and so on, as Celadon's are.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.networks.batches import cut_batches, padded
from gristmill.stages.networks.folder import NetworkFolder, heads_of, read_folder, require

GPU_MULTIPLE = 8
"""Widths of batches on a GPU, whose matrix units work in eights."""
NO_LIMIT = 1 << 20
"""A tokenizer that knows no longest text says something above this."""
DEFAULT_POSITIONS = 512


class Network:
    """A network from a folder.

    Args:
        model: the folder, or `hf://OWNER/NAME@COMMIT`.
        device: `cpu` or `cuda`: the first GPU that this process may see, which on Ray is the one that it was given.
        dtype: `float32` or `bfloat16`.
        threads: cores that one call uses.
        pickled: whether weights may be pickled.

    Attributes:
        heads: outputs of each head; one number for a classifier.
        positions: tokens of the longest sequence, special ones among them.

    Raises ConfigError for a folder that holds no such network, or a GPU that is not there.
    """

    def __init__(self, model: str, *, device: str, dtype: str, threads: int, pickled: bool) -> None:
        folder = read_folder(model, pickled=pickled)
        require()
        # The tokenizer's own threads, of which it would take all cores.
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
        torch: Any = importlib.import_module("torch")
        transformers: Any = importlib.import_module("transformers")
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("`device: cuda`, and torch finds no GPU here. Use `device: cpu`, or a machine with one.")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self._torch, self._threads = torch, threads
        self._device = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
        self._multiple = GPU_MULTIPLE if device == "cuda" else 1
        with _refused(folder, "tokenizer"):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True)
        if self.tokenizer.pad_token_id is None:
            raise ConfigError(f"{folder.path}: its tokenizer has no token for padding, so texts cannot share a batch")
        kind = getattr(torch, dtype)
        with self._computing(), _refused(folder, "network"):
            tensors = _tensors(torch, folder) if folder.heads or folder.pickled else {}
            heads = folder.heads or heads_of({name: tuple(value.shape) for name, value in tensors.items()})
            if heads:
                body, forward = _with_heads(torch, transformers, folder, heads, tensors)
            else:
                body, forward = _classifier(torch, transformers, folder)
            self.heads: tuple[int, ...] = heads or (int(body.config.num_labels),)
            body.to(self._device, kind)
            body.eval().requires_grad_(False)
        self._forward: Callable[..., Any] = forward
        self.positions = _positions(self.tokenizer, folder, body)
        probe = self.logits([self.tokenizer("a")["input_ids"]], most_rows=1, most_tokens=1)
        if not np.isfinite(probe).all():
            raise ConfigError(
                f"{folder.path}: the network gives {probe.ravel()[:4].tolist()} for a text of one letter. Its weights are "
                f"damaged, or too large for {dtype}."
            )

    def logits(self, tokens: Sequence[Sequence[int]], *, most_rows: int, most_tokens: int) -> np.ndarray:
        """float32[sequences, outputs of all heads] of sequences with their special tokens; see `cut_batches`.

        Raises ConfigError for a batch that the GPU's memory does not hold: smaller ones would give other last digits, so they
        are not tried in silence."""
        torch = self._torch
        found = np.zeros((len(tokens), sum(self.heads)), np.float32)
        pad, left = int(self.tokenizer.pad_token_id), self.tokenizer.padding_side == "left"
        with self._computing(), torch.inference_mode():
            lengths = [len(one) for one in tokens]
            for chosen in cut_batches(lengths, most_rows=most_rows, most_tokens=most_tokens):
                batch = [tokens[at] for at in chosen.tolist()]
                ids, mask = padded(batch, pad=pad, left=left, multiple=self._multiple)
                given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
                try:
                    answer = self._forward(**{name: value.to(self._device) for name, value in given.items()})
                    found[chosen] = answer.float().cpu().numpy()
                except torch.cuda.OutOfMemoryError as error:
                    raise ConfigError(
                        f"the GPU's memory does not hold a batch of {ids.shape[0]} sequences of {ids.shape[1]} tokens. Lower "
                        "`batch_tokens` of the stage encoder, `batch_size` of toxicity, or give each worker more of a GPU."
                    ) from error
        return found

    def tokens(self, texts: Sequence[str], most: int) -> tuple[list[list[int]], list[bool]]:
        """Token ids of texts with special tokens, cut off after `most` of them, and which were cut off."""
        found = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=most,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = found["input_ids"]
        full = [len(one) >= most for one in ids]
        if self.tokenizer.is_fast:
            full = [is_full and bool(found.encodings[at].overflowing) for at, is_full in enumerate(full)]
        return ids, full

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """As many threads as were asked for: their number is the process's, and may be another for other nodes."""
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


@lru_cache(maxsize=2)
def network(model: str, device: str, dtype: str, threads: int, pickled: bool) -> Network:
    """One per process: loaded by the first task that needs it, kept for those that follow."""
    return Network(model, device=device, dtype=dtype, threads=threads, pickled=pickled)


@contextlib.contextmanager
def _refused(folder: NetworkFolder, what: str) -> Iterator[None]:
    """Whatever a library raises over a folder is about the folder."""
    try:
        yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
        raise ConfigError(
            f"{folder.path}: the {what} (model_type {folder.config['model_type']}) cannot be loaded: {type(error).__name__}: "
            f"{first}. Code that comes with a model is never run; the versions installed may be too old for it."
        ) from error


Loaded = tuple[Any, Callable[..., Any]]
"""A module, and what it makes of a batch: logits of all heads, side by side."""


def _classifier(torch: Any, transformers: Any, folder: NetworkFolder) -> Loaded:
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        str(folder.path),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=not folder.pickled,
        output_loading_info=True,
    )
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing:
        raise ConfigError(
            f"{folder.path}: {len(missing)} tensors are missing, such as {missing[0]}, and would be random numbers. This is no "
            "trained classifier or regressor."
        )
    return model, lambda **given: model(**given).logits


def _with_heads(
    torch: Any, transformers: Any, folder: NetworkFolder, outputs: Sequence[int], tensors: Mapping[str, Any]
) -> Loaded:
    config = transformers.AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
    encoder = transformers.AutoModel.from_config(config, trust_remote_code=False)
    prefix = f"{encoder.base_model_prefix}."
    states = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    missing, _ = encoder.load_state_dict(states, strict=False)
    # Position ids are a buffer that newer versions no longer keep.
    missing = [key for key in missing if not key.endswith("position_ids")]
    if missing:
        raise ConfigError(f"{folder.path}: the encoder lacks {len(missing)} tensors, such as {prefix}{missing[0]}")
    heads = []
    for number, size in enumerate(outputs):
        head = torch.nn.Linear(int(config.hidden_size), size)
        head.load_state_dict({part: tensors[f"heads.{number}.{part}"] for part in ("weight", "bias")})
        heads.append(head)
    body = torch.nn.ModuleDict({"encoder": encoder, "heads": torch.nn.ModuleList(heads)})

    def forward(**given: Any) -> Any:
        state = encoder(**given).last_hidden_state[:, 0, :]
        return torch.cat([head(state) for head in heads], dim=1)

    return body, forward


def _tensors(torch: Any, folder: NetworkFolder) -> Mapping[str, Any]:
    if folder.pickled:
        pickled: Mapping[str, Any] = torch.load(folder.weights[0], map_location="cpu", weights_only=True)
        return pickled
    load_file = importlib.import_module("safetensors.torch").load_file
    found: dict[str, Any] = {}
    for file in folder.weights:
        found |= load_file(str(file))
    return found


def _positions(tokenizer: Any, folder: NetworkFolder, body: Any) -> int:
    """Tokens of the longest sequence that the network has positions for and its tokenizer names."""
    stated = folder.config.get("max_position_embeddings")
    limits = [stated] if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else []
    for name, module in body.named_modules():
        # RoBERTa and its kin count positions from the one after padding.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None and limits:
            limits = [limits[0] - module.padding_idx - 1]
            break
    longest = tokenizer.model_max_length
    limits += [int(longest)] if isinstance(longest, int) and 0 < longest < NO_LIMIT else []
    return min(limits, default=DEFAULT_POSITIONS)
