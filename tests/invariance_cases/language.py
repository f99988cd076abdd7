"""Texts in six languages and four scripts, and some in none."""

from gristmill.pipeline.testing import InvarianceCase
from tests.invariance_cases.texts import documents

CASES = [
    InvarianceCase("keep all", {}, documents),
    InvarianceCase(
        "keep some, by score",
        {"keep": ["por_Latn", "deu_Latn"], "min_score": 0.5, "min_scores": {"deu_Latn": 0.9}},
        documents,
    ),
    InvarianceCase("fastText's lid.176", {"backend": "fasttext", "top": 3}, documents),
]
