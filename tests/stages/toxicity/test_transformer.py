"""Checkpoints in Celadon's layout and other classifiers. What runs a model needs torch and transformers and has
the marker `torch`: `make test` leaves it out, `pytest -m torch` runs it where the extra `transformers` is installed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import StageContext
from gristmill.stages.toxicity import transformer as celadon
from gristmill.stages.toxicity.model import DIMENSIONS
from gristmill.stages.toxicity.stage import WINDOWS, Toxicity, ToxicityConfig
from gristmill.stages.toxicity.transformer import CELADON_CUTS, check_folder, level_scores, windows

WORDS = "the river is wide and people walk home . bad worse worst".split()


def test_scores_of_level_probabilities_give_back_the_likeliest_level() -> None:
    draw = np.random.default_rng(4)
    probabilities = draw.dirichlet([0.4] * 4, (500, 5))
    probabilities[0] = [0, 0, 0, 1]
    scores = level_scores(probabilities)
    assert scores.dtype == np.float32 and scores.min() >= 0 and scores.max() < 1
    levels = (scores[:, :, None] >= np.array(CELADON_CUTS, np.float32)).sum(axis=2)
    assert levels.tolist() == probabilities.argmax(axis=2).tolist()


class LetterTokenizer:
    """One token per word, so that windows can be told without a model."""

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        found = list(re.finditer(r"\S+", text))
        assert options["return_offsets_mapping"] and not options["truncation"]
        return {"input_ids": [len(m.group()) for m in found], "offset_mapping": [m.span() for m in found]}


def spans(texts: list[str], room: int) -> list[tuple[int, str]]:
    return [
        (row, texts[row].encode()[first:end].decode())
        for row, first, end, _ in windows(pa.array(texts, pa.large_string()), LetterTokenizer(), room)
    ]


def test_windows_are_whole_sentences_and_long_sentences_are_cut_but_never_cut_off() -> None:
    text = "Ä b. c d e. f g h i j k l m. n"
    assert spans([text, "", "o p"], 5) == [(0, "Ä b. c d e."), (0, "f g h i j"), (0, "k l m. n"), (2, "o p")]


def test_every_word_is_in_exactly_one_window() -> None:
    text = " ".join(f"wört{i}{'.' if i % 7 == 0 else ''}" for i in range(400))
    for room in (1, 3, 50, 1000):
        assert " ".join(part for _, part in spans([text], room)).split() == text.split()


def test_a_missing_or_damaged_checkpoint_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint here: expected a folder with config.json"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no weights here"):
        check_folder(tmp_path)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"needs the package torch.*gristmill\[transformers\]"):
        celadon.require("torch")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backend": "celadon"}, "needs the folder of a checkpoint"),
        ({"backend": "hf", "model": "x"}, "needs the classifier's labels"),
        ({"backend": "celadon", "model": "x", "labels": {"hate": "religion"}}, "no other takes any"),
        ({"backend": "hf", "model": "x", "labels": {"hate": "relgion"}}, "did you mean `religion`"),
    ],
)
def test_a_backend_without_what_it_needs_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ToxicityConfig(**config)


def write_tokenizer(folder: Path) -> None:
    import tokenizers
    import transformers

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    wrapped.save_pretrained(str(folder))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint in Celadon's layout, with random weights."""
    import torch
    import transformers

    folder = tmp_path / "celadon"
    folder.mkdir()
    write_tokenizer(folder)
    config = transformers.DebertaV2Config(
        vocab_size=4 + len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
    )  # fmt: skip
    config.save_pretrained(str(folder))
    torch.manual_seed(7)
    encoder = transformers.DebertaV2Model(config)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tensors = {f"deberta.{key}": value for key, value in encoder.state_dict().items()}
    for at in range(5):
        tensors[f"heads.{at}.weight"] = torch.randn(4, 16)
        tensors[f"heads.{at}.bias"] = torch.randn(4)
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


TEXTS = ["the river is wide . people walk home .", "bad worse worst", "", "worst " * 300 + ". the river", "home ."]


def celadon_stage(folder: Path, **config: Any) -> Toxicity:
    return Toxicity(ToxicityConfig(backend="celadon", model=folder, window_tokens=16, listed_from=0.01, **config))


@pytest.mark.torch
def test_celadon_scores_equal_those_of_the_model_written_out(tiny: Path) -> None:
    import torch
    import transformers

    one = celadon_stage(tiny)
    one.check_files()
    columns = one.measure(pa.table({"text": pa.array(TEXTS[:2], pa.large_string())}), StageContext())
    tensors = torch.load(tiny / "pytorch_model.bin", weights_only=True)
    encoder = transformers.DebertaV2Model(transformers.DebertaV2Config.from_pretrained(str(tiny))).eval()
    encoder.load_state_dict({key[8:]: value for key, value in tensors.items() if key.startswith("deberta.")})
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny))
    for row in range(2):
        with torch.no_grad():
            state = encoder(**tokenizer(TEXTS[row], return_tensors="pt")).last_hidden_state[:, 0]
            logits = [state @ tensors[f"heads.{at}.weight"].T + tensors[f"heads.{at}.bias"] for at in range(5)]
        expected = level_scores(torch.softmax(torch.stack(logits, dim=1).double(), dim=2).numpy())[0]
        for at, name in enumerate(DIMENSIONS):
            assert columns[f"toxicity_{name}_score"][row].as_py() == pytest.approx(float(expected[at]), abs=1e-5)


@pytest.mark.torch
def test_celadon_reads_long_texts_to_their_end_whatever_the_batches(tiny: Path) -> None:
    table = pa.table({"text": pa.array(TEXTS, pa.large_string())})
    wide = celadon_stage(tiny, batch_size=64).measure(table, StageContext())
    narrow = celadon_stage(tiny, batch_size=1).measure(table, StageContext())
    # A sentence is cut at 256 words: 256 tokens are 19 windows of at most 14, and the 45 and 2 after them 4 more.
    assert wide["toxicity_sentences"].to_pylist() == [1, 1, 0, 23, 1]
    assert wide["toxicity_race_origin_score"][2].as_py() == 0.0
    for name in DIMENSIONS:
        column = f"toxicity_{name}_score"
        assert wide[column].to_pylist() == pytest.approx(narrow[column].to_pylist(), abs=1e-5)
    last = wide[WINDOWS][3].as_py()[-1]
    assert last["offset"] + last["length"] == len(TEXTS[3])
    decisions = celadon_stage(tiny, tiers="commons").decide(pa.table(dict(wide)), None, StageContext())
    assert set(decisions.columns["toxicity_tier"].to_pylist()) <= {"none", "mild", "toxic"}
    assert decisions.tallies == {}


@pytest.mark.torch
def test_a_checkpoint_with_other_heads_or_another_encoder_is_refused(tiny: Path) -> None:
    import torch

    table = pa.table({"text": pa.array(["bad"], pa.large_string())})
    tensors = torch.load(tiny / "pytorch_model.bin", weights_only=True)
    tensors["heads.4.weight"] = torch.zeros(2, 16)
    torch.save(tensors, tiny / "pytorch_model.bin")
    celadon.checkpoint.cache_clear()
    with pytest.raises(ConfigError, match=r"head of violence must be heads.4.weight of shape \(4, 16\)"):
        celadon_stage(tiny).measure(table, StageContext())
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    celadon.checkpoint.cache_clear()
    with pytest.raises(ConfigError, match="found 'bert'"):
        celadon_stage(tiny).measure(table, StageContext())


@pytest.mark.torch
def test_any_sequence_classifier_scores_the_dimensions_that_its_labels_stand_for(tmp_path: Path) -> None:
    import torch
    import transformers

    write_tokenizer(tmp_path)
    config = transformers.BertConfig(
        vocab_size=4 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_labels=3, id2label={0: "fine", 1: "faith_hate", 2: "threat"}, label2id={"fine": 0, "faith_hate": 1, "threat": 2},
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(str(tmp_path))
    labels = {"faith_hate": "religion", "threat": "violence"}
    one = Toxicity(ToxicityConfig(backend="hf", model=tmp_path, labels=labels, listed_from=0.01))
    columns = one.measure(pa.table({"text": pa.array(["bad worse"], pa.large_string())}), StageContext())
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    inputs = tokenizer("bad worse", return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        expected = torch.softmax(model(**inputs).logits, dim=1)[0].tolist()
    assert columns["toxicity_religion_score"][0].as_py() == pytest.approx(expected[1], abs=1e-5)
    assert columns["toxicity_violence_score"][0].as_py() == pytest.approx(expected[2], abs=1e-5)
    assert columns["toxicity_ability_score"][0].as_py() == 0.0
    wrong = Toxicity(ToxicityConfig(backend="hf", model=tmp_path, labels={"hate": "religion"}))
    with pytest.raises(ConfigError, match="it has faith_hate, fine, threat, and 'hate' is not among them"):
        wrong.measure(pa.table({"text": pa.array(["bad"], pa.large_string())}), StageContext())
