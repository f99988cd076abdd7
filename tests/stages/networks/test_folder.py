"""A network's folder is judged before anything is loaded. None of these tests needs torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.networks import folder as folders
from gristmill.stages.networks.folder import located, read_folder, resident_bytes
from tests.stages.networks.tiny_networks import changed_config, write_bert, write_celadon, write_safetensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_classifier_a_regressor_and_several_heads_are_told_apart(tmp_path: Path) -> None:
    classifier = read_folder(str(write_bert(tmp_path / "bert", ["fine", "hate"])))
    assert classifier.labels == ("fine", "hate") and classifier.heads == ()
    assert read_folder(str(write_bert(tmp_path / "one"))).labels == ("LABEL_0",)
    assert read_folder(str(write_celadon(tmp_path / "celadon"))).heads == (4, 4, 4, 4, 4)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")


def deep_config(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


def shards(names: dict[str, Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))

    return write


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def configured(**values: Any) -> Callable[[Path], None]:
    return lambda folder: changed_config(folder, **values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (removed("config.json"), "no network here: expected a folder with config.json"),
        (written("config.json", "{"), "config.json: not JSON"),
        (written("config.json", "[]"), "expected a JSON object, found list"),
        (deep_config, "config.json: not JSON"),
        (configured(model_type=None), "it has no `model_type`"),
        (written("adapter_config.json", "{}"), "this is an adapter of another network"),
        (removed("model.safetensors"), "no weights here: expected model.safetensors"),
        (removed("tokenizer.json"), "no tokenizer here: expected tokenizer.json"),
        (cut, "no safetensors file, or a part of one"),
        (no_header, "no safetensors file, or a part of one"),
        (huge_header, "no safetensors file, or a part of one"),
        (shards({"a": "one.safetensors"}), "one.safetensors is missing"),
        (shards({"a": "../one.safetensors"}), "it names no files"),
        (configured(label2id={"fine": 1, "hate": 0}), "id2label and label2id contradict each other about `fine`"),
        (configured(label2id={"fine": 0}), "contradict each other about `hate`"),
        (configured(id2label={"0": "a", "1": "a"}, label2id=None), "gives two outputs the same name"),
        (configured(id2label={"1": "a", "2": "b"}), "id2label has the keys 1, 2; expected 0, 1, 2"),
        (configured(id2label=[], label2id=None), r"id2label is \[\]; expected 1 to"),
        (configured(id2label=None, num_labels=-3), "num_labels is -3; expected 1 to"),
    ],
)
def test_a_folder_that_holds_no_network_is_refused_with_what_is_wrong(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = write_bert(tmp_path / "net", ["fine", "hate"])
    damage(folder)
    with pytest.raises(ConfigError, match=message):
        read_folder(str(folder))


def test_pickled_weights_are_refused_unless_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pickled.*may run code.*pickled_weights: true"):
        read_folder(str(folder))
    assert read_folder(str(folder), pickled=True).pickled


def test_a_config_of_a_gigabyte_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bert(tmp_path / "net")
    monkeypatch.setattr(folders, "MAX_JSON", 100)
    with pytest.raises(ConfigError, match="bytes; expected at most 100"):
        read_folder(str(folder))


@pytest.mark.parametrize(
    "model",
    ["hf://owner/name", "hf://owner/name@main", f"hf://owner@{COMMIT}", f"hf:owner/name@{COMMIT}", "hf://../x@1"],
)
def test_a_model_of_the_hub_without_a_commit_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="hf://OWNER/NAME@COMMIT with the 40 digits"):
        located(model)


def test_a_model_of_the_hub_that_is_in_the_cache_is_taken_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)  # importing it would raise
    write_bert(tmp_path / "models--owner--name" / "snapshots" / COMMIT)
    assert read_folder(f"hf://owner/name@{COMMIT}").labels == ("LABEL_0",)


def test_a_model_of_the_hub_that_cannot_be_fetched_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="not in this machine's cache .* and cannot be fetched"):
        read_folder(f"hf://owner/name@{COMMIT}")


def test_memory_is_stated_from_the_sizes_of_files(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "net")
    before = resident_bytes(str(folder), 1000)
    write_safetensors(folder / "more.safetensors", {"w": __import__("numpy").zeros(1 << 20, "float32")})
    assert resident_bytes(str(folder), 1000) == before + 3 * (folder / "more.safetensors").stat().st_size
    assert resident_bytes(str(tmp_path / "nowhere"), 1000) == 0


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "PACKAGES", ("torch_of_nobody",))
    with pytest.raises(ConfigError, match=r"package torch_of_nobody.*gristmill\[transformers\]"):
        folders.require()
