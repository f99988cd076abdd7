"""The Python packages on this machine as a source: their documentation, licences and docstrings, read and never run.

For anyone who wants tens of thousands of real documents at once, without a download. A package's files come from its
RECORD; docstrings are found by parsing the source with `ast`, so nothing is imported.
"""

from __future__ import annotations

import ast
import email
import hashlib
import importlib.metadata
import posixpath
import re
import site
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from gristmill.pipeline.document import KEY_TYPE, doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.source import REJECTS, Slice, SliceData, Source, SourceConfig
from gristmill.stages.sources.columns import mapped_schema, mapped_table

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("url", pa.string()),
        pa.field("package", pa.string()),
        pa.field("version", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("license", pa.string()),
    ]
)
"""`kind` is readme (a package's long description), license, documentation or docstring; `license` is what the package
says of itself, an SPDX expression where it uses one; `url` is its home page."""

_LICENSE = re.compile(r"^(licen[cs]e|copying|notice|copyright|authors)([-_.].*)?$", re.IGNORECASE)
_PROSE = re.compile(r"^(readme|changelog|changes|history|news|contributing|todo|install|faq)([-_.].*)?$", re.IGNORECASE)
_MARKUP = (".md", ".rst")
_CODE = (".py", ".pyi", ".pyc", ".so", ".c", ".h", ".json", ".js", ".css", ".html", ".yaml", ".yml", ".toml", ".cfg")
_METADATA = ("METADATA", "PKG-INFO")


class InstalledDocsConfig(SourceConfig):
    """A source's settings, without files: what is installed is what there is."""

    slice_bytes: int = Field(8 << 20, ge=1)
    """Target size of a slice in bytes of the packages' files; most of a package's source is code and becomes nothing."""
    packages: tuple[str, ...] = ()
    """Distributions to read, by name; default: all that are installed."""

    @model_validator(mode="after")
    def no_files(self) -> InstalledDocsConfig:
        """Refuses what names files."""
        for name in ("paths", "exclude", "root"):
            if getattr(self, name):
                raise ValueError(f"installed packages are found, not listed; leave `{name}` out, or name `packages`")
        return self


@dataclass(frozen=True)
class _File:
    """One file of a package: kind readme, license, documentation or source."""

    package: int
    path: str
    location: str
    kind: str
    size: int


@dataclass(frozen=True)
class _Package:
    name: str
    version: str
    url: str | None
    license: str | None

    @property
    def label(self) -> str:
        return f"{self.name}-{self.version}"


@dataclass(frozen=True)
class _Installed:
    packages: tuple[_Package, ...]
    files: tuple[_File, ...]


class InstalledDocsSource(Source):
    """Packages of the running interpreter. A record's position is its ordinal in its file (a whole file is 0, docstrings
    count in the order of the source), its path is `NAME-VERSION/FILE`."""

    Config = InstalledDocsConfig
    version = 1
    summary = "documentation, licences and docstrings of the Python packages installed here"

    def slices(self) -> Sequence[Slice]:
        found = _installed(self.config.packages)
        made, start, size = [], 0, 0
        for index, file in enumerate(found.files):
            if index > start and size + file.size > self.config.slice_bytes:
                made.append(self._slice(found, start, index, size))
                start, size = index, 0
            size += file.size
        if len(found.files) > start:
            made.append(self._slice(found, start, len(found.files), size))
        return made

    def _slice(self, found: _Installed, start: int, stop: int, size: int) -> Slice:
        first, last = (found.packages[found.files[i].package].label for i in (start, stop - 1))
        path = first if first == last else f"{first}..{last}"
        part = {"first_file": start, "files": stop - start}
        return Slice(self.name, path, f"installed:{path}", part, size, size, _stamp(found, start, stop))

    def schema(self, one: Slice) -> pa.Schema:
        return mapped_schema(SCHEMA, self.config.columns, one.location)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        found = _installed(self.config.packages)
        start, stop = one.part["first_file"], one.part["first_file"] + one.part["files"]
        if _stamp(found, start, stop) != one.stamp:
            raise DataError(
                f"{one.location}: the packages of this interpreter are not those that the plan saw: something was "
                "installed or removed since, or a worker runs another environment. Run again, with the same "
                "environment on every machine."
            )
        rows: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        keys: list[pa.Array] = []
        rejects: list[tuple[bytes, str, str, int]] = []
        for file in found.files[start:stop]:
            package = found.packages[file.package]
            identity = f"{package.label}/{file.path}"
            texts, problem = _texts(file)
            if problem is not None:
                key = doc_keys(self.name, self.config.snapshot, identity, np.zeros(1, np.int64))[0].as_py()
                rejects.append((key, problem[0], f"{identity}: {problem[1]}", file.size))
                continue
            if texts:
                keys.append(doc_keys(self.name, self.config.snapshot, identity, np.arange(len(texts))))
            for place, text in texts:
                rows["id"].append(f"{identity}:{place}" if place else identity)
                rows["text"].append(text)
                rows["url"].append(package.url)
                rows["package"].append(package.name)
                rows["version"].append(package.version)
                rows["kind"].append("docstring" if file.kind == "source" else file.kind)
                rows["license"].append(package.license)
        schema = mapped_schema(SCHEMA, self.config.columns, one.location)
        if columns is not None:
            schema = pa.schema([item for item in schema if item.name in columns])
        table = pa.table({item.name: pa.array(rows[item.name], item.type) for item in SCHEMA})
        joined = pa.concat_arrays(keys) if keys else pa.array([], KEY_TYPE)
        return SliceData(mapped_table(table, schema, self.config.columns, joined), _rejected(rejects), one.bytes)


def _rejected(rejects: Sequence[tuple[bytes, str, str, int]]) -> pa.Table:
    return pa.table(
        [
            pa.array([reject[0] for reject in rejects], KEY_TYPE),
            pa.array(np.zeros(len(rejects), np.int64)),
            pa.array([reject[1] for reject in rejects], pa.string()),
            pa.array([reject[2] for reject in rejects], pa.string()),
            pa.array([reject[3] for reject in rejects], pa.int64()),
        ],
        schema=REJECTS,
    )


@lru_cache(maxsize=4)
def _installed(wanted: tuple[str, ...]) -> _Installed:
    """Packages by name, each with its files by path; of two installed under one name, the one that is imported."""
    # Not sys.path: the folder a command was started in would be on it here and not on a worker.
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    by_name: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions(path=list(dict.fromkeys(places))):
        name = distribution.metadata["Name"]
        # An interrupted uninstall leaves folders without a name behind.
        if name:
            by_name.setdefault(_plain(name), distribution)
    names = sorted(by_name) if not wanted else sorted({_plain(name) for name in wanted})
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DataError(f"the package {missing[0]} is not installed here. Install it, or take it out of `packages`.")
    packages: list[_Package] = []
    files: list[_File] = []
    for name in names:
        metadata = by_name[name].metadata
        packages.append(_Package(name, str(metadata["Version"]), _home_page(metadata), _license(metadata)))
        files += sorted(_files(by_name[name], len(packages) - 1), key=lambda file: file.path)
    return _Installed(tuple(packages), tuple(files))


def _plain(name: str) -> str:
    """A distribution's normalised name (PyPA's name normalisation).

    >>> _plain("Foo.Bar_baz")
    'foo-bar-baz'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _files(distribution: importlib.metadata.Distribution, package: int) -> Iterator[_File]:
    seen: set[str] = set()
    for item in distribution.files or ():
        path = item.as_posix()
        kind = _kind(path)
        # Scripts and data go outside the library folder; a RECORD may list a file twice, or one that was removed.
        if kind is None or path.startswith("..") or path in seen:
            continue
        location = Path(str(item.locate()))
        if location.is_file():
            seen.add(path)
            yield _File(package, path, str(location), kind, location.stat().st_size)


def _kind(path: str) -> str | None:
    """What a file is, by its name: readme, license, documentation, source, or None for anything else."""
    folder, name = posixpath.split(path)
    about = ".dist-info" in folder or ".egg-info" in folder
    ending = posixpath.splitext(name)[1].lower()
    if about and name in _METADATA:
        return "readme"
    if _LICENSE.match(name) and ending not in _CODE:
        return "license"
    if about:
        return "license" if "/licenses/" in path and ending in ("", ".txt", *_MARKUP) else None
    if ending == ".py":
        return "source"
    if ending in _MARKUP:
        return "documentation"
    in_docs = any(part in ("doc", "docs", "documentation") for part in folder.split("/"))
    if ending in ("", ".txt") and (_PROSE.match(name) or (in_docs and ending == ".txt")):
        return "documentation"
    return None


def _home_page(metadata: importlib.metadata.PackageMetadata) -> str | None:
    links = dict(_link(line) for line in metadata.get_all("Project-URL") or ())
    for name in ("homepage", "home", "documentation", "source", "repository", "source code"):
        if name in links:
            return links[name]
    plain: list[str] = [*(metadata.get_all("Home-page") or ()), *links.values()]
    return plain[0] if plain else None


def _link(line: str) -> tuple[str, str]:
    name, _, url = line.partition(",")
    return name.strip().lower(), url.strip()


def _license(metadata: importlib.metadata.PackageMetadata) -> str | None:
    """What the package states: its SPDX expression, else a short free-text field, else its classifiers."""
    for field in ("License-Expression", "License"):
        stated = str((metadata.get_all(field) or [""])[0]).strip()
        # Some packages put the whole text there.
        if stated and "\n" not in stated and len(stated) < 100:
            return stated
    prefix = "License :: "
    named = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith(prefix)]
    return " AND ".join(named) or None


def _stamp(found: _Installed, start: int, stop: int) -> str:
    sha256 = hashlib.sha256()
    for file in found.files[start:stop]:
        sha256.update(f"{found.packages[file.package].label}\0{file.path}\0{file.size}\n".encode())
    return f"packages:{sha256.hexdigest()[:32]}"


def _texts(file: _File) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """A file's documents as (place within the file, text), or the reason why there are none."""
    try:
        data = Path(file.location).read_bytes()
    except OSError as error:
        raise DataError(f"{file.location}: cannot be read: {error.strerror}. Reinstall the package.") from error
    if file.kind == "source":
        return _docstrings(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return [], ("not_utf8", f"{error.reason} at byte {error.start}")
    if file.kind == "readme":
        text = _description(text)
    return ([("", text)] if text.strip() else []), None


def _description(metadata: str) -> str:
    """The long description in a METADATA file: its body, or, in the old form, the indented `Description` field."""
    message = email.message_from_string(metadata)
    body = message.get_payload()
    if isinstance(body, str) and body.strip():
        return body
    folded = message.get("Description") or ""
    return "" if folded.strip() == "UNKNOWN" else re.sub(r"\n(?: {8}|\t| {7}\|)", "\n", folded)


def _docstrings(data: bytes) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """Docstrings of a module, its classes and functions, in the order of the source, by qualified name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
            tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [], ("not_python", f"{type(error).__name__}: {error}"[:200])
    found: list[tuple[str, str]] = []
    count: dict[str, int] = {}
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, scope = stack.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = getattr(node, "name", "")
            scope = f"{scope}.{name}".lstrip(".")
            text = ast.get_docstring(node)
            if text and text.strip():
                place = scope or "module"
                count[place] = count.get(place, 0) + 1
                # A name may be defined more than once, for instance once per platform.
                found.append((place if count[place] == 1 else f"{place}#{count[place]}", _encodable(text)))
        # Definitions stand in blocks only, so expressions need no visit.
        for block in ("finalbody", "orelse", "handlers", "cases", "body"):
            stack.extend((child, scope) for child in reversed(getattr(node, block, None) or ()) if _has_blocks(child))
    return found, None


def _has_blocks(node: ast.AST) -> bool:
    return isinstance(getattr(node, "body", None), list) or isinstance(getattr(node, "cases", None), list)


def _encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
