"""Small networks in Hugging Face's layout, written with NumPy alone: random weights, real architectures.

A vocabulary of a few words and their letters, so that every text has tokens; weights are drawn from a seed.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS = "the river is wide and people walk home . bad worse worst school teaches water cycle".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *string.ascii_lowercase]
HIDDEN, INNER, LAYERS, POSITIONS = 16, 32, 2, 64
Tensors = dict[str, np.ndarray]


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A file in safetensors' format, from float32 arrays."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values()))


def write_tokenizer(folder: Path, positions: int = POSITIONS) -> None:
    """A fast tokenizer: one token per word or punctuation mark, [UNK] for others."""
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    special = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number, word in enumerate(VOCABULARY[:4])
    ]  # fmt: skip
    around = {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    first, last = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    processor = {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, last, {"Sequence": {"id": "B", "type_id": 1}}, last],
        "special_tokens": around,
    }
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": processor, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions, "pad_token": "[PAD]",
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _layer(draw: np.random.Generator, prefix: str, names: Sequence[str]) -> Tensors:
    found: Tensors = {}
    shapes = {
        **{f"attention.self.{name}": (HIDDEN, HIDDEN) for name in names},
        "attention.output.dense": (HIDDEN, HIDDEN),
        "intermediate.dense": (INNER, HIDDEN),
        "output.dense": (HIDDEN, INNER),
    }
    for name, shape in shapes.items():
        found |= _linear(draw, f"{prefix}.{name}", shape)
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        found |= _norm(f"{prefix}.{name}")
    return found


def _linear(draw: np.random.Generator, name: str, shape: tuple[int, int]) -> Tensors:
    return {
        f"{name}.weight": draw.normal(0, 0.5, shape).astype(np.float32),
        f"{name}.bias": draw.normal(0, 0.1, shape[0]).astype(np.float32),
    }


def _norm(name: str) -> Tensors:
    return {f"{name}.weight": np.ones(HIDDEN, np.float32), f"{name}.bias": np.zeros(HIDDEN, np.float32)}


def write_bert(folder: Path, labels: Sequence[str] = ("LABEL_0",), seed: int = 1, **config: Any) -> Path:
    """A BERT with a head of as many outputs as there are labels: a regressor with one."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, rows in (("word", len(VOCABULARY)), ("position", POSITIONS), ("token_type", 2)):
        tensors[f"bert.embeddings.{name}_embeddings.weight"] = draw.normal(0, 0.5, (rows, HIDDEN)).astype(np.float32)
    tensors |= _norm("bert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        tensors |= _layer(draw, f"bert.encoder.layer.{layer}", ("query", "key", "value"))
    tensors |= _linear(draw, "bert.pooler.dense", (HIDDEN, HIDDEN))
    tensors |= _linear(draw, "classifier", (len(labels), HIDDEN))
    write_safetensors(folder / "model.safetensors", tensors)
    write_config(
        folder,
        model_type="bert",
        architectures=["BertForSequenceClassification"],
        max_position_embeddings=POSITIONS,
        id2label={str(number): name for number, name in enumerate(labels)},
        label2id={name: number for number, name in enumerate(labels)},
        **config,
    )
    write_tokenizer(folder)
    return folder


def celadon_tensors(seed: int = 7, heads: Sequence[int] = (4, 4, 4, 4, 4)) -> Tensors:
    """Tensors in Celadon's layout: a DeBERTa-v2 encoder and linear heads."""
    draw = np.random.default_rng(seed)
    tensors: Tensors = {}
    words = draw.normal(0, 0.5, (len(VOCABULARY), HIDDEN)).astype(np.float32)
    tensors["deberta.embeddings.word_embeddings.weight"] = words
    tensors |= _norm("deberta.embeddings.LayerNorm")
    for layer in range(LAYERS):
        names = ("query_proj", "key_proj", "value_proj", "pos_key_proj", "pos_query_proj")
        tensors |= _layer(draw, f"deberta.encoder.layer.{layer}", names)
    tensors["deberta.encoder.rel_embeddings.weight"] = draw.normal(0, 0.5, (16, HIDDEN)).astype(np.float32)
    for number, size in enumerate(heads):
        tensors |= _linear(draw, f"heads.{number}", (size, HIDDEN))
    return tensors


def write_celadon(folder: Path, seed: int = 7, heads: Sequence[int] = (4, 4, 4, 4, 4)) -> Path:
    """A checkpoint in Celadon's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", celadon_tensors(seed, heads))
    write_config(
        folder,
        model_type="deberta-v2",
        architectures=["MultiHeadDebertaForSequenceClassification"],
        max_position_embeddings=POSITIONS,
        relative_attention=True,
        position_biased_input=False,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
    )
    write_tokenizer(folder)
    return folder


def write_config(folder: Path, **values: Any) -> None:
    """A config.json of the sizes used here."""
    sizes = {
        "vocab_size": len(VOCABULARY), "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "hidden_act": "gelu", "pad_token_id": 0, "layer_norm_eps": 1e-7,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**sizes, **values}))


def changed_config(folder: Path, **values: Any) -> None:
    """Sets or, with None, removes values of a config.json."""
    config = json.loads((folder / "config.json").read_text())
    config.update(values)
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
