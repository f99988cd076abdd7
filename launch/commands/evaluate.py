"""The commands `gristmill evaluate …`. Imports nothing heavy before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.launch.commands.options import JsonOption, SetOption

evaluate = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Measure a part of the pipeline on data that you have labelled."
)


@evaluate.command(
    epilog="""\b
Examples:
  gristmill evaluate language labelled.parquet
  gristmill evaluate language labelled.jsonl --backend fasttext --model glotlid.bin --calibrate""",
)
def language(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Parquet, JSON lines or CSV with `text`, `language`, `script`.")
    ],
    backend: Annotated[
        str, typer.Option(metavar="NAME", help="langid or fasttext; see `gristmill stages language`.")
    ] = "langid",
    model: Annotated[
        str | None, typer.Option(metavar="FILE", help="A model of the backend's format; default: its own.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Also show what thresholds do, and a curve from score to probability.")
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="S", help="Reject answers below this score; default: the backend's own threshold."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure how well languages are identified, and how much text in other languages is rejected."""
    from gristmill.launch.commands.evaluate_language import evaluate_language

    return evaluate_language(file, backend, model, calibrate, min_score, as_json)


@evaluate.command(
    "toxicity",
    epilog="""\b
Examples:
  gristmill evaluate toxicity labelled.parquet
  gristmill evaluate toxicity hatecheck.csv --config web.yaml --set stages.toxicity.max_chance=0.01
  gristmill evaluate toxicity ethos/ --dataset ethos --json
  gristmill evaluate toxicity labelled.parquet --clean reviews.parquet""",
)
def evaluate_toxicity(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Parquet, JSON lines or CSV with texts and labels; with --dataset, its folder."
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read FILE as the folder of this published data set: ethos.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG", help="Use the stage's settings from this config or preset; default: the default settings."
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="The config's node, where several use `toxicity`.")
    ] = None,
    overrides: SetOption = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A model of `gristmill train toxicity`, or a checkpoint's folder."),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="embedded or celadon.")] = "embedded",
    clean: Annotated[
        list[str] | None,
        typer.Option("--clean", metavar="FILE", help="Parquet with harmless `text`, for false positives by `source`."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure how well toxic texts are separated from harmless ones: by dimension, level, group, and agreement of annotators.

    FILE has a column `text` (or `comment`, `test_case`, `sentence`) and either the five dimensions as levels 0 to 3, −1
    unknown, or one label (`label_gold`, `isHate`, `toxic`, …), yes or no or the share of annotators. Figures are also
    broken down by `functionality`, `target_ident`, `source` and `language` where there are such columns.
    """
    from gristmill.launch.commands.evaluate_toxicity import ToxicityOptions
    from gristmill.launch.commands.evaluate_toxicity import evaluate_toxicity as run_evaluation

    return run_evaluation(
        ToxicityOptions(
            file=file, dataset=dataset, config=config, node=node, overrides=tuple(overrides or ()), model=model,
            backend=backend, clean=tuple(clean or ()), as_json=as_json,
        )
    )  # fmt: skip


@evaluate.command(
    "classifier",
    epilog="""\b
Examples:
  gristmill evaluate classifier labelled.parquet --model topics.bin
  gristmill evaluate classifier labelled.jsonl --model topics.bin --label-column topic --precision 0.9""",
)
def evaluate_classifier(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Parquet, JSON lines or CSV with `text` and a column of labels.")
    ],
    model: Annotated[str, typer.Option(metavar="FILE", help="A supervised model in fastText's format.")],
    label_column: Annotated[str, typer.Option(metavar="NAME", help="The column with each text's label.")] = "label",
    precision: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="P", help="Also the least threshold of each label at which this share is right."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure a classifier with several labels: precision, recall and F1 by label, confusions, calibration, thresholds."""
    from gristmill.launch.commands.evaluate_classifier import evaluate_labels

    return evaluate_labels(file, model, label_column, precision, as_json)
