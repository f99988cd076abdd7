"""Harmless texts, hateful ones, and texts without any word."""

from gristmill.pipeline.testing import InvarianceCase
from tests.invariance_cases.texts import documents

CASES = [
    InvarianceCase("route", {}, documents),
    InvarianceCase("the sentence as witness", {"witness_text": True}, documents),
    InvarianceCase(
        "drop on the scale of the commons",
        {"tiers": "commons", "policy": "drop", "max_chance": None, "cuts": {"gender_sex": [0.3, 0.4, 0.5]}},
        documents,
    ),
]
