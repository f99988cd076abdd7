"""Toxicity by a checkpoint of Celadon's size and layout against the bare library: python -m tests.benchmarks.celadon [--small].

Needs torch and transformers. Celadon's layers with random weights and a vocabulary of 8,000 words (`--small` for a try),
random words in sentences of 5 to 40, lengths of texts as on the web. The library gets the stage's own windows as texts,
tokenises them, and runs them in batches of as many, by length and as they come, with the five heads; scores must agree. Rounds
alternate, so that other load falls on all; the ratio is of the medians, and the stage is to have 0.9 of the better loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.stages.toxicity.model import DIMENSIONS
from gristmill.stages.toxicity.transformer import LEVELS, Checkpoint, level_scores, windows
from tests.benchmarks.encoder import SIZES, WORDS, texts, write_network

WINDOW = 256
BATCH = 32


def written(count: int, seed: int = 3) -> list[str]:
    """Texts of sentences."""
    draw = np.random.default_rng(seed)
    found = []
    for words in (text.split(" ") for text in texts(count, seed)):
        ends = np.cumsum(draw.integers(5, 41, len(words) // 5 + 1))
        starts = [0, *ends[ends < len(words)].tolist()]
        parts = [words[a:b] for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]
        found.append(" ".join(" ".join(part) + "." for part in parts))
    return found


def write_checkpoint(folder: Path, size: str) -> None:
    """A network in Celadon's layout with random weights."""
    import safetensors.torch as files
    import torch

    write_network(folder, size)
    tensors = {k: v for k, v in files.load_file(folder / "model.safetensors").items() if k.startswith("deberta.")}
    width = SIZES[size][1]
    for head in range(len(DIMENSIONS)):
        tensors[f"heads.{head}.weight"] = torch.randn(LEVELS, width) / width**0.5
        tensors[f"heads.{head}.bias"] = torch.zeros(LEVELS)
    files.save_file(tensors, folder / "model.safetensors")


class Library:
    """The bare library over windows as texts."""

    def __init__(self, folder: Path, device: str) -> None:
        import safetensors.torch as files
        import torch
        import transformers

        self.torch, self.device = torch, device
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        config = transformers.DebertaV2Config.from_pretrained(str(folder))
        tensors = files.load_file(folder / "model.safetensors")
        self.body: Any = transformers.DebertaV2Model(config)
        self.body.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("deberta.")})
        self.body.to(device).eval()
        heads = [tensors[f"heads.{head}.weight"] for head in range(len(DIMENSIONS))]
        self.heads = torch.cat(heads).to(device)

    def __call__(self, given: list[str], by_length: bool) -> np.ndarray:
        torch = self.torch
        order = np.argsort([len(text) for text in given], kind="stable") if by_length else np.arange(len(given))
        scores = np.zeros((len(given), len(DIMENSIONS)), np.float32)
        with torch.inference_mode():
            for at in range(0, len(order), BATCH):
                chosen = order[at : at + BATCH]
                inputs = self.tokenizer([given[k] for k in chosen], return_tensors="pt", padding=True).to(self.device)
                state = self.body(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state[:, 0]
                logits = (state @ self.heads.T).reshape(len(chosen), len(DIMENSIONS), LEVELS)
                scores[chosen] = level_scores(torch.softmax(logits.double(), dim=2).cpu().numpy())
        return scores


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Texts per second of each way, and the stage's as a share of each loop's."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    given = written(options.texts)
    column = pa.array(given, pa.large_string())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, "small_celadon" if options.small else "celadon")
        stage = Checkpoint(folder, celadon=True, labels={}, activation="softmax", device=options.device, pickled=False)
        parts = [
            given[row].encode()[first:end].decode()
            for row, first, end, _ in windows(column, stage.tokenizer, WINDOW - 2)
        ]
        library = Library(folder, options.device)
        ways = {
            "stage": lambda: stage.score_texts(column, window_tokens=WINDOW, batch_size=BATCH).scores,
            "library, by length": lambda: library(parts, True),
            "library, as it comes": lambda: library(parts, False),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        scores: dict[str, np.ndarray] = {}
        for turn in range(options.rounds + 1):  # the first warms up
            for way, run in ways.items():
                start = time.process_time() if options.device == "cpu" else time.perf_counter()
                scores[way] = run()
                end = time.process_time() if options.device == "cpu" else time.perf_counter()
                seconds[way] += [end - start] if turn else []
    medians = {way: statistics.median(found) for way, found in seconds.items()}
    return {
        "device": torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu, 1 thread, processor time",
        "texts": len(given),
        "windows": len(parts),
        "words": WORDS,
        "kilobytes_per_second": {way: round(column.nbytes / value / 1e3, 1) for way, value in medians.items()},
        "stage_to_library": {way: round(one / medians["stage"], 3) for way, one in medians.items() if way != "stage"},
        "largest_difference": round(max(float(np.abs(one - scores["stage"]).max()) for one in scores.values()), 6),
    }


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    json.dump(report(parser.parse_args()), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
