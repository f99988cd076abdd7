"""The stage `encoder` against loops around the bare library, in one run: python -m tests.benchmarks.encoder [--size base].

Needs torch and transformers. The network has random weights and the architecture of real ones (FineWeb-Edu's classifier is a
BERT of `base` size, Celadon a DeBERTa of `celadon` size), the texts are random words with web-like lengths. Loops: `as it
comes`, batches of 32 texts in the order of the input, padded to the longest, as model cards show it; `sorted`, the same texts
by length in batches of as many tokens as the stage's. Rounds alternate, so that other load falls on all of them; the ratio is
of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.stage import StageContext
from gristmill.stages.encoder.stage import Encoder, EncoderConfig

SIZES = {"mini": (6, 384, 12, 1536), "base": (12, 768, 12, 3072), "celadon": (6, 768, 12, 3072),
         "small_celadon": (2, 128, 4, 512)}  # fmt: skip
"""Layers, width, attention heads, inner width."""
WORDS = 8000
POSITIONS = 512
ROWS = 32
"""Texts of a batch of the loop that takes them as they come."""


def texts(count: int, seed: int = 1) -> list[str]:
    """Random words, log-normal lengths with a median of 150: one text in eight is longer than the network can see."""
    draw = np.random.default_rng(seed)
    sizes = np.clip(np.exp(draw.normal(5.0, 1.0, count)), 3, 4000).astype(int)
    return [" ".join(f"w{number}" for number in draw.zipf(1.3, size) % WORDS) for size in sizes]


def write_network(folder: Path, size: str) -> None:
    """A network of a size with random weights and a tokenizer of WORDS words."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(1)
    layers, width, heads, inner = SIZES[size]
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {f"w{n}": n + 4 for n in range(WORDS)}
    common: dict[str, Any] = {
        "vocab_size": len(vocabulary), "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "max_position_embeddings": POSITIONS,
    }  # fmt: skip
    if size.endswith("celadon"):
        config = transformers.DebertaV2Config(
            **common, relative_attention=True, position_biased_input=False, type_vocab_size=0, position_buckets=256,
            norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"],
        )  # fmt: skip
        config.num_labels = 1
        model: Any = transformers.DebertaV2ForSequenceClassification(config)
    else:
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**common, num_labels=1))
    model.save_pretrained(str(folder))
    inside = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inside.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inside.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inside, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=POSITIONS,
    ).save_pretrained(str(folder))  # fmt: skip


def library(folder: Path, device: str, dtype: str, batch_tokens: int) -> dict[str, Callable[[list[str]], np.ndarray]]:
    """The loops around the bare library, by name."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder))
    model = model.to(device, getattr(torch, dtype)).eval()

    def scored(batch: list[str]) -> list[float]:
        inputs = tokenizer(batch, return_tensors="pt", padding="longest", truncation=True).to(device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            return list(model(**inputs).logits[:, 0].float().cpu().tolist())

    def as_it_comes(given: list[str]) -> np.ndarray:
        parts = [scored(given[at : at + ROWS]) for at in range(0, len(given), ROWS)]
        return np.array([score for part in parts for score in part])

    def by_length(given: list[str]) -> np.ndarray:
        sizes = np.minimum([len(text.split()) + 2 for text in given], POSITIONS)
        order, out, start = np.argsort(-sizes, kind="stable"), np.zeros(len(given)), 0
        while start < len(order):
            stop = start + max(1, batch_tokens // int(sizes[order[start]]))
            out[order[start:stop]] = scored([given[at] for at in order[start:stop]])
            start = stop
        return out

    return {"library, as it comes": as_it_comes, "library, sorted": by_length}


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Texts per second of each way, and the stage's as a share of each loop's."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    given = texts(options.texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_network(folder, options.size)
        settings = {
            "model": name, "scores": {"edu": {}}, "device": options.device, "dtype": options.dtype,
            "threads": options.threads, "batch_tokens": options.batch_tokens,
        }  # fmt: skip
        stage = Encoder(EncoderConfig.model_validate_json(json.dumps(settings)))

        def by_stage(some: list[str]) -> np.ndarray:
            table = pa.table({"text": pa.array(some, pa.large_string())})
            return stage.measure(table, StageContext())["edu_score"].to_numpy()

        ways = {"stage": by_stage, **library(folder, options.device, options.dtype, options.batch_tokens)}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        scores = {way: run(given[:ROWS]) for way, run in ways.items()}  # loads, and warms up
        for _ in range(options.rounds):
            for way, run in ways.items():
                start = time.perf_counter()
                scores[way] = run(given)
                seconds[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    return {
        "size": options.size,
        "device": torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu",
        "dtype": options.dtype,
        "threads": options.threads,
        "texts": len(given),
        "megabytes": round(sum(map(len, given)) / 1e6, 2),
        "texts_per_second": {way: round(len(given) / value, 1) for way, value in medians.items()},
        "stage_to_library": {
            way: round(value / medians["stage"], 3) for way, value in medians.items() if way != "stage"
        },
        "largest_difference": round(max(float(np.abs(found - scores["stage"]).max()) for found in scores.values()), 6),
    }


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="mini")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    json.dump(report(parser.parse_args()), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
