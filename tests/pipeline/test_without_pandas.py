"""PyArrow makes arrays without pandas in a process that asks for that, and pandas itself can still be imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

CODE = """
import sys
import numpy as np, pyarrow as pa
from gristmill.pipeline.without_pandas import without_pandas
without_pandas()
pa.array(np.arange(3)), pa.array(["a"]), pa.scalar(b"x")
assert "pandas" not in sys.modules
assert not [finder for finder in sys.meta_path if "gristmill" in type(finder).__module__]
"""


def test_pyarrow_does_not_import_pandas() -> None:
    code = CODE + ("import pandas; assert pandas.Series([1]).sum() == 1" if importlib.util.find_spec("pandas") else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
