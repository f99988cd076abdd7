"""The commands `gristmill keys …`. Imports nothing heavy before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

keys = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make signing keys, and sign the manifests of outputs."
)


@keys.command(
    epilog="""\b
Example:
  gristmill keys new ~/.keys/corpus
writes the private key there, readable by you alone, and the public one to ~/.keys/corpus.pub.""",
)
def new(file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write the private key.")]) -> int:
    """Make an Ed25519 key pair. A key that is there is never overwritten."""
    from gristmill.launch.commands.keys import new_key

    return new_key(file)


@keys.command(
    epilog="""\b
Example:
  gristmill keys show ~/.keys/corpus.pub""",
)
def show(file: Annotated[str, typer.Argument(metavar="FILE", help="A public or private key.")]) -> int:
    """Print a key's identifier, as signatures name it."""
    from gristmill.launch.commands.keys import show_key

    return show_key(file)


@keys.command(
    epilog="""\b
Example:
  gristmill keys sign out/web --key ~/.keys/corpus
  gristmill keys sign out/2026-09 out/2026-10 --key ~/.keys/corpus-2027
The second adds the signature of a new key; those that are there are kept.""",
)
def sign(
    folders: Annotated[list[str], typer.Argument(metavar="DIR...", help="Finished outputs.")],
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The private key; else $GRISTMILL_SIGNING_KEY.")
    ] = None,
) -> int:
    """Sign manifests of finished outputs, for a key that was not at hand when the run ended, or for a new one."""
    from gristmill.launch.commands.keys import sign_folders

    return sign_folders(folders, key)
