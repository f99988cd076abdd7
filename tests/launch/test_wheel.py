"""The wheel installs one package, `gristmill`, whole, and works beside packages that are called as our folders are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launch.quickstart.corpus import ARGUMENTS, PINNED, corpus_digest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pipeline", "stages", "launch", "configs")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")
OFFLINE = ("--no-deps", "--no-index")


def done(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command printed. It must succeed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))} | environment
    ran = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def wheel_of(source: Path, into: Path) -> Path:
    """Builds a source folder with the build backend of this environment."""
    done(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", into, source, cwd=into.parent)
    (wheel,) = into.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but its RECORD, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh checkout holds, as far as it is built: no links yet."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for name in (".ci", *FOLDERS):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return wheel_of(source, source / "dist")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and, from this environment, what it depends on."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin/python"

    @property
    def packages(self) -> Path:
        (found,) = self.root.glob("lib/python*/site-packages")
        return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("environment"))
    done(sys.executable, "-m", "venv", "--without-pip", made.root, cwd=made.root)
    done(*PIP, "--python", made.python, "install", *OFFLINE, wheel, cwd=made.root)
    # A path in a .pth file gives modules; .pth files that lie there, such as the editable install's, are not read.
    (made.packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return made


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder with packages of somebody else that are called as our folders are."""
    folder = tmp_path / "strangers"
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"NAME = 'a stranger: {name}'\n")
    return folder


def test_the_wheel_holds_gristmill_alone_and_every_file_of_it(wheel: Path) -> None:
    found = contents(wheel)
    assert {name.split("/")[0].split("-")[0] for name in found} == {"gristmill"}
    (top_level,) = (body for name, body in found.items() if name.endswith(".dist-info/top_level.txt"))
    assert top_level.split() == [b"gristmill"]
    files = {path for name in FOLDERS for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts}
    expected = {f"gristmill/{path.relative_to(ROOT).as_posix()}": path.read_bytes() for path in files if path.is_file()}
    ours = {name: body for name, body in found.items() if name.startswith("gristmill/")}
    ours.pop("gristmill/__init__.py")
    assert sorted(ours) == sorted(expected)
    assert [name for name, body in ours.items() if body != expected[name]] == []


def test_a_source_distribution_gives_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    build = "import build_package, sys; print(build_package.build_sdist(sys.argv[1]))"
    done(sys.executable, "-c", build, tmp_path, cwd=source, PYTHONPATH=".ci")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    assert contents(wheel_of(unpacked, tmp_path / "dist")) == contents(wheel)


def test_the_installed_files_are_gristmills(installed: Installed) -> None:
    (record,) = installed.packages.glob("gristmill-*.dist-info/RECORD")
    tops = {line.split(",")[0].split("/")[0].split("-")[0] for line in record.read_text().splitlines()}
    assert tops == {"gristmill", ".."}, "besides the package, only bin/gristmill"


@pytest.mark.parametrize("first", [True, False], ids=["strangers first", "strangers last"])
def test_strangers_of_our_folders_names_are_left_in_peace(installed: Installed, strangers: Path, first: bool) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]) if sys.argv[2] == 'True' else sys.path.append(sys.argv[1])\n"
        "import configs, launch, pipeline, stages\n"
        "import gristmill\n"
        "from importlib.metadata import entry_points\n"
        "for group in ('gristmill.stages', 'gristmill.sources'):\n"
        "    for point in entry_points(group=group): assert point.load().__module__.startswith('gristmill.')\n"
        "import configs, launch, pipeline, stages\n"
        "print(gristmill.__file__, *(module.NAME for module in (configs, launch, pipeline, stages)), sep='|')\n"
    )
    ran = done(installed.python, "-c", code, strangers, str(first), cwd=strangers.parent)
    file, *names = ran.strip().split("|")
    assert Path(file).is_relative_to(installed.root)
    assert names == [f"a stranger: {name}" for name in sorted(FOLDERS)]


def test_the_installed_command_makes_the_quickstarts_corpus(installed: Installed, strangers: Path) -> None:
    done(installed.root / "bin/gristmill", *ARGUMENTS, cwd=strangers, PYTHONPATH=str(strangers))
    assert corpus_digest(strangers) == PINNED
