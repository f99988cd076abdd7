"""The command `remove`, as typer has it. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.launch.commands.options import JsonOption


def add_removal_commands(app: typer.Typer) -> None:
    """Adds the command to the command line."""

    @app.command(
        short_help="Take documents out of a finished output, into a new version.",
        epilog="""\b
Examples:
  gristmill remove out/web --urls takedown.txt --reason "notice 17" --output out/web-2 --key ~/.keys/corpus
  gristmill remove out/web --ids ids.txt --reason "withdrawn" --output out/web-2 --key ~/.keys/corpus
  gristmill remove out/web --where "url LIKE 'https://example.org/%'" --reason "notice 18" --output out/web-2 --unsigned
  gristmill remove out/corpus out/rest --urls takedown.txt --reason "notice 19" --output out/second --unsigned

Their near-duplicates go too, and whatever is kept of them: copies, dropped texts, signals, notes, ledger rows, lines,
partitions and tokens. The old version stays as it is: remove it yourself once nobody needs it.""",
    )
    def remove(
        folders: Annotated[list[str], typer.Argument(metavar="DIR…", help="All outputs of one finished run.")],
        reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it stands in the new manifest.")],
        output: Annotated[
            str, typer.Option("--output", metavar="DIR", help="The new folder, or the parent folder of several.")
        ],
        ids: Annotated[
            str | None,
            typer.Option(metavar="FILE", help="One id a line; SOURCE:ID where several sources use it, or a doc_key."),
        ] = None,
        urls: Annotated[str | None, typer.Option(metavar="FILE", help="One URL a line.")] = None,
        where: Annotated[
            str | None,
            typer.Option(
                metavar="SQL",
                help="A condition over the shards' columns; of dropped documents id, url and source are known.",
            ),
        ] = None,
        removal_key: Annotated[
            str | None,
            typer.Option(
                metavar="FILE",
                help="The key of the digests that stay in place of the documents; made where there is none. Default: the name "
                "of the new folder with .removal-key.",
            ),
        ] = None,
        key: Annotated[
            str | None,
            typer.Option(
                metavar="FILE", help="Sign the new manifest with this private key; else $GRISTMILL_SIGNING_KEY."
            ),
        ] = None,
        signed_by: Annotated[
            str | None,
            typer.Option(
                metavar="FILE", help="The public key that must have signed the old one; default: that of --key."
            ),
        ] = None,
        only_these: Annotated[
            bool, typer.Option("--only-these", help="Leave their near-duplicates where they are.")
        ] = False,
        allow_missing: Annotated[
            bool, typer.Option("--allow-missing", help="Remove the others where some entries are in no output.")
        ] = False,
        unsigned: Annotated[
            bool, typer.Option("--unsigned", help="Accept that the old or the new version is not signed.")
        ] = False,
        unaudited: Annotated[
            bool, typer.Option("--unaudited", help="Accept an old version that fails its audit.")
        ] = False,
        later: Annotated[
            list[str] | None,
            typer.Option(
                metavar="DIR",
                help="An output that may have settled `against` this one; those beside it are looked at anyhow.",
            ),
        ] = None,
        as_json: JsonOption = False,
    ) -> int:
        """Write new versions of a run's outputs without some documents and without a trace of them."""
        from gristmill.launch.commands.remove import RemoveOptions
        from gristmill.launch.commands.remove import remove as remove_from

        return remove_from(
            RemoveOptions(
                tuple(folders), output, reason, ids, urls, where, removal_key, key, signed_by, only_these, allow_missing,
                unsigned, unaudited, tuple(later or ()), as_json,
            )
        )  # fmt: skip
