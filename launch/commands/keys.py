"""`gristmill keys`: key pairs, their identifiers, and signatures under outputs that are finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.launch.terminal.console import say
from gristmill.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from gristmill.pipeline.provenance.attestation import Attestation
    from gristmill.pipeline.running.engine import RunResult


def new_key(file: str) -> int:
    """Makes a key pair. Raises ConfigError when one of the two files is there already."""
    from gristmill.pipeline.provenance.key_files import write_key_pair

    if not Path(file).name:
        raise ConfigError(
            f"`{file}` is no name of a file. Name the file for the private key; .pub is added for the public one."
        )
    path = Path(file).expanduser()
    key = write_key_pair(path)
    say(f"private key  {path} (keep it secret: anyone who has it can sign as you)")
    say(f"public key   {path}.pub (give it to auditors)")
    say(f"identifier   {key.key_id}")
    return 0


def show_key(file: str) -> int:
    """Prints the identifier of a public or a private key. Raises ConfigError for anything else."""
    from gristmill.pipeline.provenance.signing import SigningKey, key_id, public_key

    try:
        data = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}. Name the file of a key.") from error
    private = b"PRIVATE KEY" in data
    say(SigningKey.from_pem(data, file).key_id if private else key_id(public_key(data, file)))
    return 0


def sign_folders(folders: Sequence[str], file: str | None) -> int:
    """Signs finished outputs. Raises ConfigError without a key, DataError for a manifest that was changed."""
    from gristmill.pipeline.key_variable import KEY_VARIABLE
    from gristmill.pipeline.provenance.attestation import sign_output
    from gristmill.pipeline.provenance.key_files import find_signing_key

    key = find_signing_key(file)
    if key is None:
        raise ConfigError(
            f"there is no key to sign with. Give --key FILE or set {KEY_VARIABLE}; `gristmill keys new FILE` makes one."
        )
    for folder in folders:
        say(f"{folder}: signed by {sign_output(folder, key)}")
    return 0


def attest_finished(result: RunResult, attestation: Attestation) -> None:
    """Signs the outputs of a run that was done before, where they lack the key's signature.

    Raises ConfigError when the run was to follow another one than it did: a manifest that exists is not rewritten.
    """
    from gristmill.pipeline.provenance.attestation import is_signed_by, sign_output
    from gristmill.pipeline.provenance.statement import read_manifest

    links = attestation.links([output.name for output in result.plan.graph.outputs])
    for output in result.plan.graph.outputs:
        folder = output.config.path
        manifest = read_manifest(folder)
        chain = None if manifest is None else manifest.varies.chain
        if attestation.previous is not None and chain != links[output.name]:
            raise ConfigError(
                f"--previous {attestation.previous}: {folder} was finished before, as number {chain and chain.sequence} "
                "of its dataset, and a finished manifest is never rewritten. Leave --previous out, or give this "
                "run another folder with --output."
            )
        if attestation.key is not None and not is_signed_by(folder, attestation.key):
            sign_output(folder, attestation.key)
