"""Config fields that take one name or a list of them take both as YAML gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.stage import Stage
from gristmill.pipeline.testing import make_stage
from gristmill.stages.classifier.stage import Classifier
from gristmill.stages.deduplication.exact import Exact
from gristmill.stages.extraction.stage import Extract
from gristmill.stages.quantiles.stage import Quantiles
from gristmill.stages.rebalancing.mix import Mix
from gristmill.stages.urls.stage import UrlFilter

CASES: list[tuple[type[Stage], dict[str, Any], str, list[str]]] = [
    (Classifier, {"model": "m.bin", "label": "hq", "keep_fraction": 0.1}, "within", ["language", "source"]),
    (Exact, {}, "within", ["language", "source"]),
    (Quantiles, {"score": "edu"}, "within", ["language", "source"]),
    (Mix, {}, "seen", ["bulk_repeats", "last_repeats"]),
    (UrlFilter, {}, "domains", ["a.txt", "b.txt"]),
    (Extract, {}, "with", ["trafilatura", "resiliparse"]),
]


@pytest.mark.parametrize(("stage", "config", "field", "names"), CASES, ids=[case[0].__name__ for case in CASES])
def test_one_name_and_a_list_are_taken(
    stage: type[Stage], config: dict[str, Any], field: str, names: list[str]
) -> None:
    for given, expected in ((names[0], names[:1]), (names, names)):
        made = make_stage(stage, {**config, field: given}).config
        found = made.extractors if field == "with" else getattr(made, field)
        assert [str(one) if isinstance(one, Path) else one for one in found] == expected
