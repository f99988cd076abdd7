"""Whose signatures count, and for which times: the keys that an auditor trusts, and the file that names them.

A manifest's time is its signer's own claim: nobody else has stamped it. So a period says which runs a key was meant for, and
catches mistakes; whoever holds a key can write any time. A revoked key therefore counts for no run, unless the file says that
its earlier signatures do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.yaml_reader import MAX_BYTES, Document, parse
from gristmill.pipeline.provenance.signing import SignatureError, key_id, names_of, public_key, signers
from gristmill.pipeline.storage import NotRegularError, open_regular

EXAMPLE = "keys: {release: {public: release.pub, from: 2026-01-01}}"
_KEY_BYTES = 1 << 16


@dataclass(frozen=True)
class Revocation:
    """When a key was taken back, and why.

    Attributes:
        earlier: whether signatures of manifests that claim an earlier time still count.
    """

    on: datetime
    reason: str
    earlier: bool = False


@dataclass(frozen=True)
class TrustedKey:
    """A public key, and the times of the manifests that it may sign: from `since` on, before `until`."""

    name: str
    public: bytes
    since: datetime | None = None
    until: datetime | None = None
    revoked: Revocation | None = None

    def refuses(self, written: datetime) -> str | None:
        """Why this key does not count for a manifest of that time; None where it does."""
        if self.since is not None and written < self.since:
            return f"{self.name} is trusted from {_day(self.since)}"
        if self.until is not None and written >= self.until:
            return f"{self.name} is trusted until {_day(self.until)}"
        gone = self.revoked
        if gone is not None and (not gone.earlier or written >= gone.on):
            told = f"{self.name} was revoked on {_day(gone.on)} ({gone.reason})"
            return told if written >= gone.on else f"{told}, and a holder of it can claim any earlier time"
        return None


@dataclass(frozen=True)
class Trust:
    """The keys of which one must have signed.

    Attributes:
        keys: at least one.
        dated: whether each output of a chain is judged by the keys that were trusted at its time.
    """

    keys: Sequence[TrustedKey]
    dated: bool = False

    @classmethod
    def of(cls, public: bytes) -> Trust:
        """One key, whatever the time. `public` is PEM or 32 bytes; raises ConfigError for anything else."""
        return cls((TrustedKey("the given key", public_key(public)),))

    @property
    def named(self) -> str:
        """The keys, for a message."""
        if not self.dated:
            return f"the given key {key_id(self.keys[0].public)[:16]}…"
        return f"a trusted key ({', '.join(key.name for key in self.keys)})"

    def check(self, envelope: Mapping[str, Any], written: str) -> None:
        """Raises SignatureError unless one of these keys has signed an envelope of the right form, and counts at that time.

        Args:
            written: the time that the signed manifest claims, as it stands there.
        """
        signed = signers(envelope, [key.public for key in self.keys])
        if not signed:
            raise SignatureError(f"it is signed by {names_of(envelope)}, not by {self.named}")
        if not self.dated:
            return
        at = _time(written)
        if at is None:
            raise SignatureError(f"the manifest's time is {written!r:.60}, so no key can be judged by it")
        refused = [key.refuses(at) for key in self.keys if key.public in signed]
        if None not in refused:
            raise SignatureError(f"the manifest says that it is of {_day(at)}: {'; '.join(filter(None, refused))}")


def read_trust(path: str) -> Trust:
    """Reads a trust file (docs/provenance.md, Signing). Public keys in files are found from the trust file's folder.

    Raises ConfigError with the file's line for anything that is not as it must be.
    """
    data = _read(Path(path), path, 4 * MAX_BYTES)
    try:
        document = parse(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: this is no UTF-8 text. A trust file is YAML: {EXAMPLE}") from error
    root = _map(document, document.value, "", {"keys"})
    keys = _map(document, root.get("keys"), "keys", None)
    if not keys:
        raise ConfigError(
            f"{document.where('keys')}: there is no key, so nothing could be trusted. Expected: {EXAMPLE}"
        )
    made = [_key(document, f"keys.{name}", name, value) for name, value in keys.items()]
    for place, key in enumerate(made):
        twin = next((other for other in made[:place] if other.public == key.public), None)
        if twin is not None:
            raise ConfigError(
                f"{document.where(f'keys.{key.name}')}: this is the key of `{twin.name}` under a second name. Name each "
                "key once."
            )
    return Trust(tuple(made), dated=True)


def _key(document: Document, where: str, name: str, value: Any) -> TrustedKey:
    given = _map(document, value, where, {"public", "from", "until", "revoked"})
    since, until = (_date(document, f"{where}.{end}", given.get(end)) for end in ("from", "until"))
    if since is not None and until is not None and since >= until:
        raise ConfigError(f"{document.where(where + '.until')}: the key is trusted until {_day(until)}, before `from`.")
    gone = None
    if given.get("revoked") is not None:
        revoked = _map(document, given["revoked"], f"{where}.revoked", {"on", "reason", "earlier"})
        on = _date(document, f"{where}.revoked.on", revoked.get("on"))
        reason, earlier = revoked.get("reason"), revoked.get("earlier", "refused")
        if on is None or not isinstance(reason, str) or not reason.strip():
            raise ConfigError(f"{document.where(where + '.revoked')}: expected `on`, a date, and `reason`, a text.")
        if earlier not in ("refused", "trusted"):
            raise ConfigError(
                f"{document.where(where + '.revoked.earlier')}: {earlier!r:.60}; expected `refused` (the default) or "
                "`trusted`: what of manifests that claim a time before `on`? Whoever has the key can claim it too."
            )
        gone = Revocation(on, reason.strip(), earlier == "trusted")
    return TrustedKey(name, _public(document, f"{where}.public", given.get("public")), since, until, gone)


def _public(document: Document, where: str, value: Any) -> bytes:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{document.where(where)}: expected the file of a public key, or its PEM text.")
    if "-----BEGIN" in value:
        return public_key(value.encode(), document.where(where))
    told = f"{document.where(where)}: {value:.200}"
    try:
        file = Path(document.name).parent / Path(value).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{told}: there is no such user.") from error
    return public_key(_read(file, told, _KEY_BYTES), told)


def _read(file: Path, where: str, most: int) -> bytes:
    try:
        with open_regular(str(file)) as stream:
            data: bytes = stream.read(most + 1)
    except NotRegularError as error:
        raise ConfigError(f"{where}: cannot be read: {error}.") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}.") from error
    if len(data) > most:
        raise ConfigError(f"{where}: has more than {most:,} bytes.")
    return data


def _map(document: Document, value: Any, where: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{document.where(where)}: expected a map such as {EXAMPLE}")
    unknown = [name for name in value if known is not None and name not in known]
    if unknown:
        place = f"{where}.{unknown[0]}" if where else unknown[0]
        raise ConfigError(f"{document.where(place)}: unknown key. Allowed: {', '.join(sorted(known or ()))}.")
    return value


def _date(document: Document, where: str, value: Any) -> datetime | None:
    if value is None:
        return None
    found = _time(value) if isinstance(value, str) else None
    if found is None:
        raise ConfigError(f"{document.where(where)}: {value!r:.60}; expected a date such as 2026-01-31 (UTC).")
    return found


def _time(text: str) -> datetime | None:
    """A date, or a date with a time, in UTC unless it says otherwise; None for any other text."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _day(time: datetime) -> str:
    return time.strftime("%Y-%m-%d" if time.time() == datetime.min.time() else "%Y-%m-%d %H:%M:%S")
