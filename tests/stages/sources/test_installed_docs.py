"""Installed packages as a source: what of a package becomes a document, under which name, and what is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import DataError
from gristmill.stages.sources import installed_docs
from gristmill.stages.sources.installed_docs import InstalledDocsConfig, InstalledDocsSource

METADATA = """Metadata-Version: 2.1
Name: Foo.Bar
Version: 1.2
License: MIT
Project-URL: Source, https://example.org/source
Project-URL: Homepage, https://example.org/foo

# Foo

A readme.
"""

MODULE = '''"""The module."""

import os


class Mill:
    """A mill."""

    def grind(self):
        """Grinds."""
        def inner():
            "Inside."

    if os.name == "nt":
        def turn(self):
            """Turns left."""
    else:
        def turn(self):
            """Turns right, \\ud800 too."""


async def run():
    """Runs."""


def silent():
    pass
'''

FILES = {
    "Foo.Bar-1.2.dist-info/METADATA": METADATA,
    "Foo.Bar-1.2.dist-info/licenses/LICENSE": "May be used.",
    "Foo.Bar-1.2.dist-info/entry_points.txt": "[console_scripts]",
    "Foo.Bar-1.2.dist-info/WHEEL": "Wheel-Version: 1.0",
    "foo/__init__.py": MODULE,
    "foo/license.py": '"""Code, no licence."""',
    "foo/docs/guide.rst": "A guide.",
    "foo/docs/notes.txt": "Some notes.",
    "foo/words.txt": "data data data",
    "foo/data.json": "{}",
    "foo/empty.py": "",
    "foo/broken.py": "def (:",
    "foo/latin.rst": b"caf\xe9",
    "../../../bin/foo": '"""A script."""',
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with Foo.Bar 1.2 and an empty Baz 1.0, in place of the interpreter's."""
    site = tmp_path / "lib" / "python" / "site"
    for name, body in FILES.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
    record = [*FILES, "foo/removed.py", "foo/__init__.py", "Foo.Bar-1.2.dist-info/RECORD"]
    (site / "Foo.Bar-1.2.dist-info" / "RECORD").write_text("".join(f"{name},,\n" for name in record))
    (site / "baz-1.0.dist-info").mkdir()
    (site / "baz-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: baz\nVersion: 1.0\n")
    (site / "baz-1.0.dist-info" / "RECORD").write_text("baz-1.0.dist-info/METADATA,,\n")
    (site / "~oo-0.9.dist-info").mkdir()  # what an interrupted uninstall leaves
    monkeypatch.setattr(installed_docs.sysconfig, "get_path", lambda name: str(site))
    monkeypatch.setattr(installed_docs.site, "getsitepackages", lambda: [])
    monkeypatch.setattr(installed_docs.site, "ENABLE_USER_SITE", False)
    installed_docs._installed.cache_clear()
    yield site
    installed_docs._installed.cache_clear()


def source(**options: object) -> InstalledDocsSource:
    return InstalledDocsSource("docs", InstalledDocsConfig(format="installed_docs", **options))


def rows(one: InstalledDocsSource) -> dict[str, dict[str, object]]:
    return {row["id"]: row for piece in one.slices() for row in one.read(piece).table.to_pylist()}


def test_readmes_licences_documents_and_docstrings_become_documents(site: Path) -> None:
    found = rows(source())
    prefix = "foo-bar-1.2/"
    assert {ident.removeprefix(prefix): row["kind"] for ident, row in found.items()} == {
        "Foo.Bar-1.2.dist-info/METADATA": "readme",
        "Foo.Bar-1.2.dist-info/licenses/LICENSE": "license",
        "foo/docs/guide.rst": "documentation",
        "foo/docs/notes.txt": "documentation",
        "foo/__init__.py:module": "docstring",
        "foo/__init__.py:Mill": "docstring",
        "foo/__init__.py:Mill.grind": "docstring",
        "foo/__init__.py:Mill.grind.inner": "docstring",
        "foo/__init__.py:Mill.turn": "docstring",
        "foo/__init__.py:Mill.turn#2": "docstring",
        "foo/__init__.py:run": "docstring",
        "foo/license.py:module": "docstring",
    }
    readme = found[prefix + "Foo.Bar-1.2.dist-info/METADATA"]
    assert str(readme["text"]).strip() == "# Foo\n\nA readme."
    assert (readme["package"], readme["version"], readme["license"]) == ("foo-bar", "1.2", "MIT")
    assert readme["url"] == "https://example.org/foo"


def test_lone_surrogates_do_not_reach_the_text(site: Path) -> None:
    assert rows(source())["foo-bar-1.2/foo/__init__.py:Mill.turn#2"]["text"] == "Turns right, \ufffd too."


def test_nothing_of_a_package_is_imported_or_run(site: Path) -> None:
    (site / "foo" / "__init__.py").write_text('"""Harmful."""\nraise SystemExit("it ran")\n')
    installed_docs._installed.cache_clear()
    assert "foo-bar-1.2/foo/__init__.py:module" in rows(source())


def test_what_cannot_be_read_is_set_aside_with_its_reason(site: Path) -> None:
    one = source()
    rejects = [row for piece in one.slices() for row in one.read(piece).rejects.to_pylist()]
    assert {row["reason"]: row["bytes"] for row in rejects} == {"not_python": 6, "not_utf8": 4}
    assert any("foo/broken.py: SyntaxError" in row["detail"] for row in rejects)


def test_keys_do_not_depend_on_how_the_packages_are_cut_into_slices(site: Path) -> None:
    few, many = source(), source(slice_bytes=1)
    assert len(many.slices()) > len(few.slices()) == 1
    keys = {ident: row["doc_key"] for ident, row in rows(few).items()}
    assert keys == {ident: row["doc_key"] for ident, row in rows(many).items()}
    assert len(set(keys.values())) == len(keys)
    assert keys["foo-bar-1.2/foo/docs/guide.rst"].hex() == "d882c661f59af51fb868974667833729"


def test_packages_may_be_named(site: Path) -> None:
    assert not rows(source(packages=("Baz",)))
    assert len(rows(source(packages=("foo_bar",)))) == 12
    with pytest.raises(DataError, match="nothing-like-it is not installed"):
        source(packages=("nothing-like-it",)).slices()


def test_packages_that_changed_since_the_plan_stop_the_run(site: Path) -> None:
    one = source()
    piece = one.slices()[0]
    (site / "foo" / "docs" / "guide.rst").write_text("A longer guide.")
    installed_docs._installed.cache_clear()
    with pytest.raises(DataError, match="not those that the plan saw"):
        one.read(piece)


def test_files_are_refused() -> None:
    with pytest.raises(ValidationError, match="name `packages`"):
        source(paths=("a",))


def test_the_old_form_of_a_description_is_unfolded() -> None:
    old = "Metadata-Version: 1.0\nName: x\nDescription: First\n        second\n        \n        third\n"
    assert installed_docs._description(old) == "First\nsecond\n\nthird"
    assert installed_docs._description("Name: x\nDescription: UNKNOWN\n") == ""
