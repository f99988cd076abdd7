"""URLs by the host and the target that they name, as lists of hosts and pages are compared with documents."""

from __future__ import annotations

import re

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#\\]*)([^#]*)", re.DOTALL)
_PORTS = {"http": "80", "https": "443"}


def host_and_target(url: str) -> tuple[str, str]:
    """The host of a URL as tables name it, and its path and query. Empty strings where it has none.

    >>> host_and_target("https://user@Example.com:443/a?b#c"), host_and_target("example.com:8080")
    (('example.com', '/a?b'), ('example.com:8080', ''))
    """
    found = _URL.match(url)
    scheme, authority, target = (found[1] or "", found[2], found[3]) if found else ("", "", "")
    host = authority.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host.removesuffix(":"), ""
    name = _ascii(name.rstrip("."))
    usual = port in (_PORTS.get(scheme.lower(), ""), "") or (not scheme and port in _PORTS.values())
    return (name if usual else f"{name}:{port}"), target if target.startswith("/") else "/" + target if target else ""


def _ascii(name: str) -> str:
    if name.isascii() or len(name) > 255:
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
