"""One small run for the tests of exports: two sources, one under a licence in words that tries to break formats; two languages;
two outputs of which one has no column `url`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command

WORDS = 'ask "us"\n---\nlicense: mit\n<script>alert(1)</script> | {"a": 1}'
"""A licence in free text, made to look like front matter, HTML, a table's cell and JSON."""
CONFIG = """
name: small
sources:
  crawl:
    format: jsonl
    paths: [{folder}/crawl.jsonl]
    snapshot: CC-MAIN-2024-10
    license: {{spdx: cc-by-4.0, stated_by: author, evidence: "https://example.org/license"}}
  shelf:
    format: jsonl
    paths: [{folder}/shelf.jsonl]
    license: {{statement: {words}, attribution: {words}, creators: [{words}, Shelf], collector: {words}, terms: {words},
      conditions: [attribution, non-commercial], language: [eng_Latn, de], model_generated: [{words}]}}
stages:
  language: {{from: [crawl, shelf]}}
  exact: {{}}
outputs:
  corpus: {{from: exact, path: {folder}/corpus}}
  bare: {{from: exact, path: {folder}/bare, columns: [id, text]}}
"""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the run's outputs `corpus` and `bare`."""
    root = tmp_path_factory.mktemp("exports")
    draw = random.Random(4)
    english = ["mill", "grain", "river", "stone", "corn", "baker", "wheat", "house"]
    german = ["Mühle", "Korn", "Fluss", "Stein", "Bäcker", "Weizen", "Haus"]

    def text(number: int) -> str:
        if number % 5 == 4:
            return " ".join(f"Die {a} und das {b} waren immer bei den Menschen." for a, b in _pairs(draw, german))
        return " ".join(f"The {a} and the {b} were always with the people." for a, b in _pairs(draw, english))

    crawled = [
        {"id": f"c{n}", "url": f"https://www.site{n % 7}.co.uk/{n}", "text": text(n) * (1 + n % 7)} for n in range(40)
    ]
    crawled.append({"id": "twin", "url": "https://twin.example.com/", "text": crawled[0]["text"]})
    shelved = [{"id": f"s{n}", "text": text(n)} for n in range(10)]
    for name, rows in (("crawl", crawled), ("shelf", shelved)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "small.yaml").write_text(CONFIG.format(folder=root, words=json.dumps(WORDS)))
    assert run_command(["run", str(root / "small.yaml"), "--quiet", "--executor", "inline"]) == 0
    return root


def _pairs(draw: random.Random, words: list[str]) -> list[tuple[str, str]]:
    return [(draw.choice(words), draw.choice(words)) for _ in range(6)]
