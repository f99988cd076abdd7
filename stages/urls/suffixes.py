"""Public suffixes: tldextract's snapshot of the Public Suffix List, without its private part, and the hosts that only the
library itself reads. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.kernels.hashing64 import PADDING
from gristmill.stages.urls.kernels.hosts import (
    DOMAIN_START,
    END,
    FULL_START,
    HOST_END,
    HOST_START,
    WILDCARD,
    split_hosts,
)
from gristmill.stages.urls.lists import EntrySet, entries_of

PACKAGE = "tldextract"


def _folder() -> Path | None:
    spec = find_spec(PACKAGE)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def snapshot() -> Mapping[str, Path]:
    """The list that comes with the library, by name; nothing where it is not installed."""
    folder = _folder()
    return {} if folder is None else {"public_suffixes": folder / ".tld_set_snapshot"}


def libraries() -> Mapping[str, str]:
    """The versions of what reads hosts, by name; nothing where it is not installed."""
    return {} if _folder() is None else {name: version(name) for name in (PACKAGE, "idna")}


def check_installed() -> None:
    """Raises ConfigError where the library is not installed."""
    if _folder() is None:
        raise ConfigError(
            "stage url_filter: registered domains are read by tldextract, which is not installed. "
            "Install it: pip install 'gristmill[web]'."
        )


@cache
def _extractor() -> Any:
    from tldextract import TLDExtract

    # No addresses and no cache: what is left is the snapshot.
    return TLDExtract(suffix_list_urls=(), cache_dir=None, fallback_to_snapshot=True)


@dataclass(frozen=True)
class _Suffixes:
    entries: EntrySet
    kinds: np.ndarray
    longest: int


@cache
def _suffixes() -> _Suffixes:
    """Each suffix and each end of one, and by position whether it is one and whether it has children of any name."""
    kinds: dict[str, int] = {}
    for suffix in sorted(_extractor().tlds):
        labels = suffix.split(".")
        for start in range(len(labels)):
            name = ".".join(labels[start:])
            kinds[name] = kinds.get(name, 0) | (END if start == 0 else 0)
        if labels[0] == "*":
            kinds[".".join(labels[1:])] |= WILDCARD
    names = list(kinds)
    entries = entries_of(names)
    by_position = np.zeros(len(entries.data), np.uint8)
    lengths = np.array([len(name.encode("utf-8")) for name in names], np.int64)
    by_position[np.cumsum(lengths + 1) - lengths - 1] = list(kinds.values())
    return _Suffixes(entries, by_position, int(lengths.max()))


@dataclass(frozen=True)
class Hosts:
    """URLs with the parts of their hosts.

    Attributes:
        data: uint8: the URLs, then the hosts that the library read, then PADDING.
        offsets: int64[rows + 1], the URLs in `data`.
        spans: int64 of shape (rows, 4): see `stages.urls.kernels.hosts`.
        malformed: bool: URLs without a scheme or a host, or with white space or control characters.
    """

    data: np.ndarray
    offsets: np.ndarray
    spans: np.ndarray
    malformed: np.ndarray


def read_hosts(data: np.ndarray, offsets: np.ndarray, *, lower: bool) -> Hosts:
    """The hosts of URLs in Arrow buffers (uint8, int64[rows + 1]), as tldextract reads them; with `lower`, in lower case and
    international names as `xn--`."""
    rows, used = len(offsets) - 1, int(offsets[-1] - offsets[0])
    work = np.zeros(used + PADDING, np.uint8)
    work[:used] = data[offsets[0] : offsets[-1]]
    starts = offsets - offsets[0]
    suffixes = _suffixes()
    spans = np.empty((rows, 4), np.int64)
    odd, malformed = np.empty(rows, bool), np.empty(rows, bool)
    split_hosts(
        work,
        starts,
        suffixes.entries.data,
        suffixes.entries.slots,
        suffixes.kinds,
        suffixes.longest,
        spans,
        odd,
        malformed,
    )
    aside = [_lower_table()[work[:used]]] if lower else []
    if lower:
        spans[spans >= 0] += used
    special = np.flatnonzero(odd)
    if len(special):
        names = _read_by_library(work, starts, special, lower, spans, used + sum(map(len, aside)))
        aside.append(np.frombuffer(names, np.uint8))
    if aside:
        work = np.concatenate([work[:used], *aside, np.zeros(PADDING, np.uint8)])
    return Hosts(work, starts, spans, malformed)


@cache
def _lower_table() -> np.ndarray:
    """uint8[256]: ASCII letters in lower case, other bytes as they are."""
    table = np.arange(256, dtype=np.uint8)
    table[65:91] += 32
    return table


def _read_by_library(
    work: np.ndarray, starts: np.ndarray, rows: np.ndarray, lower: bool, spans: np.ndarray, position: int
) -> bytes:
    """The hosts of some rows as the library reads them, one after another; `spans` of these rows are written, as positions
    from `position` on."""
    names = bytearray()
    for row in rows.tolist():
        url = work[starts[row] : starts[row + 1]].tobytes().decode("utf-8", "replace")
        found = _extractor().extract_str(url)
        domain, full = found.top_domain_under_public_suffix, found.fqdn
        host = full or ".".join(part for part in (found.subdomain, found.domain, found.suffix) if part)
        if lower:
            domain, host = _ascii(domain), _ascii(host)
        start = position + len(names)
        names += host.encode("utf-8")
        end = position + len(names)
        known = bool(full) and host.endswith(domain)
        spans[row, HOST_START], spans[row, HOST_END] = start, end
        spans[row, FULL_START] = start if known else -1
        spans[row, DOMAIN_START] = end - len(domain.encode("utf-8")) if known else -1
    return bytes(names)


def _ascii(name: str) -> str:
    """A host in lower case, international labels as `xn--…`; as it is, in lower case, where that is impossible."""
    import idna

    try:
        return idna.encode(name, uts46=True).decode("ascii") if name else name
    except UnicodeError:
        return name.lower()
