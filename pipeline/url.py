"""URLs by the host and the target that they name, as lists of hosts and pages are compared with documents."""

from __future__ import annotations

import contextlib
import re
import unicodedata

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#\\]*)([^#]*)", re.DOTALL)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}|[^\x21-\x7e]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_DEVIATING = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")
_PORTS = {"http": "80", "https": "443"}


def host_and_target(url: str) -> tuple[str, str]:
    """The host of a URL as tables name it, and its path and query. Empty strings where it has none.

    >>> host_and_target("https://user@Example.com:443/a?b#c"), host_and_target("example.com:8080")
    (('example.com', '/a?b'), ('example.com:8080', ''))
    """
    found = _URL.match(url.strip())
    scheme, authority, target = (found[1] or "", found[2], found[3]) if found else ("", "", "")
    host = authority.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host.removesuffix(":"), ""
    name = _ascii(name).rstrip(".")
    usual = port in (_PORTS.get(scheme.lower(), ""), "") or (not scheme and port in _PORTS.values())
    return (name if usual else f"{name}:{port}"), target if target.startswith("/") else "/" + target if target else ""


def compared_target(target: str) -> str:
    """A path and query in one spelling (RFC 3986, 6.2.2): unreserved characters as they are, what is not ASCII as its
    percent-encoded UTF-8, hexadecimal digits in capitals.

    >>> compared_target("/%7euser/ä?%c3%a4=%2f")
    '/~user/%C3%A4?%C3%A4=%2F'
    """
    if target.isascii() and "%" not in target and " " not in target:
        return target
    return _ESCAPED.sub(_escaped, target)


def _escaped(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] != "%":
        return "".join(f"%{byte:02X}" for byte in found.encode("utf-8", "surrogatepass"))
    character = chr(int(found[1:], 16))
    return character if character in _UNRESERVED else found.upper()


def _ascii(name: str) -> str:
    """An international name as it is looked up in the DNS (UTS 46, without its transitional mappings: browsers keep the ß)."""
    if name.isascii() or len(name) > 255:
        return name
    return ".".join(_label(label) for label in _DOTS.split(name))


def _label(label: str) -> str:
    if not _DEVIATING.search(label):
        with contextlib.suppress(UnicodeError):  # of a later Unicode than the codec's, or too long
            return label.encode("idna").decode("ascii")
    label = unicodedata.normalize("NFKC", label).lower()
    return label if label.isascii() else "xn--" + label.encode("punycode", "surrogatepass").decode("ascii")
