"""`gristmill evaluate toxicity`: figures of the toxicity stage, as configured, on data that the user has labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.launch.presets import read_config
from gristmill.launch.terminal.console import columns, facts, out, say, say_json
from gristmill.launch.terminal.numbers import count
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.planning.config import load
from gristmill.stages.toxicity.evaluation import evaluate, evaluate_clean, evaluate_dataset, quiet_score
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from gristmill.stages.toxicity.training_texts import read_clean

QUIET = ("above_quiet_score_of_positives", "above_quiet_score_of_clean")
"""Figures that there are with harmless text only."""
BACKENDS = ("embedded", "celadon")
"""Backends that can be named without a config; `hf` needs labels, which a config gives."""


@dataclass(frozen=True, kw_only=True)
class ToxicityOptions:
    """Arguments of the command.

    Attributes:
        file: a labelled file, or with `dataset` the folder of that data set.
        config, node, overrides: the stage as a config has it; `node` where it has several.
        model, backend: without a config, the model file, or the checkpoint's folder.
        clean: Parquet files of harmless text.
    """

    file: str
    dataset: str | None = None
    config: str | None = None
    node: str | None = None
    overrides: Sequence[str] = ()
    model: str | None = None
    backend: str = "embedded"
    clean: Sequence[str] = ()
    as_json: bool = False


def evaluate_toxicity(options: ToxicityOptions) -> int:
    """Scores labelled texts and prints how well that agrees with the labels."""
    stage, named = _stage(options)
    path = Path(options.file)
    for file in options.clean:
        if not Path(file).is_file():
            raise ConfigError(f"--clean: {file}: there is no such file. Name a Parquet file with harmless `text`.")
    harmless = read_clean([Path(file) for file in options.clean]) if options.clean else None
    quiet = None
    if harmless is not None:
        stage.check_files()
        quiet = quiet_score(stage, harmless.text)
    if options.dataset is not None:
        parts = evaluate_dataset(options.dataset, path, stage, quiet)
    else:
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such file. Name a labelled file, or a data set's folder with --dataset."
            )
        parts = {"file": evaluate(path, stage, quiet)}
    clean = evaluate_clean(harmless, stage) if harmless is not None else {}
    figures = {"file": options.file, "dataset": options.dataset, "stage": named, **parts}
    if clean:
        figures["clean"] = clean
    if options.as_json:
        say_json(figures)
        return 0
    for part, found in parts.items():
        title = options.file if part == "file" else f"{options.dataset}, {part.replace('_', '-')}"
        _print(title, named, found)
    if clean:
        _print_clean(clean)
    return 0


def _stage(options: ToxicityOptions) -> tuple[Toxicity, dict[str, Any]]:
    """The stage, and what it is in JSON's types."""
    if options.config is None:
        for name, given in (("--node", options.node), ("--set", options.overrides)):
            if given:
                raise ConfigError(f"{name} goes with --config, which names the config that has the stage.")
        if options.backend not in BACKENDS:
            raise ConfigError(
                f"--backend: {options.backend!r} is none of {', '.join(BACKENDS)}. Other backends are set in a config: "
                "name it with --config."
            )
        if options.backend != "embedded" and options.model is None:
            raise ConfigError(f"--backend {options.backend} needs --model, the folder of a checkpoint.")
        model = None if options.model is None else Path(options.model)
        config = ToxicityConfig(backend="celadon" if options.backend == "celadon" else "embedded", model=model)
        return Toxicity(config), {"backend": options.backend, "model": options.model}
    if options.model is not None or options.backend != "embedded":
        raise ConfigError("--config says which model scores; leave --model and --backend out.")
    text = read_config(options.config)
    config_of_run = load(text.text, text.name, overrides=options.overrides)
    nodes = {spec.name: spec for spec in config_of_run.nodes if issubclass(spec.stage, Toxicity)}
    if not nodes:
        raise ConfigError(f"{text.name}: no node uses the stage `toxicity`. Name another config.")
    if options.node is None and len(nodes) > 1:
        raise ConfigError(f"{text.name}: several nodes use `toxicity`: {', '.join(nodes)}. Name one with --node.")
    name = options.node or next(iter(nodes))
    if name not in nodes:
        raise ConfigError(f"--node {name}: no such toxicity node in {text.name}; {nearest(name, nodes)}")
    made = nodes[name].stage(nodes[name].config)
    if not isinstance(made, Toxicity):
        raise ConfigError(f"{text.name}: `{name}` is not a toxicity stage.")
    weights = made.config.model
    return made, {
        "backend": made.config.backend,
        "model": None if weights is None else str(weights),
        "config": options.config,
        "node": name,
    }


def _print(title: str, named: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    used = f"backend {named['backend']}" + (f", {named['config']}" if named.get("config") else "")
    say(f"{title}: {count(found['texts'])} texts, {used}\n")
    for line in facts(_overall(found["any"])):
        say(line)
    if found["dimensions"]:
        _print_dimensions(found["dimensions"])
    for name, one in found["dimensions"].items():
        if "confusion" in one:
            _print_confusion(name, one["confusion"])
    for key, shown in found.items():
        if key == "by_agreement":
            _print_agreement("any", shown)
        elif key.startswith("by_"):
            _print_groups(key.removeprefix("by_"), shown)
    for name, one in found["dimensions"].items():
        if "by_agreement" in one:
            _print_agreement(name, one["by_agreement"])
    say()


def _overall(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("toxic by the labels", f"{count(one['positives'])} of {count(one['texts'])}"),
        ("AUC", _number(one["auc"])),
        ("F1 of level 1 or more", _number(one["f1"])),
        ("recall", _share(one["recall"])),
        ("false positives, of clean texts", _share(one["false_positive_rate"])),
        *(
            (f"above the score of 0.2 % of clean sentences, of {shown} texts", _share(one[key]))
            for shown, key in (("toxic", QUIET[0]), ("clean", QUIET[1]))
            if key in one
        ),
        ("on the tiers mild or toxic, of toxic texts", _share(one["flagged_of_positives"])),
        ("on the tiers mild or toxic, of clean texts", _share(one["flagged_of_clean"])),
        ("expected calibration error", _number(one["calibration_error"])),
        *(
            (f"precision where {float(share):.1%} is toxic", _number(value))
            for share, value in one["precision_at_prevalence"].items()
        ),
    ]


def _print_dimensions(dimensions: Mapping[str, Mapping[str, Any]]) -> None:
    say()
    table = columns(
        ("dimension", "left"), ("texts", "right"), ("toxic", "right"), ("AUC", "right"), ("F1", "right"),
        ("recall", "right"), ("FPR", "right"), ("kappa", "right"), ("ECE", "right"), title="By dimension",
    )  # fmt: skip
    table.columns[0].no_wrap = True
    for name, one in dimensions.items():
        table.add_row(
            name, count(one["texts"]), count(one["positives"]), _number(one["auc"], 3), _number(one["f1"], 3),
            _share(one["recall"], 1), _share(one["false_positive_rate"]), _number(one.get("kappa"), 3),
            _number(one["calibration_error"], 3),
        )  # fmt: skip
    out().print(table)


def _print_confusion(name: str, matrix: Sequence[Sequence[int]]) -> None:
    say()
    table = columns(
        ("labelled", "left"), *((f"found {level}", "right") for level in range(4)), title=f"Levels of {name}"
    )
    for level, row in enumerate(matrix):
        table.add_row(str(level), *(count(number) for number in row))
    out().print(table)


def _print_groups(column: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    say()
    table = columns(
        (column, "left"), ("texts", "right"), ("toxic", "right"), ("AUC", "right"), ("recall", "right"),
        ("FPR", "right"), ("flagged", "right"), ("wrongly", "right"), title=f"By {column}",
    )  # fmt: skip
    table.columns[0].no_wrap = True
    for name, one in groups.items():
        table.add_row(
            name, count(one["texts"]), count(one["positives"]), _number(one["auc"], 3), _share(one["recall"], 1),
            _share(one["false_positive_rate"]), _share(one["flagged_of_positives"], 1), _share(one["flagged_of_clean"]),
        )  # fmt: skip
    out().print(table)


def _print_agreement(what: str, bands: Mapping[str, Mapping[str, Any]]) -> None:
    say()
    table = columns(
        ("said yes", "left"), ("texts", "right"), ("found", "right"), ("mean score", "right"),
        title=f"By agreement: {what}",
    )  # fmt: skip
    for name, one in bands.items():
        table.add_row(name, count(one["texts"]), _share(one["found"]), _number(one["mean_score"], 3))
    out().print(table)


def _print_clean(genres: Mapping[str, Mapping[str, Any]]) -> None:
    table = columns(
        ("harmless text", "left"), ("documents", "right"), ("flagged", "right"), ("sentences", "right"),
        ("hits", "right"), title="False positives on harmless text",
    )  # fmt: skip
    for name, one in genres.items():
        table.add_row(
            name, count(one["documents"]), _share(one["flagged"]), count(one["sentences"]), _share(one["sentence_rate"])
        )
    out().print(table)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _share(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}%}"
