"""The run that removals are tried on: JSON lines, where a document can be blanked out without moving any other."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.provenance.removal import RemovalKey
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.removal.remove import Removed, Terms, remove_documents
from gristmill.pipeline.removal.selection import By, Request
from gristmill.pipeline.running.engine import Engine
from tests.pipeline.toy_runs import PLUGINS

assert PLUGINS

CONFIG = """
name: web
sidecar_documents: 1
seed: 5
sources:
  a: {{format: jsonl, paths: ["{root}/in/a/*.jsonl"], license: {{spdx: CC0-1.0, stated_by: author}}}}
  b: {{format: jsonl, paths: ["{root}/in/b/*.jsonl"]}}
stages:
  length: {{from: [a, b], least: 8}}
  exact: {{normalise: none, keep_notes: true}}
  split: {{at: 40}}
  double: {{from: split.low}}
outputs:
  corpus: {{path: "{root}/out/corpus", from: double, shard_bytes: 900, dropped: all,
           kinds: {{lines: {{format: jsonl}}, parts: {{format: parquet, partition_by: [lang]}}}}}}
  long: {{path: "{root}/out/long", from: split.high, shard_bytes: 600, shuffle: true, kinds: {{lines: {{format: jsonl}}}}}}
"""
KEY = RemovalKey(bytes(range(32)))


STAGES = ("toy_stages", "audit_stages")


def run(text: str) -> None:
    Engine(make_plan(load(text, "test.yaml", plugins=STAGES)), InlineExecutor()).run()


def write_input(root: Path, seed: int = 1, documents: int = 40) -> None:
    """Two sources that use some ids both, with duplicates, short texts and a line that is no JSON."""
    rng = random.Random(seed)
    texts = [" ".join(f"w{rng.randrange(500)}" for _ in range(rng.randrange(1, 22))) for _ in range(documents)]
    for source in ("a", "b"):
        for file in range(2):
            lines = []
            for row in range(documents // 2):
                text = rng.choice(texts) if rng.random() < 0.6 else f"own {source}{file} {row} " + rng.choice(texts)
                number = file * (documents // 2) + row
                ident = f"n{number}" if number % 5 == 0 else f"{source}-{number}"
                url = f"https://{source}.example/{file}/{row}"
                lines.append(json.dumps({"id": ident, "url": url, "text": text, "lang": rng.choice(["de", "en"])}))
            lines[7] = '{"id": "broken'
            folder = root / "in" / source
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"part-{file}.jsonl").write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Web:
    """A finished run of CONFIG, and the folders of its outputs."""

    root: Path
    outputs: tuple[str, ...]

    def remove(self, target: Path, wanted: list[str], by: By = "urls", **options: Any) -> Removed:
        terms = {
            name: options.pop(name)
            for name in ("key", "signed_by", "unsigned", "unaudited", "later")
            if name in options
        }
        request = Request(by, tuple(wanted), **options)
        return remove_documents(
            self.outputs, str(target), request, Terms("asked for", KEY, **{"unsigned": True, **terms})
        )

    def documents(self) -> list[dict[str, Any]]:
        lines = [line for path in sorted((self.root / "in").rglob("*.jsonl")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def without(self, root: Path, urls: set[str]) -> Web:
        """A run over the same input in which some documents never were: their lines are blank."""
        for path in sorted((self.root / "in").rglob("*.jsonl")):
            lines = path.read_text().splitlines()
            blank = [" " * len(line) if any(f'"{url}"' in line for url in urls) else line for line in lines]
            copy = root / path.relative_to(self.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text("\n".join(blank) + "\n")
        run(CONFIG.format(root=root))
        return _web(root)


def web(root: Path, seed: int = 1) -> Web:
    """Writes the input and runs."""
    write_input(root, seed)
    run(CONFIG.format(root=root))
    return _web(root)


def _web(root: Path) -> Web:
    return Web(root, (str(root / "out/corpus"), str(root / "out/long")))


def manifest(folder: Path) -> Predicate:
    found = read_manifest(str(folder))
    assert found is not None
    return found
