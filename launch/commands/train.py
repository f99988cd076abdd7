"""The commands `gristmill train …`. Imports nothing heavy before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

train = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Train the models that Gristmill embeds, or models of your own."
)


@train.command(
    epilog="""\b
Example:
  gristmill train toxicity --data toxicity.parquet --out model.npz""",
)
def toxicity(
    data: Annotated[
        list[str],
        typer.Option(
            metavar="FILE", help="Parquet with `text` and the five dimensions as levels 0 to 3, −1 unknown; repeatable."
        ),
    ],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write the model; its model card is written beside it, as .md.")
    ],
    clean: Annotated[
        list[str] | None,
        typer.Option("--clean", metavar="FILE", help="Parquet with harmless `text`; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same data and seed give the same file.")] = 17,
    frames: Annotated[
        bool,
        typer.Option("--frames/--no-frames", help="Also learn from sentences about groups that come with it."),
    ] = True,
    share_alike: Annotated[
        bool,
        typer.Option("--share-alike", help="Learn texts under share-alike licences too; the model is under them then."),
    ] = False,
    clusters: Annotated[
        bool,
        typer.Option("--clusters", help="Split by cluster of near-duplicates, whatever the files' `split` says."),
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="A source to leave out and to test on; repeatable."),
    ] = None,
) -> int:
    """Train the toxicity model and say how well it does on the texts that it was not trained on."""
    from gristmill.launch.commands.training import train_toxicity

    return train_toxicity(
        data, out, tuple(clean or ()), seed,
        frames=frames, share_alike=share_alike, clustered=clusters, without=tuple(without or ()),
    )  # fmt: skip


@train.command(
    short_help="Train a quality classifier for the stage `classifier`.",
    epilog="""\b
Examples:
  gristmill train quality --positive textbooks.parquet --negative crawl.parquet --out quality.bin
  gristmill train quality --positive a.jsonl --positive b.jsonl.zst --negative crawl.parquet --out q.bin --epochs 3""",
)
def quality(
    positive: Annotated[
        list[str],
        typer.Option(
            metavar="FILE", help="Positive examples: Parquet, JSON lines or CSV with a `text` column; repeatable."
        ),
    ],
    negative: Annotated[
        list[str],
        typer.Option(
            metavar="FILE", help="Negative examples in the same formats, such as a sample of the crawl; repeatable."
        ),
    ],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write the model; its model card is written beside it, as .md.")
    ],
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same data and seed give the same file.")] = 17,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the texts held out for evaluation.")
    ] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs.")] = 5,
    learning_rate: Annotated[
        float, typer.Option(min=1e-4, max=10.0, help="Initial learning rate; it decays linearly to 0.")
    ] = 0.1,
    dimensions: Annotated[int, typer.Option(min=1, help="Dimension of the word vectors.")] = 64,
    word_ngrams: Annotated[int, typer.Option(min=1, max=5, help="Longest word n-gram used as a feature.")] = 2,
    buckets: Annotated[int, typer.Option(min=1, help="Hash buckets for word n-grams.")] = 500_000,
    min_count: Annotated[int, typer.Option(min=1, help="Words that occur less often are ignored.")] = 2,
    threads: Annotated[
        int, typer.Option(min=1, help="Training threads. More than 1 is faster, but training is then not reproducible.")
    ] = 1,
) -> int:
    """Train a fastText classifier that separates wanted texts from others, and measure it on held-out texts."""
    from gristmill.launch.commands.training import train_quality

    return train_quality(
        positive,
        negative,
        out,
        {
            "seed": seed, "held_out": held_out, "epochs": epochs, "learning_rate": learning_rate,
            "dimensions": dimensions, "word_ngrams": word_ngrams, "buckets": buckets, "min_count": min_count,
            "threads": threads,
        },
    )  # fmt: skip


@train.command(
    "classifier",
    short_help="Train a classifier with several labels for the stage `classifier`.",
    epilog="""\b
Example:
  gristmill train classifier --data topics.parquet --label-column topic --out topics.bin""",
)
def classifier(
    data: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="Parquet, JSON lines or CSV with `text` and a column of labels; repeatable."),
    ],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write the model; its model card is written beside it, as .md.")
    ],
    label_column: Annotated[str, typer.Option(metavar="NAME", help="The column with each text's label.")] = "label",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same data and seed give the same file.")] = 17,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the texts held out for evaluation.")
    ] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs.")] = 5,
    learning_rate: Annotated[
        float, typer.Option(min=1e-4, max=10.0, help="Initial learning rate; it decays linearly to 0.")
    ] = 0.1,
    dimensions: Annotated[int, typer.Option(min=1, help="Dimension of the word vectors.")] = 64,
    word_ngrams: Annotated[int, typer.Option(min=1, max=5, help="Longest word n-gram used as a feature.")] = 2,
    buckets: Annotated[int, typer.Option(min=1, help="Hash buckets for word n-grams.")] = 500_000,
    min_count: Annotated[int, typer.Option(min=1, help="Words that occur less often are ignored.")] = 2,
    threads: Annotated[
        int, typer.Option(min=1, help="Training threads. More than 1 is faster, but training is then not reproducible.")
    ] = 1,
) -> int:
    """Train a fastText classifier that tells several labels apart, such as topics, and measure it on held-out texts."""
    from gristmill.launch.commands.training import train_classifier

    return train_classifier(
        data,
        out,
        label_column,
        {
            "seed": seed, "held_out": held_out, "epochs": epochs, "learning_rate": learning_rate,
            "dimensions": dimensions, "word_ngrams": word_ngrams, "buckets": buckets, "min_count": min_count,
            "threads": threads,
        },
    )  # fmt: skip
