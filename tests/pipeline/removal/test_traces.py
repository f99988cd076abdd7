"""Nothing of what was removed is left: both versions are decoded, and the old one holds it in every kind of place."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gristmill.launch.commands.report import write_html
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine
from tests.pipeline.removal.runs import Web
from tests.pipeline.removal.traces import Needles, passages, traces
from tests.pipeline.tokenization.tokenizers_for_tests import as_file
from tests.pipeline.toy_runs import rows_of

CONFIG = """
name: everything
sidecar_documents: 40
seed: 5
sources:
  a: {{format: jsonl, paths: ["{root}/in/*.jsonl"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  urls: {{use: url_filter, urls: ["{root}/urls.txt"]}}
  exact: {{keep_notes: true}}
  minhash: {{keep_notes: true, bands: 14, rows: 8}}
  paragraphs: {{max_repeats: 2}}
  licence: {{column: terms, order: [column], allowed: [CC0-1.0]}}
  warned: {{use: content_warning}}
  copies: {{use: double}}
outputs:
  corpus: {{path: "{root}/out/corpus", dropped: all, shard_bytes: 20000, kinds: {{
    lines: {{format: jsonl}}, parts: {{format: parquet, partition_by: [lang, topic]}},
    mega: {{format: megatron, tokenizer: "{root}/tokenizer.json", end_of_document: "<|endoftext|>"}},
    trove: {{format: datatrove, tokenizer: "{root}/tokenizer.json", end_of_document: "<|endoftext|>"}}}}}}
"""


def write_input(root: Path) -> list[dict[str, Any]]:
    """Two files of made-up pages; every fifth one is to go. Returns those."""
    rng = random.Random(3)
    words = [
        f"{a}{b}"
        for a in ("mar", "tol", "ven", "sil", "kor", "dun")
        for b in ("eth", "ami", "osk", "ulo", "ind", "ary")
    ]
    (root / "in").mkdir(parents=True)
    gone, repeated = [], "A line that stands on many pages of this site."
    for file in range(2):
        lines = []
        for row in range(30):
            going = row % 5 == 2
            text = "\n".join(" ".join(rng.choice(words) for _ in range(14)) + "." for _ in range(4)) + f"\n\n{repeated}"
            name = f"{'withdrawn' if going else 'page'}-{file}-{row}"
            page = {
                "id": name, "url": f"https://www.example.org/{name}/", "text": text, "lang": rng.choice(["de", "en"]),
                "topic": f"topic-{name}" if going else "all", "meta": {"title": " ".join(text.split()[:9]), "tags": [name]},
            }  # fmt: skip
            page["terms"] = f"only for those who asked: {text[:90]}" if (file, row) == (1, 2) else "CC0-1.0"
            if going and row > 10:  # a near-duplicate of the one before, dropped for it
                page["text"] = gone[-1]["text"] if row > 20 else gone[-1]["text"] + "\nOne more word."
            lines.append(json.dumps(page))
            gone += [page] if going else []
        (root / f"in/part-{file}.jsonl").write_text("\n".join(lines) + "\n")
    (root / "urls.txt").write_text(gone[0]["url"] + "\n")
    (root / "tokenizer.json").write_bytes(as_file())
    return gone


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Needles]:
    """The old version, the new one, each with a report beside it, and what must be gone."""
    root = tmp_path_factory.mktemp("everything")
    gone = write_input(root)
    Engine(
        make_plan(load(CONFIG.format(root=root), "test.yaml", plugins=("toy_stages", "audit_stages"))), InlineExecutor()
    ).run()
    old, new = root / "out/corpus", root / "new"
    web = Web(root, (str(old),))
    web.remove(new, [row["url"] for row in gone], unaudited=True)
    names = {row[name] for row in gone for name in ("id", "url")} | {row["topic"] for row in gone}
    keys = set()
    for part in ("data", "ledger", "dropped"):
        keys |= {row["doc_key"] for row in rows_of(old, part) if row["id"] in names}
    lines = [line for path in sorted((root / "in").iterdir()) for line in path.read_text().splitlines()]
    others = [row["text"] for row in map(json.loads, lines) if row["id"] not in names]
    own = set().union(*(passages(row["text"]) for row in gone)) - set().union(*map(passages, others))
    needles = Needles(names, keys, own)
    for folder in (old, new):
        write_html(str(folder), str(folder.with_name(f"{folder.name}-report.html")))
    return old, new, needles


def found_in(version: Path, needles: Needles) -> dict[str, set[str]]:
    """The traces in a version and in the report beside it."""
    return traces([version, version.with_name(f"{version.name}-report.html")], needles)


PAGES = (("pages", {"key"}), ("statistics", {"name"}))
PLACES = {
    **{f"{part}: values": {"name", "key", "passage"} for part in ("data", "dropped", "kinds/parts")},
    **{f"{part}: dictionaries": {"name", "passage"} for part in ("data", "kinds/parts")},
    **{f"{part}: {place}": held for part in ("data", "dropped", "kinds/parts") for place, held in PAGES},
    **{f"ledger: {place}": {"name", "key", "passage"} for place in ("dictionaries", "statistics")},
    **{f"{part}: values": {"key"} for part in ("notes/exact", "notes/minhash", "signals/licence", "index")},
    "dropped: pages": {"name", "key", "passage"},
    "signals/urls: pages": {"name", "key"}, "signals/urls: statistics": {"name"},
    "index: footer": {"name"}, "index: dictionaries": {"name"}, "kinds/parts: names": {"name"},
    "files.parquet: values": {"name"}, "ledger: values": {"name", "key", "passage"},
    "kinds/lines: unpacked": {"name", "key", "passage"}, "kinds/lines: parsed": {"name", "key", "passage"},
    "kinds/mega: tokens": {"passage"}, "kinds/trove: tokens": {"passage"},
    "manifest.json: parsed": {"key"}, "report.html: read": {"name", "key", "passage"},
    **{f"{part}: raw": {"key"} for part in ("data", "dropped", "ledger", "notes/exact", "signals/urls", "manifest.json")},
}  # fmt: skip
"""What the old version holds at least, so that the search would find it in the new one."""


def test_the_old_version_holds_them_in_every_kind_of_place(versions: tuple[Path, Path, Needles]) -> None:
    old, _, needles = versions
    found = found_in(old, needles)
    assert {place: held & found.get(place, set()) for place, held in PLACES.items()} == PLACES
    assert len(needles.keys) == 12
    rules = {row["rule"] for row in rows_of(old, "ledger") if row["doc_key"] in needles.keys}
    assert rules == {
        "blocked_url", "exact_duplicate", "minhash_duplicate", "repeated_paragraph", "licence_unknown", "warned_by_template",
        "doubled",
    }  # fmt: skip


def test_the_new_version_holds_nothing_of_them(versions: tuple[Path, Path, Needles], in_process: None) -> None:
    _, new, needles = versions
    assert found_in(new, needles) == {}
    assert audit_output(str(new), full=True, jobs=1).exit_code == 0
