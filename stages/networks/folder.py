"""The folder of a network, looked at without loading anything: config, weights, tokenizer, labels, heads, where it lies.

Everything in it is somebody else's: sizes are bounded before anything is read, code is never run, and weights are read from
safetensors unless the config allows pickled ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import ConfigError

PACKAGES = ("torch", "transformers", "safetensors")
"""What running a network needs; the extra `transformers` brings them."""
SCORED_BY = ("torch", "transformers", "tokenizers")
"""Packages whose versions may change a score."""
MAX_JSON = 64 << 20
"""Bytes of a config or an index of weights that are read; real ones have less than 1 MB."""
MAX_LABELS = 10_000
LIBRARY_BYTES = 700 << 20
"""Resident memory of torch and transformers themselves."""
TOKEN_BYTES = 96 << 10
"""Working memory for a token of a batch: activations and attention of a base-size encoder."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
TOKENIZERS = ("tokenizer.json", "vocab.txt", "spm.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json")
HUB = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@([0-9a-f]{40})")
HEAD = re.compile(r"heads\.(\d{1,3})\.weight")


@dataclass(frozen=True, kw_only=True)
class NetworkFolder:
    """What a folder says about its network.

    Attributes:
        path: the folder.
        config: its config.json.
        weights: the files of weights, safetensors or one pickled file.
        labels: names of a classifier's outputs by number.
        heads: outputs of each head, where the tensors are `heads.0.weight` and so on; empty for any other, and for pickled
            weights, which are not looked at.
    """

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    labels: tuple[str, ...]
    heads: tuple[int, ...]

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickled: reading them may run code."""
        return self.weights[0].name == PICKLED


def require() -> None:
    """Raises ConfigError when a package is missing that running a network needs."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"a network needs the package {missing[0]}, which is not installed. Install `gristmill[transformers]`."
        )


def libraries() -> dict[str, str]:
    """Versions of the packages that compute scores, of those that are installed."""
    found = {}
    for name in SCORED_BY:
        if importlib.util.find_spec(name) is not None:
            found[name] = importlib.metadata.version(name)
    return found


def located(model: str) -> Path:
    """The folder of a model: a path, or `hf://OWNER/NAME@COMMIT`, which lies in the hub's cache on this machine."""
    if not model.startswith("hf:"):
        return Path(model)
    match = HUB.fullmatch(model)
    if match is None:
        raise ConfigError(
            f"model: {model!r}: expected the path of a folder, or hf://OWNER/NAME@COMMIT with the 40 digits of a commit, so "
            "that the model cannot change under its name"
        )
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub")
    return cache / f"models--{match[1].replace('/', '--')}" / "snapshots" / match[2]


def read_folder(model: str, *, pickled: bool = False) -> NetworkFolder:
    """What a model's folder says; a model of the hub is fetched first where it is not in the cache.

    Raises ConfigError for a folder that holds no network that can be run.
    """
    path = located(model)
    if model.startswith("hf:"):
        try:
            return _read(path, pickled)
        except ConfigError:
            _fetch(model)
    return _read(path, pickled)


def resident_bytes(model: str, batch_tokens: int) -> int:
    """Bound on what a network keeps in memory, from the sizes of its files; 0 where it is not here yet."""
    try:
        sizes = [item.stat().st_size for item in located(model).iterdir() if item.suffix in (".safetensors", ".bin")]
    except OSError:
        return 0
    # Half precision on disk becomes float32 in memory, and a file is held while it is loaded.
    return LIBRARY_BYTES + 3 * max(sum(sizes), 0) + TOKEN_BYTES * batch_tokens


def _read(path: Path, pickled: bool) -> NetworkFolder:
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"{path}: no network here: expected a folder with config.json, the weights ({WEIGHTS}) and the tokenizer. "
            "Download it once, and set `model` to the folder."
        )
    config = _json(path / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ConfigError(f"{path}/config.json: it has no `model_type`, so nobody can tell what network this is")
    if (path / "adapter_config.json").exists():
        raise ConfigError(
            f"{path}: this is an adapter of another network. Merge it, save the whole, and name that folder."
        )
    weights = _weights(path, pickled)
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise ConfigError(f"{path}: no tokenizer here: expected tokenizer.json (or {', '.join(TOKENIZERS[1:])})")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weights:
        if file.suffix == ".safetensors":
            shapes |= _shapes(file)
    heads, labels = heads_of(shapes), _labels(path, config)
    return NetworkFolder(path=path, config=config, weights=weights, labels=labels, heads=heads)


def heads_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Outputs of `heads.0`, `heads.1` … among tensors; empty where there are none."""
    sizes = {int(match[1]): shape[0] for name, shape in shapes.items() if (match := HEAD.fullmatch(name)) and shape}
    return tuple(sizes[number] for number in range(len(sizes))) if sizes.keys() == set(range(len(sizes))) else ()


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON:
        raise ConfigError(f"{path}: {path.stat().st_size} bytes; expected at most {MAX_JSON}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON ({error}); download the model again") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _weights(path: Path, pickled: bool) -> tuple[Path, ...]:
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if (path / INDEX).is_file():
        listed = _json(path / INDEX).get("weight_map")
        names = sorted(set(listed.values())) if isinstance(listed, dict) and _plain_names(listed.values()) else []
        missing = [name for name in names if not (path / name).is_file()]
        if not names or missing:
            raise ConfigError(f"{path / INDEX}: {'it names no files' if not names else f'{missing[0]} is missing'}")
        return tuple(path / name for name in names)
    if (path / PICKLED).is_file():
        if pickled:
            return (path / PICKLED,)
        raise ConfigError(
            f"{path}: its weights are pickled ({PICKLED}), and reading them may run code. Save them as {WEIGHTS}, or set "
            "`pickled_weights: true` if you trust whoever made them."
        )
    raise ConfigError(f"{path}: no weights here: expected {WEIGHTS}")


def _plain_names(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, from its header."""
    damaged = ConfigError(f"{file}: this is no safetensors file, or a part of one; download it again")
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 2 <= size <= min(MAX_JSON, file.stat().st_size - 8):
            raise damaged
        try:
            header = json.loads(stream.read(size))
            shapes = {name: tuple(map(int, item["shape"])) for name, item in header.items() if name != "__metadata__"}
            end = max((item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise damaged from error
    if not shapes or file.stat().st_size != 8 + size + end:
        raise damaged
    return shapes


def _labels(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a classifier's outputs. Raises ConfigError where the config contradicts itself about them."""
    named = config.get("id2label")
    if named is None:
        count = config.get("num_labels", 2)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_LABELS:
            raise ConfigError(f"{path}/config.json: num_labels is {count!r:.60}; expected 1 to {MAX_LABELS}")
        return tuple(f"LABEL_{number}" for number in range(count))
    if not isinstance(named, dict) or not 1 <= len(named) <= MAX_LABELS:
        raise ConfigError(f"{path}/config.json: id2label is {named!r:.60}; expected 1 to {MAX_LABELS} names by number")
    names = [named.get(str(number)) for number in range(len(named))]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{path}/config.json: id2label has the keys {', '.join(map(str, named))[:80]}; expected 0, 1, 2 …"
        )
    back = config.get("label2id")
    if isinstance(back, dict) and back:
        wrong = [name for number, name in enumerate(names) if back.get(name) != number]
        if wrong or len(back) != len(names):
            raise ConfigError(
                f"{path}/config.json: id2label and label2id contradict each other about `{(wrong or [*back])[0]}`. Nobody can "
                "tell which output is which: mend the config."
            )
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}/config.json: id2label gives two outputs the same name")
    return tuple(str(name) for name in names)


def _fetch(model: str) -> None:
    """Brings one commit of a model into the hub's cache."""
    match = HUB.fullmatch(model)
    if match is None:
        located(model)
        return
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ConfigError(
            f"model: {model}: fetching needs the package huggingface_hub: install `gristmill[transformers]`"
        )
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        hub.snapshot_download(
            match[1], revision=match[2], allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"]
        )
    except Exception as error:  # whatever the client raises: offline, not found, not allowed
        first = next(iter(str(error).splitlines()), "")[:200]
        raise ConfigError(
            f"model: {model}: it is not in this machine's cache ({located(model)}) and cannot be fetched "
            f"({type(error).__name__}: {first}). Download it where there is a network, and set `model` to the folder."
        ) from error
