"""The stage `encoder`: scores are those of the library, columns and limits those of the config. What runs a network has
the marker `torch`; `make test-torch` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import DROPPED, StageContext
from gristmill.stages.encoder.stage import Encoder, EncoderConfig
from gristmill.stages.networks.network import network
from tests.stages.networks.tiny_networks import (
    POSITIONS,
    VOCABULARY,
    changed_config,
    write_bert,
    write_celadon,
    write_safetensors,
)

EVERY = {"values": {"0": 0.0, "1": 1.0, "2": 2.0, "3": 3.0}}
TEXTS = [
    "the river is wide and people walk home .",
    "bad worse worst",
    "",
    "school teaches water cycle . " * 60,
    "home .",
    "a b c",
]


def encoder(folder: Path, scores: dict[str, Any], **config: Any) -> Encoder:
    text = json.dumps({"model": str(folder), "scores": scores, **config})
    return Encoder(EncoderConfig.model_validate_json(text, strict=True))


def table(texts: list[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string())})


def measured(stage: Encoder, texts: list[str] = TEXTS) -> dict[str, list[Any]]:
    return {name: array.to_pylist() for name, array in stage.measure(table(texts), StageContext()).items()}


# What is refused before anything is loaded


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scores": {}}, "at least 1 item"),
        ({"scores": {"Edu": {}}}, "scores.Edu: a name is lower-case"),
        ({"scores": {"edu": {"label": "a", "values": {"a": 1.0}}}}, "takes `label` or `values`, not both"),
        ({"scores": {"edu": {"values": {"a": 1.0}, "head": -1}}}, "`head` is a number from 0 on"),
        ({"scores": {"edu": {"lable": "a"}}}, "Extra inputs"),
        ({"scores": {"edu": {}}, "thresholds": {"edo": 1.0}}, "thresholds.edo: there is no such score; did you mean `edu`"),
        ({"scores": {"edu": {}}, "thresholds": {"edu": 3.0}, "at_most": {"edu": 2.0}}, "thresholds.edu is above at_most.edu"),
        ({"scores": {"edu": {}}, "dtype": "float16"}, "'float32' or 'bfloat16'"),
        ({"scores": {"edu": {}}, "max_tokens": 2}, "greater than or equal to 8"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_meant_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderConfig.model_validate_json(json.dumps({"model": "m", **config}), strict=True)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({}, r"scores.s: the network in .* has 2 outputs; say which makes the score, by `label: fine`"),
        ({"label": "fien"}, r"scores.s.label: .* has no label 'fien'; did you mean `fine`"),
        ({"values": {"fine": 0.0, "hat": 1.0}}, r"scores.s.values.hat: .* has no label 'hat'; did you mean `hate`"),
        ({"head": 1, "label": "fine"}, r"scores.s.head: 1: the network in .* has 1 head"),
    ],
)
def test_a_score_that_the_network_does_not_have_is_refused_before_any_work(
    tmp_path: Path, score: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.stages.networks.folder.PACKAGES", ())
    folder = write_bert(tmp_path / "net", ["fine", "hate"])
    with pytest.raises(ConfigError, match=message):
        encoder(folder, {"s": score}).check_files()
    encoder(folder, {"s": {"label": "hate"}}).check_files()


def test_values_of_a_regressor_and_levels_that_a_head_does_not_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.stages.networks.folder.PACKAGES", ())
    with pytest.raises(ConfigError, match="has one output, whose value is the score"):
        encoder(write_bert(tmp_path / "one"), {"s": {"values": {"LABEL_0": 1.0}}}).check_files()
    with pytest.raises(ConfigError, match=r"has no label '4'"):
        encoder(write_celadon(tmp_path / "c"), {"s": {"head": 2, "label": "4"}}).check_files()


def test_what_may_change_a_score_is_in_the_fingerprint_and_what_may_not_is_not(tmp_path: Path) -> None:
    from gristmill.pipeline.planning.graph import Node
    from gristmill.pipeline.planning.plan import fingerprint

    folder, other = write_bert(tmp_path / "net"), write_bert(tmp_path / "other", seed=2)

    def signal_of(model: Path = folder, **config: Any) -> str:
        return fingerprint(Node("n", "encoder", encoder(model, {"edu": {}}, **config), ()), 0).signal

    plain = signal_of()
    assert plain == signal_of(thresholds={"edu": 3.0}) == signal_of(pickled_weights=True)
    changed = [signal_of(other), signal_of(dtype="bfloat16"), signal_of(device="cuda"), signal_of(threads=2)]
    assert len({plain, *changed}) == 5


def test_a_gpu_is_asked_for_where_one_is_used(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    assert encoder(folder, {"edu": {}}).spec.resources.gpus == 0.0
    needs = encoder(folder, {"edu": {}}, device="cuda", threads=4).spec.resources
    assert (needs.gpus, needs.cpus) == (1.0, 4.0) and needs.memory_bytes > 700 << 20


# Decisions, from given signals


def decided(config: dict[str, Any], edu: list[float | None], hate: list[float | None]) -> Any:
    stage = encoder(Path("/nowhere"), {"edu": {}, "hate": {}}, **config)
    batch = pa.table(
        {
            "edu_score": pa.array(edu, pa.float32()),
            "hate_score": pa.array(hate, pa.float32()),
            "encoder_truncated": pa.array([True] + [False] * (len(edu) - 1)),
        }
    )
    return stage.decide(batch, None, StageContext())


def test_documents_outside_a_limit_are_dropped_with_the_rule_the_score_and_the_limit() -> None:
    limits = {"thresholds": {"edu": 3.0}, "at_most": {"hate": 0.5}}
    made = decided(limits, [3.0, 2.9, 5.0, None], [0.5, 0.9, 0.6, 0.1])
    assert made.rules == ("no_edu_score", "no_hate_score", "low_edu_score", "high_hate_score")
    assert made.port.tolist() == [0, DROPPED, DROPPED, DROPPED]
    assert made.rule.tolist() == [-1, 2, 3, 0]
    assert made.value[1] == pytest.approx(2.9) and made.threshold.tolist()[1:3] == [3.0, 0.5]
    failed = [[], ["low_edu_score", "high_hate_score"], ["high_hate_score"], ["no_edu_score"]]
    assert made.columns["encoder_failed"].to_pylist() == failed
    assert made.tallies == {"truncated": 1, "no_edu_score": 1}


def test_marks_keep_documents_and_scores_without_limits_fail_nobody() -> None:
    made = decided({"thresholds": {"edu": 3.0}, "on_fail": "mark"}, [1.0, None], [None, None])
    assert made.port.tolist() == [0, 0] and made.rule.tolist() == [1, 0]
    free = decided({}, [1.0, None], [None, None])
    assert free.rules == () and free.port.tolist() == [0, 0]
    assert free.columns["encoder_failed"].to_pylist() == [[], []]


# With a network


def by_library(folder: Path, texts: list[str]) -> np.ndarray:
    """Logits as the library gives them, one text at a time."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt", truncation=True)).logits[0].tolist() for text in texts]
    return np.array(rows)


@pytest.mark.torch
def test_a_regressor_gives_the_librarys_score_whatever_the_batches(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    expected = by_library(folder, TEXTS)[:, 0]
    for config in ({}, {"batch_tokens": 64}, {"threads": 2}):
        stage = encoder(folder, {"edu": {}}, **config)
        stage.check_files()
        found = measured(stage)
        assert found["edu_score"][2] is None, "a blank text has no score"
        known = [0, 1, 3, 4, 5]
        assert [found["edu_score"][at] for at in known] == pytest.approx(expected[known].tolist(), abs=1e-5)
        assert found["encoder_truncated"] == [False, False, False, True, False, False]


@pytest.mark.torch
def test_a_text_that_just_fits_is_not_called_cut_off(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    fits, longer = " ".join(["water"] * (POSITIONS - 2)), " ".join(["water"] * (POSITIONS - 1))
    found = measured(encoder(folder, {"edu": {}}), [fits, longer])
    assert found["encoder_truncated"] == [False, True]
    assert found["edu_score"][0] == pytest.approx(found["edu_score"][1], abs=1e-5)
    short = measured(encoder(folder, {"edu": {}}, max_tokens=8), [fits])
    assert short["encoder_truncated"] == [True]
    assert short["edu_score"] == pytest.approx(by_library(folder, [" ".join(["water"] * 6)])[:, 0].tolist(), abs=1e-5)


@pytest.mark.torch
def test_scores_are_probabilities_and_expectations_of_labels(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net", ["low", "mid", "high"])
    logits = by_library(folder, TEXTS[:2])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-logits))
    scores = {"high": {"label": "high"}, "grade": {"values": {"low": 0.0, "mid": 1.0, "high": 2.0}}}
    found = measured(encoder(folder, scores), TEXTS[:2])
    assert found["high_score"] == pytest.approx(softmax[:, 2].tolist(), abs=1e-5)
    assert found["grade_score"] == pytest.approx((softmax @ [0, 1, 2]).tolist(), abs=1e-5)
    changed_config(folder, problem_type="multi_label_classification")
    network.cache_clear()
    found = measured(encoder(folder, scores), TEXTS[:2])
    assert found["high_score"] == pytest.approx(sigmoid[:, 2].tolist(), abs=1e-5)
    assert found["grade_score"] == pytest.approx((sigmoid @ [0, 1, 2] / sigmoid.sum(axis=1)).tolist(), abs=1e-5)


@pytest.mark.torch
def test_several_heads_are_scored_with_one_tokenisation_and_one_run_of_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.stages.networks.network import Network

    calls: list[int] = []
    tokens = Network.tokens

    def counted(self: Network, texts: Any, most: int) -> Any:
        calls.append(len(texts))
        return tokens(self, texts, most)

    monkeypatch.setattr(Network, "tokens", counted)
    folder = write_celadon(tmp_path / "net", heads=(4, 4, 2))
    both = encoder(folder, {"first": {"head": 0, **EVERY}, "last": {"head": 2, "label": "1"}})
    both.check_files()
    found = measured(both)
    assert calls == [len(TEXTS)]
    alone = measured(encoder(folder, {"last": {"head": 2, "label": "1"}}))
    assert found["last_score"] == alone["last_score"]
    assert all(0 <= score <= 3 for score in found["first_score"] if score is not None)


@pytest.mark.torch
def test_bfloat16_differs_within_the_stated_tolerance(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net", ["fine", "hate"])
    one = encoder(folder, {"hate": {"label": "hate"}})
    other = encoder(folder, {"hate": {"label": "hate"}}, dtype="bfloat16")
    first, second = measured(one, TEXTS[:2])["hate_score"], measured(other, TEXTS[:2])["hate_score"]
    assert first != second and first == pytest.approx(second, abs=other.spec.tolerances["hate_score"])


@pytest.mark.torch
def test_weights_that_are_missing_or_of_another_size_or_no_numbers_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = write_bert(tmp_path / "net")
    tensors = dict(load_file(str(folder / "model.safetensors")))

    def refused(change: dict[str, Any], message: str, name: str) -> None:
        path = tmp_path / name
        write_bert(path)
        kept = {key: value for key, value in {**tensors, **change}.items() if value is not None}
        write_safetensors(path / "model.safetensors", kept)
        with pytest.raises(ConfigError, match=message):
            measured(encoder(path, {"edu": {}}))

    headless = {"classifier.weight": None, "classifier.bias": None}
    refused(headless, "2 tensors are missing, such as classifier.bias, and would be random numbers", "headless")
    refused({"classifier.weight": np.zeros((3, 16), np.float32)}, "the network .* cannot be loaded", "other_size")
    refused({"classifier.bias": np.full(1, np.nan, np.float32)}, "gives .nan. for a text of one letter", "nan")
    unknown = write_bert(tmp_path / "unknown")
    changed_config(unknown, model_type="nobodys_network", architectures=None)
    with pytest.raises(ConfigError, match=r"model_type nobodys_network\) cannot be loaded"):
        measured(encoder(unknown, {"edu": {}}))


@pytest.mark.torch
def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")
    changed_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    with pytest.raises(ConfigError, match="cannot be loaded"):
        measured(encoder(folder, {"edu": {}}))
    assert not marker.exists()


@pytest.mark.torch
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="`device: cuda`, and torch finds no GPU here"):
        measured(encoder(write_bert(tmp_path / "net"), {"edu": {}}, device="cuda"))


@pytest.mark.torch
def test_a_batch_that_a_gpu_does_not_hold_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    stage = encoder(write_bert(tmp_path / "net"), {"edu": {}})
    measured(stage)
    loaded = network(stage.config.model, "cpu", "float32", 1, False)

    def full(**given: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(loaded, "_forward", full)
    with pytest.raises(
        ConfigError, match=r"memory does not hold a batch of \d+ sequences of \d+ tokens. Lower `batch_tokens`"
    ):
        measured(stage)


@pytest.mark.torch
def test_a_text_for_which_the_network_gives_no_number_has_no_score_and_harms_no_other(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = write_bert(tmp_path / "net")
    tensors = dict(load_file(str(folder / "model.safetensors")))
    tensors["bert.embeddings.word_embeddings.weight"][VOCABULARY.index("worst")] = np.nan
    expected = measured(encoder(folder, {"edu": {}}))["edu_score"]
    write_safetensors(folder / "model.safetensors", tensors)
    network.cache_clear()
    found = measured(encoder(folder, {"edu": {}}))["edu_score"]
    assert found[1] is None, "it has the word"
    assert found[0] == pytest.approx(expected[0], abs=1e-5) and found[3:] == pytest.approx(expected[3:], abs=1e-5)


@pytest.mark.torch
def test_a_network_computes_with_its_threads_and_gives_them_back(tmp_path: Path) -> None:
    import torch

    stage = encoder(write_bert(tmp_path / "net"), {"edu": {}}, threads=1)
    before = torch.get_num_threads()
    seen: list[int] = []
    try:
        torch.set_num_threads(2)
        measured(stage)
        loaded = network(stage.config.model, "cpu", "float32", 1, False)
        forward = loaded._forward
        loaded._forward = lambda **given: (seen.append(torch.get_num_threads()), forward(**given))[1]
        measured(stage)
        assert seen and set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
