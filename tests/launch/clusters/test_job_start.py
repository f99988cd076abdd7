"""What a job says of a cluster that cannot run it: which node, which package, what is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gristmill
from gristmill.launch.clusters import job_start
from gristmill.launch.clusters.node_facts import node_facts, package_digest

NEEDED = {"numba": ">=0.62", "numpy": ">=2.0"}


def facts(**more: Any) -> dict[str, Any]:
    return {"python": "3.11.7", "executable": "/venv/bin/python", "host": "n1", "ray": "2.60.0", "gristmill": "ab" * 32,
            "packages": {"numba": "0.68.1", "numpy": "2.4.6"}, **more}  # fmt: skip


@pytest.mark.parametrize(
    "found, words",
    [
        (facts(), None),
        (facts(python="3.12.1"), "it has Python 3.12.1, the driver 3.11.7"),
        (facts(ray="2.40.0"), "it has Ray 2.40.0, the driver 2.60.0"),
        (facts(packages={"numba": None, "numpy": "2.4.6"}), "the package numba is missing (needed: numba>=0.62)"),
        (facts(packages={"numba": "0.60.0", "numpy": "2.4.6"}), "the package numba is 0.60.0 (needed: numba>=0.62)"),
        (facts(packages={"numba": "0.67.0", "numpy": "2.4.6"}), "the package numba is 0.67.0, at the driver 0.68.1"),
        (facts(gristmill=None), "Gristmill is missing"),
        (facts(gristmill="cd" * 32), "its Gristmill is another one (cdcdcdcdcdcd…) than was submitted (abababababab…)"),
    ],
)
def test_each_reason_names_the_node_and_what_is_needed(found: dict[str, Any], words: str | None) -> None:
    lines = job_start.unfit("node 10.0.0.2 (n2)", found, NEEDED, "ab" * 32, facts())
    assert lines == ([] if words is None else [f"  node 10.0.0.2 (n2) (/venv/bin/python): {words}"])


def test_the_requirements_are_the_distributions_without_extras() -> None:
    needed = job_start.requirements()
    assert needed["numba"] == ">=0.62" and needed["ray"] == ">=2.40"
    assert {"pyarrow", "pydantic", "typer", "PyYAML"} <= set(needed)
    assert not {"pytest", "s3fs", "torch"} & set(needed)


def test_this_environment_is_fit() -> None:
    needed = job_start.requirements()
    here = node_facts(sorted(needed))
    package = package_digest(str(Path(gristmill.__file__).parent))
    assert here["gristmill"] == package
    assert job_start.unfit("here", here, needed, package, here) == []


def test_an_interpreter_without_ray_is_named(tmp_path: Path) -> None:
    """By `-S` the interpreter sees no installed package."""
    source = str(Path(gristmill.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-m", "gristmill.launch.clusters.job_start", "--", "run", "web.yaml"],
        env={"PYTHONPATH": source}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: this cluster cannot run the job.\n") and "has no Ray" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_read_by_old_interpreters() -> None:
    """To say that one is too old, it must be read by it."""
    import ast

    folder = Path(gristmill.__file__).parent
    for name in ("__init__.py", "pipeline/__init__.py", "launch/__init__.py", "launch/clusters/__init__.py",
                 "launch/clusters/job_start.py", "launch/clusters/node_facts.py"):  # fmt: skip
        ast.parse((folder / name).read_text(), feature_version=(3, 7))
