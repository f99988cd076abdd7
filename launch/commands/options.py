"""Arguments and options that several commands take. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.launch.plugins import module_names

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a preset (see `gristmill presets`).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a value of the config; repeatable."),
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE|FILE.py",
        callback=module_names,
        help="Import a module, or a file, that defines custom stages or sources.",
    ),
]
BesideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--beside", metavar="DIR", help="Another output of the run, which holds its ledger, where it lies elsewhere."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output", metavar="DIR", help="Where to write: the folder of the output, or the parent folder of several."
    ),
]
RemovalKeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--removal-key",
        metavar="FILE",
        help="The key of a removal: it tells which documents were taken out; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value for programs.")]
RevokedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--revoked",
        metavar="FILE",
        help="A file of the run's `revoked:`: a full audit checks that nothing on it is in the output; repeatable, in the "
        "config's order.",
    ),
]
